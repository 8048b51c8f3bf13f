package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/clock"
)

func checkCommand(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check fares, money, rides and sagas from the read models",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			return withStore(cmd.Context(), t, *store, func(ctx context.Context, a *app) error {
				r, err := a.checked(ctx, time.Since(began))
				if err != nil {
					return err
				}
				return t.show(r, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// withStore opens an existing store as its owner, at rest: nothing runs.
func withStore(ctx context.Context, t terminal, dir string, fn func(context.Context, *app) error) (err error) {
	if err := mustExist(dir); err != nil {
		return err
	}
	a, err := openApp(ctx, dir, options{clock: clock.NewVirtual(time.Unix(0, 0)), log: t.logger()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	return fn(ctx, a)
}
