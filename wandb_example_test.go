package cwsandbox_test

import (
	"errors"
	"fmt"

	"github.com/cwsandbox/cwsandbox-go"
)

// The key comes from WANDB_API_KEY or the netrc file that wandb login writes, if it is left out here.
func ExampleWithWandB() {
	wandb := cwsandbox.WandB{APIKey: "key", Entity: "my-team", Project: "rollouts"}
	fmt.Println(wandb)

	client, err := cwsandbox.NewClient(cwsandbox.WithWandB(wandb), cwsandbox.WithBaseURL("https://sandboxes.example.com"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = cwsandbox.NewClient(cwsandbox.WithWandB(wandb), cwsandbox.WithAPIKey("key"))
	fmt.Println(errors.Is(err, cwsandbox.ErrInvalidArgument))
	// Output:
	// WandB(key REDACTED, entity "my-team", project "rollouts", host "")
	// true
}
