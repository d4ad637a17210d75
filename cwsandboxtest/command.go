package cwsandboxtest

import (
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
)

// Command is what [WithCommand] and [WithScript] answer with. It has these fields:
//
//	Run          func(ctx context.Context, p *Proc) int
//	CatchSignals bool
//
// Run does what the command does and returns its exit code. When the command is killed, its context ends; it must then
// return soon. With CatchSignals signals are delivered to Proc.Signals, and the command goes on; without it most
// signals end the command, as they end a program that does not handle them.
type Command = scripted.Command

// Proc is a running command as the function behind it sees it. It has these fields, and two methods: Size for the present
// size of the terminal, and Listen(port int) (net.Listener, error), which makes it a server on a TCP port of its sandbox:
//
//	Argv           []string
//	Env            map[string]string
//	Dir            string
//	Sandbox        string // id
//	Container      string // name
//	Files          *Files // of the container
//	Stdin          io.Reader
//	Stdout, Stderr io.Writer
//	TTY            bool
//	Signals        <-chan int // numbers; nil without CatchSignals
//	Resized        <-chan ... // new sizes of the terminal
type Proc = scripted.Proc

// Files is the file system of a container in memory, with the methods ReadFile, WriteFile, Remove and List.
type Files = scripted.Files

// Reply returns a command that prints and exits.
func Reply(stdout, stderr string, exitCode int) Command {
	return scripted.Reply(stdout, stderr, exitCode)
}
