//go:build linux

package endings

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	readme     = "../../README.md"
	tableBegin = "<!-- endings -->\n"
	tableEnd   = "<!-- /endings -->\n"
)

// tableText comes before the table.
const tableText = `What is left when real programs end, in every setting that matters (own signal handlers, pid 1 of a container, a shell, a
pipeline, nohup, a terminal), while a create is in flight, a sandbox starts, a command runs, or a stop is under way.
` + "`go test ./internal/endings`" + ` finds out, and holds this table to it. The exit status is that of the same program without this
package, in all of them; a forced end after a second SIGINT has 130. Empty: not needed, or not possible.

`

// column is the cells that share a column of the table.
type column struct {
	title string
	holds func(Cell) bool
}

var columns = []column{
	{"no precaution", func(c Cell) bool { return c.Help == Alone && c.Setting != InMain && c.Setting != OwnCleanup }},
	{"`Main`", func(c Cell) bool { return c.Help == Alone && c.Setting == InMain }},
	{"own `Cleanup`, deferred", func(c Cell) bool { return c.Help == Alone && c.Setting == OwnCleanup }},
	{"any of them, `reaper`", func(c Cell) bool { return c.Help == WithReaper }},
	{"any of them, lease", func(c Cell) bool { return c.Help == WithLease }},
}

// outcome is what the table says of a cell.
func (c Cell) outcome(got result) string {
	switch least, most := c.left(); {
	case got.survived:
		return "runs on"
	case least != most:
		return "may be left"
	case got.left == 0:
		return "nothing left"
	}
	return "left"
}

// checkTable compares the table of the README with what n cells have come to, or writes it.
func checkTable(t *testing.T, of map[Cell]result, n int) {
	if len(of) < n || withoutNamespaces() != nil {
		t.Skipf("the table needs every cell; %d of %d have passed, and pid namespaces: %v", len(of), n, withoutNamespaces())
	}
	content, err := os.ReadFile(readme)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(content), tableBegin)
	require.True(t, found)
	old, after, found := strings.Cut(rest, tableEnd)
	require.True(t, found)
	table := tableText + table(of)
	if *update {
		require.NoError(t, os.WriteFile(readme, []byte(before+tableBegin+table+tableEnd+after), 0o644))
		return
	}
	assert.Equal(t, table, old, "go test ./internal/endings -update writes it anew")
}

// table has one row for endings that come to the same.
func table(of map[Cell]result) string {
	var order []string
	endings := make(map[string][]string)
	for _, e := range Endings {
		row := row(of, e)
		if endings[row] == nil {
			order = append(order, row)
		}
		endings[row] = append(endings[row], string(e))
	}
	var b strings.Builder
	b.WriteString("| Ending |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, row := range order {
		fmt.Fprintf(&b, "| %s |%s\n", strings.Join(endings[row], ", "), row)
	}
	return b.String()
}

// row is the cells of an ending, column by column.
func row(of map[Cell]result, e Ending) string {
	var b strings.Builder
	for _, column := range columns {
		settings := make(map[string][]Setting) // by outcome
		for c, got := range of {
			if c.Ending == e && column.holds(c) && !slices.Contains(settings[c.outcome(got)], c.Setting) {
				settings[c.outcome(got)] = append(settings[c.outcome(got)], c.Setting)
			}
		}
		fmt.Fprintf(&b, " %s |", summary(settings))
	}
	return b.String()
}

// summary names the usual outcome, and the settings in which it is another one.
func summary(settings map[string][]Setting) string {
	usual := ""
	for outcome, in := range settings {
		if len(in) > len(settings[usual]) || len(in) == len(settings[usual]) && outcome < usual {
			usual = outcome
		}
	}
	text := usual
	for _, s := range Settings {
		for outcome, in := range settings {
			if outcome != usual && slices.Contains(in, s) {
				text += fmt.Sprintf("; %s: %s", s, outcome)
			}
		}
	}
	return text
}
