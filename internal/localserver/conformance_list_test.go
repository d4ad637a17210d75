package localserver

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// conformance is what the server promises to clients of every language, by number. A subtest whose name begins with
// C and the number proves each of them; TestConformanceIsComplete sees to it.
var conformance = map[int]string{
	// Serving, credentials, transport.
	1:  "the base URL is printed, and served at once when the ready file appears",
	2:  "localhost, 127.0.0.1 and ::1 share one port",
	3:  "an open port needs TLS, keys and a flag",
	4:  "TLS by a written CA, with ALPN h2",
	5:  "any bearer token without a key list",
	6:  "no credential: a bare UNAUTHENTICATED before anything else",
	7:  "a key list, and the admin action",
	8:  "a W&B key alone is a credential",
	9:  "sandboxes of other users do not exist",
	10: "health and reflection are open",
	11: "other services are unimplemented",
	12: "messages of up to 100 MiB",
	13: "pings every 5 s are tolerated",
	14: "gzip, unknown metadata and unknown fields",
	15: "a deadline ends a held call",
	16: "long error texts are cut",
	17: "error details agree with the status",
	18: "disabled methods",
	19: "SIGTERM leaves nothing behind",
	20: "a second SIGTERM ends at once",

	// Lifecycle.
	21: "what a create answers",
	22: "states come in order",
	23: "PENDING on wish, PREPARING of files only, on wish",
	24: "RUNNING has one start time",
	25: "exit 0 completes",
	26: "exit 3 restarts six times and fails",
	27: "without restarts exit 3 completes",
	28: "a missing program fails with 127, one that is none with 126",
	29: "bounds and default of the lifetime",
	30: "the end of the lifetime",
	31: "delete without grace ends with 137",
	32: "delete with grace ends with 143",
	33: "a handled SIGTERM ends with the program's own code",
	34: "an ignored SIGTERM ends with 137 after the grace",
	35: "bounds of the grace",
	36: "delete while it is created",
	37: "delete of what has ended",
	38: "delete of what is unknown",
	39: "deletes at once signal once",
	40: "other ends of a delete",
	41: "an exit code that comes late",
	42: "what has ended is kept for a time",
	43: "only creates hand out the share token",
	44: "resources are echoed word for word",
	45: "resources of containers are summed",
	46: "lists and the states in them",
	47: "filters of lists",
	48: "pages hold each sandbox once",
	49: "newest first",
	50: "page tokens and sizes are checked",
	51: "list and get agree on the end",
	52: "exit codes of containers",
	53: "another container may end",
	54: "a startup probe decides",
	55: "containers start one after the other",
	56: "PAUSED by the hook only",
	57: "logs right after RUNNING",

	// Request ids.
	58: "a create with the same key is the same",
	59: "also when fifty come at once",
	60: "a replay shows the present state",
	61: "one key, two requests",
	62: "a refused create does not use its key up",
	63: "keys are per method and user",
	64: "a lost answer can be had again",
	65: "a delete with snapshots is replayed",
	66: "and must be the same",
	67: "a plain delete has no key",
	68: "a snapshot is replayed",
	69: "a purge has no key",

	// Validation.
	70: "every refusal of the tables",
	71: "all faults at once",
	72: "container names",
	73: "one primary container",
	74: "fields of earlier clients",
	75: "runner ids",
	76: "the ceiling of resources",
	77: "GPUs",
	78: "ports of services",
	79: "endpoints",
	80: "mount paths",
	81: "sizes of scratch volumes",
	82: "egress rules",
	83: "secrets",
	84: "privileges",
	85: "tags",
	86: "delete: missing or snapshots",

	// Commands.
	87:  "output and its counts",
	88:  "exit codes",
	89:  "the cap of a command",
	90:  "the cap of the server",
	91:  "variables of one command",
	92:  "arguments arrive unchanged",
	93:  "a deadline kills",
	94:  "a background child does not delay",
	95:  "what is refused",
	96:  "only while the sandbox runs",
	97:  "ready comes first",
	98:  "no stdin does not end a command",
	99:  "a write is a frame",
	100: "on both streams",
	101: "long output is complete",
	102: "exit comes last",
	103: "stdin arrives exactly",
	104: "close is the end of stdin",
	105: "half-close is, too",
	106: "stdin that nobody reads",
	107: "output flows beside blocked stdin",
	108: "frames in a wrong order",
	109: "cancelling kills",
	110: "a terminal and its size",
	111: "resizing it",
	112: "a terminal has one stream",
	113: "close is end of file on a terminal",
	114: "the end of the sandbox is exit 137",
	115: "a slow reader holds the command",
	116: "a grace after the end of stdin",
	117: "two hundred at once",
	118: "commands in a named container",
	119: "the server's own limit of time",

	// Logs.
	120: "the main process only",
	121: "the last lines",
	122: "since a time",
	123: "timestamps",
	124: "session and offset",
	125: "following",
	126: "the end of following",
	127: "resuming",
	128: "resuming what is unknown",
	129: "resuming what is gone, or to come",
	130: "what does not go with resuming",
	131: "sessions expire",
	132: "only while the sandbox runs",
	133: "long lines and binary",
	134: "two readers",
	135: "an error is the last frame",

	// Files.
	136: "what is written is read",
	137: "too large to write",
	138: "too large to read",
	139: "another limit",
	140: "missing files and directories",
	141: "no permission",
	142: "no regular file",
	143: "parents, modes and inodes",
	144: "no sandbox is not no file",
	145: "in parallel",
	146: "files without a size",
	147: "links do not lead out",
	148: "large files by commands",

	// Snapshots.
	149: "from CREATING to READY",
	150: "restore",
	151: "which volume",
	152: "only while the sandbox runs",
	153: "snapshots on delete",
	154: "when they are refused",
	155: "a failed archive does not stop the end",
	156: "delete",
	157: "list",
	158: "what cannot be restored",
	159: "the bucket",
	160: "too many at once",

	// The other features.
	161: "runners and their views",
	162: "filters of runners",
	163: "placement on a runner",
	164: "a public port",
	165: "HTTPS endpoints",
	166: "an endpoint that is slow, or has nobody behind it",
	167: "the share token",
	168: "TLS passthrough",
	169: "ports without an address",
	170: "no egress",
	171: "egress by default",
	172: "secrets become variables",
	173: "templates",
	174: "overrides of templates",
	175: "volumes and their states",
	176: "volumes are shared",
	177: "purge by tag",
	178: "purge of other users",
	179: "settings",
	180: "creates from a file",

	// Direct connections.
	181: "a credential, quickly",
	182: "what is refused",
	183: "data calls over it",
	184: "only with a certificate",
	185: "only for its sandbox and methods",
	186: "permissions that are withheld",
	187: "the end of the certificate",
	188: "addresses stay, certificates do not outlive sandboxes",

	// Isolation.
	189: "writes stay inside",
	190: "so do deletions",
	191: "processes of others are not seen",
	192: "sandboxes and containers are apart",
	193: "masked files",
	194: "kernel settings and devices",
	195: "orphans are reaped",
	196: "nothing outlives a killed server",
	197: "host name and environment",
	198: "the working directory",
	199: "mounted files and a read-only root",
	200: "limits of memory",
	201: "the level of isolation",
	202: "without privileges",
	203: "images",
	204: "everything goes back to the start",

	// Faults, and the package for tests.
	205: "every action on every kind of call",
	206: "what was received and what was executed",
	207: "ends of streams",
	208: "holding states and moving the clock",
	209: "inside a bubble",
	210: "recorded calls",
	211: "a test that leaves a sandbox fails",
	212: "servers share nothing",
}

