// Compose runs a Docker Compose document of two services as one sandbox, and commands in both.
//
//	go run ./examples/compose
//
// The document is part of the program. Every service of it is a container of the sandbox; app, the primary one, starts when
// store is healthy. Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

//go:embed compose.yaml
var files embed.FS

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	document := cwsandbox.Compose{
		File: "compose.yaml", FS: files, Primary: "app",
		Resources: cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "500m", Memory: "256Mi"}},
	}
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithCompose(document), cwsandbox.WithTags("compose"), cwsandbox.WithMaxLifetime(5*time.Minute))
	if err != nil {
		return err
	}
	defer sb.Stop().Wait()

	for _, c := range sb.Info().Containers {
		fmt.Printf("%s is %v\n", c.Name, c.State)
	}
	out, err := sb.Output(ctx, "sh", "-c", `echo "this is $ROLE"`) // in the primary container
	if err != nil {
		return err
	}
	fmt.Printf("%s", out)
	res, err := sb.Exec(ctx, []string{"sh", "-c", `echo "this is $ROLE, and it is $(cat "$HOME/ready")"`}, cwsandbox.WithContainer("store"))
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimSpace(string(res.Stdout)))
	return res.Err()
}
