// Command workload is the program that is killed: it does all at once, under
// full load, what the plan in its environment says, and prints what was
// acknowledged. It is ordinary user code.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

func main() {
	plan, err := bank.PlanFromEnv()
	if err == nil {
		err = (&program{plan: plan}).run()
	}
	if err != nil {
		say(bank.SayFailed, strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

var quiet = slog.New(slog.DiscardHandler)

var output sync.Mutex // guards standard output

// say prints a line in one write, so that it is there whole or not at all.
func say(words ...any) {
	output.Lock()
	defer output.Unlock()
	if _, err := os.Stdout.WriteString(strings.TrimSuffix(fmt.Sprintln(words...), "\n") + "\n"); err != nil {
		os.Exit(1) // nobody listens
	}
}

// program is one life.
type program struct {
	plan  bank.Plan
	store *sqlite.Store
	bank  *bank.Bank

	mu  sync.Mutex // guards err
	err error
}

// fail keeps the first error and ends the life.
func (p *program) fail(stop context.CancelFunc, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	stop()
}

func (p *program) run() (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	clk := clock.System()
	if p.plan.Drain {
		clk = clock.NewVirtual(time.Now())
	}
	if err := p.open(clk); err != nil {
		return err
	}
	if p.plan.CloseAfter > 0 {
		defer time.AfterFunc(p.plan.CloseAfter, stop).Stop()
	}
	if err := p.repeat(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	jobs := []func(context.Context) error{p.tail, p.operate, p.backUp, p.rebuild, p.relay}
	if !p.plan.Drain {
		for a := range bank.Appenders {
			jobs = append(jobs, func(ctx context.Context) error { return p.append(ctx, a, 0) })
		}
	}
	var wg sync.WaitGroup
	for _, job := range jobs {
		wg.Go(func() {
			if err := job(ctx); err != nil && ctx.Err() == nil {
				p.fail(stop, err)
			}
		})
	}
	if p.plan.Drain {
		err = p.drain(ctx)
	} else {
		err = p.bank.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		p.fail(stop, err)
	}
	stop()
	wg.Wait()
	err = errors.Join(p.err, p.bank.Close(), p.store.Close())
	if err == nil {
		say(bank.SayClosed)
	}
	return err
}

// open opens the store and the host. Read models that are of a newer version
// than the plan's are opened with that.
func (p *program) open(clk clock.Clock) (err error) {
	ctx, began := context.Background(), time.Now()
	p.store, err = sqlite.Open(ctx, p.plan.Dir, &sqlite.Options{Clock: clk, Logger: quiet, IndexEvents: 40})
	if err != nil {
		return err
	}
	for version := p.plan.Version; ; version++ {
		p.bank = bank.New(p.store, bank.Options{Clock: clk, Version: version, Effect: func(function, id string) { say(bank.SayEffect, function, id) }})
		err := p.bank.Open(ctx)
		if errors.Is(err, projection.ErrNewer) && version < bank.Versions {
			continue
		}
		if err != nil {
			return err
		}
		say(bank.SayOpened, time.Since(began).Nanoseconds())
		return nil
	}
}

// pauses between what an appender sends: without any, the appenders would
// starve everything else.
var pauses = map[bank.Kind]time.Duration{
	bank.Notes: 500 * time.Microsecond, bank.Loose: time.Millisecond, bank.Own: time.Millisecond, bank.Contested: time.Millisecond,
	bank.Deposit: 2 * time.Millisecond, bank.Transfer: 3 * time.Millisecond,
}

// append sends one batch after the other, most at most where it is not 0.
func (p *program) append(ctx context.Context, appender, most int) error {
	kind, version := bank.Appenders[appender], int64(0)
	for n := 0; ctx.Err() == nil && (most == 0 || n < most); n++ {
		label := bank.Label(p.plan.Life, appender, n)
		commit, err := p.send(ctx, kind, label, version)
		conflict, _ := errors.AsType[*eventstore.ConflictError](err)
		switch {
		case err == nil:
			say(bank.SayAcked, label, commit.First, commit.Last, commit.Duplicate)
			if len(commit.Streams) > 0 {
				version = commit.Streams[0].Last
			}
		case conflict != nil && kind == bank.Contested:
			say(bank.SayRefused, label)
			version = conflict.Conflicts[0].Actual
		default:
			return fmt.Errorf("%s: %w", label, err)
		}
		pause(ctx, pauses[kind])
	}
	return nil
}

// send sends the batch of the label, as its kind is sent.
func (p *program) send(ctx context.Context, kind bank.Kind, label string, version int64) (eventstore.Commit, error) {
	var command any
	switch kind {
	case bank.Deposit:
		command = bank.MakeDeposit{Label: label}
	case bank.Transfer:
		command = bank.Request{Label: label}
	}
	if command != nil {
		result, err := p.bank.Do(ctx, serverless.Request{Function: string(kind), ID: label, Payload: command})
		return result.Commit, err
	}
	b, err := bank.Batch(label)
	if err != nil {
		return eventstore.Commit{}, err
	}
	switch kind {
	case bank.Contested:
		b.Writes[0].Expect = eventstore.Exactly(version)
	case bank.Own:
		b.Writes[0].Expect = eventstore.Exactly(version)
		b.Guards = []eventstore.Guard{{Stream: "none-" + label, Expect: eventstore.NoStream()}}
	}
	return p.store.Append(ctx, b)
}

// repeat repeats what nobody answered in former lives. What has no ID cannot be.
func (p *program) repeat(ctx context.Context) error {
	for _, label := range p.plan.Repeat {
		kind, _, _ := strings.Cut(label, ".")
		switch bank.Kind(kind) {
		case bank.Loose:
			continue
		case bank.Own, bank.Contested:
			kind = string(bank.Notes) // whatever is expected now
		}
		commit, err := p.send(ctx, bank.Kind(kind), label, 0)
		if err != nil {
			return fmt.Errorf("repeat %s: %w", label, err)
		}
		say(bank.SayAcked, label, commit.First, commit.Last, commit.Duplicate)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
