package main

import (
	"context"
	"fmt"
	"os"
)

// The second run is the same commands again: their ids are spent.
func Example() {
	dir, err := os.MkdirTemp("", "leat-bank-")
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
	// withdraw refused: the account holds less than that (overdrawn)
	// balance at position 3: 7000 cents
	// withdraw refused: the account holds less than that (overdrawn)
	// balance at position 3: 7000 cents
}
