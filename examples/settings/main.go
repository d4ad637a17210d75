// Settings shows what an organization has set up for its sandboxes, sets up a secret store, and registers a volume. It
// needs an administrator's key, and puts everything back in the end.
//
//	go run ./examples/settings
//	go run ./examples/settings -runner my-runner -claim team/datasets
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var (
	store  = flag.String("store", "example-store", "`name` of the secret store to make")
	runner = flag.String("runner", "local-runner", "`id` of the runner that has the claim")
	claim  = flag.String("claim", "team/datasets", "`namespace/name` of the claim to register")
)

func main() {
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	return errors.Join(showBucket(ctx, client), showFederation(ctx, client), useStore(ctx, client), useVolume(ctx, client))
}

func showBucket(ctx context.Context, client *cwsandbox.Client) error {
	bucket, err := client.SnapshotBucket(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("snapshots go to a bucket that is %v: %s\n", bucket.Mode, bucket.EffectiveName)
	return nil
}

func showFederation(ctx context.Context, client *cwsandbox.Client) error {
	federation, err := client.IdentityFederation(ctx)
	switch {
	case errors.Is(err, cwsandbox.ErrNotFound):
		fmt.Println("object storage is not set up")
		return nil
	case err != nil:
		return err
	}
	fmt.Printf("object storage: enabled %t, buckets %v, at most %v\n", federation.Enabled, federation.AllowedBuckets, federation.MaxPermission)
	return nil
}

// useStore makes a secret store, changes one field of it, lists all of them, and deletes it.
func useStore(ctx context.Context, client *cwsandbox.Client) (err error) {
	made, err := client.CreateSecretStore(ctx, cwsandbox.SecretStore{
		Name: *store, Provider: cwsandbox.SecretStoreWandB, WandB: &cwsandbox.WandBStore{APIURL: "https://api.wandb.ai", Team: "research"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.DeleteSecretStore(context.WithoutCancel(ctx), made.Name)) }()

	made.WandB.Team = "engineering"
	if _, err := client.UpdateSecretStore(ctx, made, "wandb.team"); err != nil { // a field mask: nothing else changes
		return err
	}
	for s, err := range client.SecretStores(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("secret store %s: %v", s.Name, s.Provider)
		if s.WandB != nil {
			fmt.Printf(", team %s", s.WandB.Team)
		}
		fmt.Println()
	}
	return nil
}

// useVolume registers a claim, waits until it can be mounted, or until it is clear that it cannot, and removes it again.
// Neither touches the data.
func useVolume(ctx context.Context, client *cwsandbox.Client) (err error) {
	namespace, name, _ := strings.Cut(*claim, "/")
	volume, err := client.CreateVolume(ctx, cwsandbox.RegisteredVolumeSpec{
		Claim:       cwsandbox.VolumeClaim{RunnerID: *runner, Namespace: namespace, Name: name},
		ReadOnly:    true,
		Description: "what the example has registered",
	})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, client.DeleteVolume(context.WithoutCancel(ctx), volume.ID, cwsandbox.MissingOK()))
	}()
	fmt.Printf("volume of %s is %v\n", *claim, volume.State)

	seen, err := client.WaitVolume(ctx, volume.ID)
	switch {
	case errors.Is(err, cwsandbox.ErrPrecondition): // it will not become ready by waiting
		fmt.Printf("it cannot be mounted, it is in state %v: %s\n", seen.State, seen.StateReason)
		return nil
	case err != nil:
		return err
	}
	fmt.Printf("it is %v, access modes %v\n", seen.State, seen.AccessModes)
	return nil
}
