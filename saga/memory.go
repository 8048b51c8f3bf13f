package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Counts are instances by status.
type Counts struct {
	Running, Compensating, Parked  int
	Completed, Compensated, Failed int
	// BackingOff are those, running or compensating, whose input failed and is
	// tried again.
	BackingOff int
}

// Open returns how many are not finished.
func (c Counts) Open() int { return c.Running + c.Compensating + c.Parked }

func (c *Counts) of(s Status) *int {
	switch s {
	case Running:
		return &c.Running
	case Compensating:
		return &c.Compensating
	case Completed:
		return &c.Completed
	case Compensated:
		return &c.Compensated
	case Failed:
		return &c.Failed
	default:
		return &c.Parked
	}
}

func (c *Counts) add(d Counts) {
	c.Running += d.Running
	c.Compensating += d.Compensating
	c.Parked += d.Parked
	c.Completed += d.Completed
	c.Compensated += d.Compensated
	c.Failed += d.Failed
	c.BackingOff += d.BackingOff
}

// Stats say how things stand.
type Stats struct {
	// Counts are the instances of all sagas.
	Counts
	// Sagas are the instances of each saga that has any, or is registered.
	Sagas map[string]Counts
	// Commands are the commands that are not done.
	Commands CommandCounts
	// Timers are the pending timers.
	Timers int
	// NextAttempt is the wall time at which the first failing instance or
	// command is tried again; zero where none is. Failure says why it waits.
	NextAttempt time.Time
	Failure     string
}

// CommandCounts are commands of the outbox. One that waits for another of its
// instance is in none but Pending.
type CommandCounts struct {
	Pending, Ready, InFlight, BackingOff, Parked int
}

// failing is an instance that backs off.
type failing struct {
	until  int64 // wall time of the next attempt
	reason string
}

// Stats returns how things stand after the last transaction, from memory.
func (e *Engine) Stats(context.Context) (Stats, error) {
	s := Stats{Sagas: map[string]Counts{}}
	next, reason := e.nextRetry()
	if next != 0 {
		s.NextAttempt, s.Failure = time.Unix(0, next), reason
	}
	e.mu.Lock()
	for name, c := range e.counts {
		s.Sagas[name] = *c
		s.Counts.add(*c)
	}
	s.Timers = e.timers
	e.mu.Unlock()
	o := e.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Commands.InFlight = o.inFlight
	s.Commands.Ready = len(o.ready)
	s.Commands.BackingOff = len(o.backing)
	for _, l := range o.lanes {
		s.Commands.Pending += len(l.commands)
		if l.parked {
			s.Commands.Parked++
		}
	}
	return s, nil
}

// LastTime returns the clock at the last step, as it is stored with it; the
// zero time before the first.
func (e *Engine) LastTime(ctx context.Context) (time.Time, error) {
	if err := e.lock(ctx); err != nil {
		return time.Time{}, err
	}
	defer e.unlock()
	if e.lastTime == 0 {
		return time.Time{}, nil
	}
	return time.Unix(0, e.lastTime).UTC(), nil
}

// count has the counts follow an instance's row. mu is held.
func (e *Engine) count(i *instance) {
	name := e.names[i.saga]
	c := e.counts[name]
	if c == nil {
		c = &Counts{}
		e.counts[name] = c
	}
	status, backing := i.status, i.nextAttempt != 0
	if i.stray && status != Parked {
		status = "" // it stands for no instance
	}
	if i.counted != "" && !(i.stray && i.counted != Parked) {
		*c.of(i.counted)--
	}
	if status != "" {
		*c.of(status)++
	}
	if backing != i.backing {
		if backing {
			c.BackingOff++
		} else {
			c.BackingOff--
		}
	}
	if backing {
		e.failing[i.id] = failing{until: i.nextAttempt, reason: i.reason}
	} else if i.backing {
		delete(e.failing, i.id)
	}
}

// reload reads from the file what is kept in memory.
func (e *Engine) reload(ctx context.Context) error {
	e.cache.clear()
	err := errors.Join(e.reloadSagas(ctx), e.reloadCounts(ctx), e.reloadOpen(ctx), e.outbox.reload(ctx))
	if err != nil {
		return fmt.Errorf("saga: read %s: %w", e.db.Path(), err)
	}
	e.unsure = false
	signal(e.timerWake)
	signal(e.retryWake)
	return nil
}

// each reads a page of rows and closes them.
func each(ctx context.Context, db *sql.DB, scan func(*sql.Rows) error, query string, args ...any) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) reloadSagas(ctx context.Context) error {
	e.names = map[int64]string{}
	e.aliases, e.early = map[int64]bool{}, map[int64]bool{}
	err := each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var id int64
		var name string
		var at eventstore.Anchor
		var hash []byte
		var aliases, early bool
		if err := rows.Scan(&id, &name, &at.Epoch, &at.Position, &hash, &aliases, &early); err != nil {
			return err
		}
		copy(at.Hash[:], hash)
		e.names[id], e.aliases[id], e.early[id] = name, aliases, early
		if b := e.byID[id]; b != nil {
			b.saved = at
			if b.at.Position < at.Position {
				b.at = at
			}
		}
		return nil
	}, `
		SELECT id, name, epoch, position, hash,
			EXISTS (SELECT 1 FROM alias WHERE alias.saga = saga.id),
			EXISTS (SELECT 1 FROM early WHERE early.saga = saga.id)
		FROM saga`)
	if err != nil {
		return err
	}
	least := *e.checkpoint.Load()
	for n, b := range e.bindings {
		// What was passed over since the last transaction is scanned again.
		b.at = b.saved
		if n == 0 || b.at.Position < least.Position {
			least = b.at
		}
	}
	e.checkpoint.Store(&least)
	return e.db.Reader().QueryRowContext(ctx, `
		SELECT last_time, (SELECT COALESCE(MAX(id), 0) FROM instance), (SELECT COALESCE(MAX(id), 0) FROM journal)
		FROM engine`).Scan(&e.lastTime, &e.nextID, &e.nextEntry)
}