// partly lists the promises that one machine keeps in part only, and what is missing.
var partly = map[int]string{
	200: "no control groups: limits of memory and CPU are checked and echoed, not enforced, and the start-up output says so",
}

func TestConformanceIsComplete(t *testing.T) {
	tested := numberedSubtests(t, filepath.Join("..", ".."))
	assert.Len(t, conformance, 212)
	for n := 1; n <= 212; n++ {
		assert.NotEmpty(t, conformance[n], "C-%03d has no title", n)
		assert.NotEmpty(t, tested[n], "C-%03d, %s: no subtest is named for it", n, conformance[n])
	}
	for n, where := range tested {
		assert.Contains(t, conformance, n, "%v", where)
	}
	for n, missing := range partly {
		assert.Contains(t, conformance, n)
		assert.NotEmpty(t, missing)
	}
}

var conformanceNumber = regexp.MustCompile(`\bC-(\d{3})\b`)

// numberedSubtests returns, for every number, where the repository below root has a call of Run with it in its name.
func numberedSubtests(t *testing.T, root string) map[int][]token.Position {
	files := token.NewFileSet()
	tested := make(map[int][]token.Position)
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isRun(call) {
				for _, number := range numbersIn(call.Args[0]) {
					tested[number] = append(tested[number], files.Position(call.Pos()))
				}
			}
			return true
		})
		return nil
	}))
	return tested
}

func isRun(call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && method.Sel.Name == "Run" && len(call.Args) == 2
}

// numbersIn finds the numbers in the texts of an expression.
func numbersIn(name ast.Expr) []int {
	var numbers []int
	ast.Inspect(name, func(n ast.Node) bool {
		if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
			for _, m := range conformanceNumber.FindAllStringSubmatch(text.Value, -1) {
				number, _ := strconv.Atoi(m[1]) // three digits
				numbers = append(numbers, number)
			}
		}
		return true
	})
	return numbers
}
