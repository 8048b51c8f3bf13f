package main

import (
	"context"
	"fmt"
	"os"
)

// The log remembers between two openings of the store.
func Example() {
	dir, err := os.MkdirTemp("", "leat-hello-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"Ada", "Grace"} {
		if err := greet(context.Background(), dir, name); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// position 1, version 1: [Ada]
	// position 2, version 2: [Ada Grace]
}
