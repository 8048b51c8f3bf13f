package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// How often things are done beside the load.
const (
	operateEvery = 10 * time.Millisecond
	backupEvery  = 60 * time.Millisecond
	rebuildEvery = 30 * time.Millisecond
	letters      = 100 // looked at at once
	drained      = 8   // batches of each kind before a drain
	keptBackups  = 2
	restoreEvery = 10 // of them one
)

// soon returns a wait of about d.
func soon(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// tail follows the log and says what it saw.
func (p *program) tail(ctx context.Context) error {
	for at := int64(0); ; {
		if _, err := p.store.Wait(ctx, at); err != nil {
			return err
		}
		page, err := p.store.ReadLog(ctx, at, eventstore.MaxPage, eventstore.Filter{})
		if err != nil {
			return err
		}
		if n := len(page.Events); n > 0 {
			say(bank.SaySaw, page.Events[n-1].Position, page.Events[n-1].ID)
		}
		at = page.Through.Position
	}
}

// drain deposits and requests some, then drains in virtual time, over and over.
func (p *program) drain(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n += drained {
		for a, kind := range bank.Appenders {
			if kind != bank.Deposit && kind != bank.Transfer {
				continue
			}
			if err := p.appendFrom(ctx, a, n); err != nil {
				return err
			}
		}
		if _, err := p.bank.Drain(ctx, serverless.Budget{}); err != nil && !errors.Is(err, serverless.ErrMoreWork) {
			return err
		}
	}
	return nil
}

func (p *program) appendFrom(ctx context.Context, appender, n int) error {
	for i := n; i < n+drained; i++ {
		label := bank.Label(p.plan.Life, appender, i)
		commit, err := p.send(ctx, bank.Appenders[appender], label, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		say(bank.SayAcked, label, commit.First, commit.Last, commit.Duplicate)
	}
	return nil
}

// operate tries again what the event function has given up.
func (p *program) operate(ctx context.Context) error {
	for ctx.Err() == nil {
		list, err := p.bank.DeadLetters(ctx, "", 0, letters)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := p.bank.RetryDeadLetter(ctx, d.Function, d.Position); errors.Is(err, bus.ErrCheckpointMoved) {
				return err // any other failure is the function's
			}
		}
		pause(ctx, soon(operateEvery))
	}
	return nil
}

// rebuild rebuilds the read models while they are applied to.
func (p *program) rebuild(ctx context.Context) error {
	for ctx.Err() == nil && !p.plan.Keep {
		for _, m := range []*serverless.Model{p.bank.Entries, p.bank.Balances} {
			pause(ctx, soon(rebuildEvery))
			got, err := m.Rebuild(ctx, nil)
			switch {
			case errors.Is(err, projection.ErrBuilding), errors.Is(err, projection.ErrClosed), errors.Is(err, serverless.ErrNotOpen):
				continue
			case err != nil:
				return fmt.Errorf("rebuild %s: %w", m.Name(), err)
			case !got.Identical:
				return fmt.Errorf("rebuild %s: the live file is not the fold through position %d: %s", m.Name(), got.Position, got.Difference)
			}
		}
	}
	return nil
}

// backUp takes backups of the running store, and restores some.
func (p *program) backUp(ctx context.Context) error {
	for n := 0; ; n++ {
		pause(ctx, soon(backupEvery))
		if ctx.Err() != nil {
			return nil
		}
		path := func(n int) string {
			return filepath.Join(p.plan.Scratch, fmt.Sprintf("%s%d-%d", bank.BackupPrefix, p.plan.Life, n))
		}
		if err := p.store.Backup(ctx, path(n)); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if n%restoreEvery == 0 {
			restored := path(n) + bank.RestoredSuffix
			if _, err := sqlite.Restore(ctx, path(n), restored, nil); err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			if err := discard(restored); err != nil {
				return err
			}
		}
		if n >= keptBackups {
			if err := discard(path(n - keptBackups)); err != nil {
				return err
			}
		}
	}
}

// discard removes what a backup or restore made, which never has its name
// while it is not whole.
func discard(path string) error {
	half := path + sqlite.UnfinishedSuffix
	if err := os.Rename(path, half); err != nil {
		return err
	}
	return os.RemoveAll(half)
}

// relay publishes to an outside that has what it was given on record.
func (p *program) relay(ctx context.Context) error {
	cp := &checkpoints{path: filepath.Join(p.plan.Scratch, bank.RelayFile)}
	r, err := bus.NewRelay(p.store, outside{}, cp, &bus.RelayOptions{
		Name: bank.Relay, Filter: eventstore.Filter{Types: bank.RelayTypes}, PageSize: 10, Logger: quiet,
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// outside is a publisher that says what it was given before it returns.
type outside struct{}

func (outside) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		say(bank.SayEffect, bank.Relay, m.UUID)
	}
	return nil
}

func (outside) Close() error { return nil }

// checkpoints keeps the relay's checkpoint in a file.
type checkpoints struct {
	bus.Leases
	path string
	mu   sync.Mutex // guards the file
}

func (c *checkpoints) Load(context.Context, string) (a eventstore.Anchor, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load()
}

func (c *checkpoints) load() (a eventstore.Anchor, err error) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(data, &a)
}

func (c *checkpoints) Save(_ context.Context, consumer string, from, to eventstore.Anchor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.load()
	if err != nil {
		return err
	}
	if now != from {
		return &bus.CheckpointMovedError{Consumer: consumer, Expected: from.Position, Actual: now.Position}
	}
	data, err := json.Marshal(to)
	if err != nil {
		return err
	}
	return disk.Replace(c.path, data)
}
