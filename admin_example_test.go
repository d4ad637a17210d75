package cwsandbox_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
)

func ExampleClient_CreateTemplate() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	template, err := client.CreateTemplate(ctx, "nightly", cwsandbox.WithImage("python:3.12"), cwsandbox.WithTags("nightly"),
		cwsandbox.WithMaxLifetime(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.DeleteTemplate(ctx, template.ID)

	// Only what is named changes.
	template, err = client.UpdateTemplate(ctx, template.ID, cwsandbox.WithMaxLifetime(2*time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(template.Name, template.Revision, template.Spec.Containers[0].Image, template.Spec.MaxLifetime)
	// Output: nightly 2 python:3.12 2h0m0s
}

func ExampleClient_UpdateSnapshotBucket() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	own, err := client.UpdateSnapshotBucket(ctx, cwsandbox.SnapshotBucket{Name: "our-snapshots"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(own.Mode, own.EffectiveName)

	managed, err := client.UpdateSnapshotBucket(ctx, cwsandbox.SnapshotBucket{}) // back to the platform's
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(managed.Mode)
	// Output:
	// own our-snapshots
	// managed
}

func ExampleClient_WaitVolume() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	volume, err := client.CreateVolume(ctx, cwsandbox.RegisteredVolumeSpec{
		Claim: cwsandbox.VolumeClaim{RunnerID: "local-runner", Namespace: "research", Name: "no-such-claim"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.DeleteVolume(ctx, volume.ID)

	volume, err = client.WaitVolume(ctx, volume.ID)
	if errors.Is(err, cwsandbox.ErrPrecondition) {
		fmt.Println(volume.State)
	}
	// Output: error
}
