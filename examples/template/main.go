// Template stores a template and creates sandboxes from it: one as it is, one with some of it replaced.
//
//	go run ./examples/template
//
// To store a template takes an administrator of the organization; to create from one does not. Without CWSANDBOX_API_KEY it
// needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	template, err := client.CreateTemplate(ctx, fmt.Sprintf("greeter-%d", time.Now().UnixNano()),
		cwsandbox.WithImage("python:3.11"),
		cwsandbox.WithCommand("sh", "-c", `trap "exit 0" TERM INT; sleep infinity & wait`),
		cwsandbox.WithEnv("GREETING", "hello from the template"),
		cwsandbox.WithTags("greeter"),
		cwsandbox.WithMaxLifetime(5*time.Minute),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.DeleteTemplate(context.WithoutCancel(ctx), template.ID)) }()
	fmt.Printf("stored %s, revision %d\n", template.Name, template.Revision)

	if err := greet(ctx, client, cwsandbox.WithTemplate(template.ID)); err != nil {
		return err
	}
	// Tags and lifetime replace those of the template. An image replaces its whole container: nothing is left of the
	// command and the greeting in there.
	return greet(ctx, client, cwsandbox.WithTemplate(template.ID),
		cwsandbox.WithTags("greeter", "special"),
		cwsandbox.WithMaxLifetime(2*time.Minute),
		cwsandbox.WithImage("python:3.12"),
		cwsandbox.WithCommand("sh", "-c", `trap "exit 0" TERM INT; sleep infinity & wait`),
		cwsandbox.WithEnv("GREETING", "hello from the call"),
	)
}

func greet(ctx context.Context, client *cwsandbox.Client, opts ...cwsandbox.Option) error {
	return client.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		info := sb.Info()
		fmt.Printf("%s, tags %v, for %v, from revision %d\n", info.Image, info.Tags, info.MaxLifetime, info.TemplateRevision)
		out, err := sb.Output(ctx, "sh", "-c", `echo "$GREETING"`)
		fmt.Printf("%s", out)
		return err
	}, opts...)
}
