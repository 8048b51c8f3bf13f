package main

import (
	"context"
	"fmt"
	"os"
)

// The second run is the same commands again: it changes nothing.
func Example() {
	dir, err := os.MkdirTemp("", "leat-transfer-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for range 2 {
		if err := run(context.Background(), dir); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// ada has 60; transfers: 1 completed, 1 compensated, 1 failed, 0 open
	// ada has 60; transfers: 1 completed, 1 compensated, 1 failed, 0 open
}
