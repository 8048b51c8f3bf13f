package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/leat-go/leat/serverless"
)

// Every line is a command under its own id, so a second run over the same
// inbox, after a crash say, does nothing.
func Example() {
	dir, err := os.MkdirTemp("", "leat-orders-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	inbox := "o-1 espresso 2\no-2 lungo 1\no-3 espresso 1\n"
	for range 2 {
		err := run(context.Background(), dir, strings.NewReader(inbox), os.Stdout)
		fmt.Println("exit", serverless.ExitCode(err))
	}
	// Output:
	// confirm o-1: 2 x espresso
	// confirm o-2: 1 x lungo
	// confirm o-3: 1 x espresso
	// 3 placed, 0 known already, 6 deliveries, head 3
	// demand: 4 pieces of 2 items
	// exit 0
	// 0 placed, 3 known already, 0 deliveries, head 3
	// demand: 4 pieces of 2 items
	// exit 0
}
