package projection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

const (
	// rebuildRate is how many events a second are appended while a new version
	// is built.
	rebuildRate = 500
	// rebuildAccounts is how many accounts the events are about.
	rebuildAccounts = 64
	// rebuildLook is how long a child waits between two looks at its read model.
	rebuildLook = 2 * time.Millisecond
)

// rebuildDir and rebuildVersion are the environment variables of a child that
// builds: the store's directory and the version that it defines.
const (
	rebuildDir     = "LEAT_REBUILD_DIR"
	rebuildVersion = "LEAT_REBUILD_VERSION"
)

const tallySchema = `CREATE TABLE tally (account TEXT PRIMARY KEY, mix INTEGER NOT NULL, events INTEGER NOT NULL, positions INTEGER NOT NULL) STRICT`

// tally is what the read model holds of an account. What mix is depends on the
// order of the events and on the version; the other two say whether an event
// is missing or doubled.
type tally struct{ mix, events, positions int64 }

func (a tally) add(version int, e eventstore.Recorded, m moved) tally {
	return tally{(a.mix*(30+int64(version)) + m.Cents) % 1_000_000_007, a.events + 1, a.positions + e.Position}
}

func tallies(version int) *Definition {
	return Define("tallies", version, tallySchema, On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
		_, err := tx.Exec(`
			INSERT INTO tally (account, mix, events, positions)
			VALUES (?1, ?2, 1, ?3)
			ON CONFLICT (account) DO UPDATE
			SET mix = (mix * ?4 + ?2) % 1000000007, events = events + 1, positions = positions + ?3`,
			e.Payload.Account, e.Payload.Cents, e.Position, 30+version)
		return err
	}))
}

func rebuildAccount(i int) string { return fmt.Sprint("a-", i%rebuildAccounts) }

// appendOne appends the i-th event of a process.
func appendOne(ctx context.Context, log eventstore.Appender, i int) error {
	e, err := eventstore.Encode(moved{Account: rebuildAccount(i), Cents: int64(i * i % 1009)})
	if err != nil {
		return err
	}
	_, err = log.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: rebuildAccount(i), Events: []eventstore.EventData{e}}}})
	return err
}

// appendSteadily appends rebuildRate events a second until ctx ends, and has
// took called with how long each took.
func appendSteadily(ctx context.Context, log eventstore.Appender, took func(time.Duration)) error {
	tick := time.NewTicker(time.Second / rebuildRate)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		if err := appendOne(context.WithoutCancel(ctx), log, i); err != nil {
			return err
		}
		took(time.Since(began))
	}
}

// glance is one look at the read model.
type glance struct {
	version  int
	position int64
	events   int64
}

// look reads the served read model: it holds every event up to its position,
// each once, whichever file serves.
func look(ctx context.Context, p *Projection) (g glance, err error) {
	err = p.Read(ctx, 0, func(r *Reader) (err error) {
		g.version = r.Version()
		if g.position, err = r.Position(); err != nil {
			return err
		}
		var positions int64
		err = r.QueryRow(`SELECT COALESCE(SUM(events), 0), COALESCE(SUM(positions), 0) FROM tally`).Scan(&g.events, &positions)
		if err != nil {
			return err
		}
		if g.events != g.position || positions != g.position*(g.position+1)/2 {
			return fmt.Errorf("version %d holds %d events whose positions add up to %d at position %d", g.version, g.events, positions, g.position)
		}
		return nil
	})
	return g, err
}

// rebuildChild appends and applies until it is killed, or its parent is gone.
// It says "at DONE TOTAL" while it builds, and "live" once its version serves.
func rebuildChild(dir, version string) {
	ctx := context.Background()
	n, err := strconv.Atoi(version)
	must(err)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // nobody is there to kill it
	}()
	logger := slog.New(slog.DiscardHandler)
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Logger: logger})
	must(err)
	p, err := Open(ctx, dir, store, tallies(n), &Options{Logger: logger})
	must(err)
	r, err := bus.NewRouter(store, &bus.RouterOptions{Logger: logger})
	must(err)
	must(r.Add(p))
	go func() { must(r.Run(ctx)) }()
	go func() { must(appendSteadily(ctx, store, func(time.Duration) {})) }()
	live := false
	for last := (glance{}); ; time.Sleep(rebuildLook) {
		st := p.Status()
		if st.State == Blocked {
			must(errors.New(st.String()))
		}
		if st.Building != nil {
			fmt.Println("at", st.Building.Done, st.Head)
		}
		now, err := look(ctx, p)
		must(err)
		if now.position < last.position {
			must(fmt.Errorf("the read model went back from %+v to %+v", last, now))
		}
		if last = now; now.version == n && !live {
			live = true
			fmt.Println("live")
		}
	}
}