func (e *Engine) reloadCounts(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts, e.failing = map[string]*Counts{}, map[int64]failing{}
	for _, b := range e.bindings {
		e.counts[b.name] = &Counts{}
	}
	err := each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var saga int64
		var status Status
		var n int
		if err := rows.Scan(&saga, &status, &n); err != nil {
			return err
		}
		name := e.names[saga]
		if e.counts[name] == nil {
			e.counts[name] = &Counts{}
		}
		*e.counts[name].of(status) += n
		return nil
	}, `
		SELECT saga, status, COUNT(*)
		FROM instance
		WHERE stray = 0 OR status = 'parked'
		GROUP BY saga, status`)
	if err != nil {
		return err
	}
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var id, saga int64
		var f failing
		if err := rows.Scan(&id, &saga, &f.until, &f.reason); err != nil {
			return err
		}
		e.failing[id] = f
		e.counts[e.names[saga]].BackingOff++
		return nil
	}, `
		SELECT id, saga, next_attempt, reason
		FROM instance
		WHERE next_attempt > 0`)
	if err != nil {
		return err
	}
	e.dueKnown = false
	return e.db.Reader().QueryRowContext(ctx, `
		SELECT COUNT(*)
		FROM timer`).Scan(&e.timers)
}

func (e *Engine) reloadOpen(ctx context.Context) error {
	e.strays = map[strayKey]int64{}
	return each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var id, saga int64
		var stream string
		if err := rows.Scan(&id, &saga, &stream); err != nil {
			return err
		}
		e.strays[strayKey{saga, stream}] = id
		return nil
	}, `
		SELECT id, saga, key
		FROM instance
		WHERE status = 'parked' AND stray = 1`)
}

// reload reads the outbox from the file. Commands in flight stay so.
func (o *outbox) reload(ctx context.Context) error {
	var cmds []*command
	var reasons []string
	var until []int64
	var parked []bool
	undoing := map[int64]bool{}
	err := each(ctx, o.e.db.Reader(), func(rows *sql.Rows) error {
		c := &command{}
		var reason string
		var next, saga int64
		var compensates, set bool
		if err := rows.Scan(&c.instance, &c.sequence, &c.id, &c.typ, &c.root, &c.hops, &c.at, &c.undo, &set, &c.attempts, &c.failedAt,
			&next, &reason, &saga, &c.key, &compensates); err != nil {
			return err
		}
		c.saga = o.e.names[saga]
		undoing[c.instance] = compensates
		cmds, reasons, until, parked = append(cmds, c), append(reasons, reason), append(until, next), append(parked, set)
		return nil
	}, `
		SELECT o.instance, o.sequence, o.id, o.type, o.root, o.hops, o.at, o.undo, o.parked, o.attempts, o.failed_at,
			o.next_attempt, o.reason, i.saga, i.key, i.undoing
		FROM outbox o
		JOIN instance i ON i.id = o.instance
		ORDER BY o.instance, o.sequence`)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	busy := map[int64]*command{}
	for id, l := range o.lanes {
		if l.busy && len(l.commands) > 0 {
			busy[id] = l.commands[0]
		}
	}
	finished := map[[2]int64]bool{} // known to be done, though not recorded
	for _, r := range o.results {
		if r.outcome == outcomeDone {
			finished[[2]int64{r.cmd.instance, r.cmd.sequence}] = true
		}
	}
	o.lanes, o.backing, o.ready, o.buffered = map[int64]*lane{}, map[int64]*lane{}, nil, 0
	for n, c := range cmds {
		if b := busy[c.instance]; b != nil && b.sequence == c.sequence {
			c = b
		}
		l := o.add(c)
		l.undoing = undoing[c.instance]
		if finished[[2]int64{c.instance, c.sequence}] && l.commands[0] == c {
			o.pop(l, c)
			continue
		}
		if l.commands[0] == c {
			l.busy, l.parked = busy[c.instance] == c, parked[n]
			if until[n] != 0 && !l.busy {
				o.setUntil(l, until[n], reasons[n])
			}
		}
	}
	lanes := make([]*lane, 0, len(o.lanes))
	for _, l := range o.lanes {
		lanes = append(lanes, l)
	}
	slices.SortFunc(lanes, func(a, b *lane) int { return int(a.instance - b.instance) })
	for _, l := range lanes {
		o.offer(l)
	}
	return nil
}
