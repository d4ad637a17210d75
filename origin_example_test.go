package cwsandbox_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
)

func ExampleWithCompose() {
	const document = `
services:
  app:
    image: python:3.11
    command: sleep infinity
    depends_on: [cache]
  cache:
    image: redis
    command: sleep infinity
`
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithCompose(cwsandbox.Compose{
		Contents: []byte(document), // or File: "compose.yaml"
		Primary:  "app",
		Images:   map[string]string{"cache": "valkey:8"},
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	for _, c := range sb.Info().Containers {
		fmt.Println(c.Name, c.Spec.Image)
	}
	res, err := sb.Exec(ctx, []string{"echo", "hello from the cache"}, cwsandbox.WithContainer("cache"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", res.Stdout)
	// Output:
	// cache valkey:8
	// app python:3.11
	// hello from the cache
}

func ExampleWithTemplate() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	template, err := client.CreateTemplate(ctx, "builder",
		cwsandbox.WithImage("golang:1.26"), cwsandbox.WithTags("builder"), cwsandbox.WithMaxLifetime(10*time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.DeleteTemplate(ctx, template.ID)

	sb, err := client.Run(ctx, cwsandbox.WithTemplate(template.ID), cwsandbox.WithTags("builder", "nightly"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()
	info := sb.Info()
	fmt.Println(info.Image, info.MaxLifetime, info.Tags, "revision", info.TemplateRevision)
	// Output: golang:1.26 10m0s [builder nightly] revision 1
}
