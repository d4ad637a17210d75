//go:build linux

package reaper_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
	"github.com/cwsandbox/cwsandbox-go/reaper"
)

// Variables that make the test binary a program which uses this module, and say how its client is made.
const (
	asProgram       = "REAPER_TEST_AS_PROGRAM"
	insideATest     = "REAPER_TEST_INSIDE_A_TEST"
	withRoots       = "REAPER_TEST_ROOTS" // PEM
	withDialOptions = "REAPER_TEST_DIAL_OPTIONS"
	withWandB       = "REAPER_TEST_WANDB"
)

// tag is what all creates of the program have in their requests.
const tag = "made-by-the-program"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(runProgram())
	}
	signaltest.Defaults()
	os.Exit(m.Run())
}

// program carries out one command per line of its standard input and answers each with one line.
type program struct {
	client *cwsandbox.Client
	token  atomic.Pointer[string]
	made   []*cwsandbox.Sandbox
}

func runProgram() int {
	p := new(program)
	if err := p.connect(); err != nil {
		fmt.Println(err)
		return 1
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := p.do(lines.Text())
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
	return 0
}

func (p *program) connect() error {
	key := os.Getenv("CWSANDBOX_API_KEY")
	p.token.Store(&key)
	opts := []cwsandbox.ClientOption{
		cwsandbox.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		cwsandbox.WithCredentials(func(context.Context) (cwsandbox.Credential, error) {
			if os.Getenv(withWandB) != "" {
				return cwsandbox.WandB{APIKey: *p.token.Load(), Entity: "team"}.Credential(), nil
			}
			return cwsandbox.BearerToken(*p.token.Load()), nil
		}),
	}
	if pem := os.Getenv(withRoots); pem != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return errors.New("the roots cannot be read")
		}
		opts = append(opts, cwsandbox.WithRootCAs(roots))
	}
	if os.Getenv(withDialOptions) != "" {
		opts = append(opts, cwsandbox.WithDialOptions(grpc.WithUserAgent("test")))
	}
	var err error
	p.client, err = cwsandbox.NewClient(opts...)
	return err
}

func (p *program) do(line string) (string, error) {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "create":
		begin := time.Now()
		sb, err := p.create()
		if err != nil {
			return "", err
		}
		p.made = append(p.made, sb)
		return time.Since(begin).String(), nil
	case "create-aside":
		go p.create()
		return "begun", nil
	case "stop":
		sb := p.made[0]
		p.made = p.made[1:]
		_, err := sb.Stop().Wait()
		return "stopped", err
	case "cleanup":
		return "cleaned", cwsandbox.Cleanup(context.Background())
	case "token":
		p.token.Store(&arg)
		return "taken", nil
	case "protected":
		return fmt.Sprint(reaper.Protected()), nil
	case "await-protection": // creates go on without a helper that takes long to start
		for begin := time.Now(); !reaper.Protected() && time.Since(begin) < patience; {
			time.Sleep(time.Millisecond)
		}
		return fmt.Sprint(reaper.Protected()), nil
	case "sh":
		out, err := exec.Command("sh", "-c", arg).Output()
		return strings.Join(strings.Fields(string(out)), " "), err
	case "exit":
		os.Exit(3)
	case "panic":
		go panic("as the test wants it")
		select {}
	}
	return "", errors.New("unknown command")
}

func (p *program) create() (*cwsandbox.Sandbox, error) {
	return p.client.Create(context.Background(), cwsandbox.WithGrace(30*time.Second), cwsandbox.WithTags(tag))
}
