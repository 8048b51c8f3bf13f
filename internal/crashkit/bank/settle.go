package bank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/invariant"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// rounds bounds how often dead letters are tried again while all is settled.
const rounds = 1000

// Settle opens the store and has everything come to its end, in virtual time:
// no timer is left, no command, no dead letter. Effects of the event function
// are added to the history.
func Settle(ctx context.Context, dir string, h *invariant.History) (err error) {
	clk := clock.NewVirtual(time.Now())
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: clk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	b, err := open(ctx, store, clk, h.Effect)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for range rounds {
		if _, err := b.Drain(ctx, serverless.Budget{}); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		letters, err := b.DeadLetters(ctx, "", 0, eventstore.MaxPage)
		if err != nil || len(letters) == 0 {
			return err
		}
		for _, d := range letters {
			_ = b.RetryDeadLetter(ctx, d.Function, d.Position) // it fails at random
		}
	}
	return fmt.Errorf("settle: after %d rounds there are still dead letters", rounds)
}

// open opens the host with the version that the files have.
func open(ctx context.Context, store *sqlite.Store, clk clock.Clock, effect func(function, eventID string)) (*Bank, error) {
	for version := 1; ; version++ {
		b := New(store, Options{Clock: clk, Version: version, Effect: effect})
		err := b.Open(ctx)
		if errors.Is(err, projection.ErrNewer) && version < Versions {
			continue
		}
		return b, err
	}
}

// Relayed is the law of the relay, whose checkpoint is in the file at path:
// everything up to it was published.
func Relayed(h *invariant.History, path string) invariant.Law {
	return func(s *invariant.State) (broken []string) {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		var at eventstore.Anchor
		if err == nil {
			err = json.Unmarshal(data, &at)
		}
		if err != nil {
			return []string{fmt.Sprintf("the relay's checkpoint: %v", err)}
		}
		if at.Position > int64(len(s.Log)) {
			return []string{fmt.Sprintf("the relay's checkpoint is %d, the log ends at %d", at.Position, len(s.Log))}
		}
		for i := range s.Log[:at.Position] {
			e := &s.Log[i]
			if slices.Contains(RelayTypes, e.Type) && !h.HasEffect(Relay, e.ID.String()) {
				broken = append(broken, fmt.Sprintf("the relay has passed position %d, and never published it", e.Position))
			}
		}
		return broken
	}
}
