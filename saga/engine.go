package saga

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/parts"
	"github.com/leat-go/leat/internal/sqlite"
)

// Name is the engine's name as a consumer.
const Name = "sagas"

// FileName is the name of the engine's file in its directory.
const FileName = "sagas.db"

// applicationID marks sagas.db.
const applicationID = 0x1ea70002

// rewoundRemedy is what to do about sagas that are past the log.
const rewoundRemedy = "take sagas.db from the same backup as the log: what the sagas did is nowhere else"

// timersByDue is the migration since which timers lie in the order in which
// they are due, and instances name theirs.
const timersByDue = 3

// formerNames is the migration since which a saga has an identity, and keeps
// the names that it had.
const formerNames = 4

//go:embed migration/*.sql
var migrations embed.FS

// Limits that Options can change, and others that it cannot.
const (
	// Workers is how many commands are in flight at most.
	Workers = 64
	// MaxHops is how long a chain of steps may be in which each is caused by
	// the one before, without time passing between them.
	MaxHops = 250
	// CommandAttempts and CommandAge limit how often, and for how long in wall
	// time, a command that fails for other reasons than a rejection is tried.
	CommandAttempts = 20
	CommandAge      = 24 * time.Hour
	// MinBackoff and MaxBackoff bound the waits between attempts, of inputs
	// and of commands, in wall time.
	MinBackoff = 50 * time.Millisecond
	MaxBackoff = 30 * time.Second
	// MaxEarly is how many events wait for the start of one key, but for those
	// that an operator has added: see Waits.
	MaxEarly = 1000
	// FirePage is how many timers fire in one transaction.
	FirePage = 500
	// readPage is how many events are read at once where the engine reads the
	// log itself.
	readPage = 1000
	// lazyCheckpoint is how many positions that concern no saga are passed over
	// before the file is told. After a crash at most so many are scanned again.
	lazyCheckpoint = 10_000
	// pageCache is the memory in which SQLite keeps pages of the file, in KiB:
	// those that a page of steps of instances at random changes, so that each is
	// written once.
	pageCache = 8 << 10
)

// binding is a definition with what the file says of it.
type binding struct {
	*Definition
	id       int64
	identity string            // what fingerprints are made of; it outlives a renaming
	silent   int64             // commands of steps at or below are not sent
	at       eventstore.Anchor // checkpoint
	saved    eventstore.Anchor // checkpoint as it stands in the file, at or behind at
}

// Engine carries out sagas: it is one bus.Consumer for all definitions. It is
// safe for concurrent use.
//
// Everything it decides, it decides in transactions on sagas.db, one at a
// time: a work buffers what the inputs of a page, a firing or a batch of
// results change, and writes it in one go. What is kept in memory beside the
// file (the outbox, counts, the next due time) changes only after a
// transaction has committed, in the order of the commits, and is read anew
// from the file where a commit's outcome is unknown.
type Engine struct {
	log    eventstore.LogReader
	clock  clock.Clock
	opts   Options
	db     *sqlite.DB
	outbox *outbox
	owner  int64      // which opening of the file this is
	step   crash.Step // asked at points of a transaction, for tests

	gate chan struct{} // holds one token while no transaction is under way
	// Owned by the holder of the gate.
	bindings  []*binding // in the order of their names
	byType    map[string][]*binding
	byID      map[int64]*binding
	names     map[int64]string // of all sagas in the file, registered or not
	lastTime  int64
	nextID    int64 // of the last instance
	nextEntry int64 // of the last entry of the journal
	cache     cache
	aliases   map[int64]bool
	early     map[int64]bool
	strays    map[strayKey]int64 // the stray instances that are open
	sweep     int                // instances finished since the last sweep
	swept     int64              // the clock at that
	unsure    bool               // a commit's outcome is unknown

	mu        sync.Mutex // guards what follows
	counts    map[string]*Counts
	timers    int
	nextDue   int64 // of the earliest timer that is not held, 0 for none; where dueKnown
	dueKnown  bool
	failing   map[int64]failing // instances that back off
	timerWake chan struct{}
	retryWake chan struct{}

	checkpoint atomic.Pointer[eventstore.Anchor] // the lowest of the sagas
	closing    chan struct{}
	closeOnce  sync.Once
	closeErr   error
	wg         sync.WaitGroup // goroutines of subscriptions
}

type strayKey struct {
	saga   int64
	stream string
}

// Open opens the engine of these sagas, creating dir/sagas.db where there is
// none. A saga that is new starts from the log's head, unless FromOrigin. It
// returns ErrDefinition for what is wrong with the definitions, StartError
// where something pending has no handler, and eventstore.ErrRewound where the
// log is not the one the sagas have seen.
func Open(ctx context.Context, dir string, log eventstore.LogReader, clk clock.Clock, defs []*Definition, opts *Options) (_ *Engine, err error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkDefinitions(defs); err != nil {
		return nil, err
	}
	durability := sqlite.Full
	if o.Relaxed {
		durability = sqlite.Normal
	}
	sub, err := fs.Sub(migrations, "migration")
	if err != nil {
		return nil, fmt.Errorf("saga: %w", err)
	}
	db, err := parts.Open(ctx, dir, FileName, sqlite.Format{ApplicationID: applicationID, Migrations: sub}, sqlite.Options{Durability: durability, Cache: pageCache, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("saga: %w", err)
	}
	e := &Engine{
		log: log, clock: clk, opts: o, db: db,
		gate:      make(chan struct{}, 1),
		timerWake: make(chan struct{}, 1),
		retryWake: make(chan struct{}, 1),
		closing:   make(chan struct{}),
		step:      crash.StepOf(ctx),
	}
	e.sweep = sweepEvery // look once after opening
	e.outbox = newOutbox(e)
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if err := e.check(ctx, defs); err != nil {
		return nil, err
	}
	if err := e.register(ctx, defs); err != nil {
		return nil, err
	}
	if err := e.reload(ctx); err != nil {
		return nil, err
	}
	e.gate <- struct{}{}
	return e, nil
}

func checkDefinitions(defs []*Definition) error {
	var errs []error
	names := map[string]bool{}
	for _, d := range defs {
		if d == nil {
			errs = append(errs, fmt.Errorf("%w: a definition is nil", ErrDefinition))
			continue
		}
		if names[d.name] {
			errs = append(errs, fmt.Errorf("%w: two sagas have the name %q", ErrDefinition, d.name))
		}
		names[d.name] = true
		errs = append(errs, d.Err())
	}
	for _, d := range defs {
		if d == nil {
			continue
		}
		for _, former := range d.was {
			if names[former] {
				errs = append(errs, fmt.Errorf("%w: saga %q was %q, which is the name of a saga, or the former name of another", ErrDefinition, d.name, former))
			}
			names[former] = true
		}
	}
	return errors.Join(errs...)
}

// register binds the definitions to their rows. A new saga gets one.
func (e *Engine) register(ctx context.Context, defs []*Definition) error {
	head, err := e.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("saga: %w", err)
	}
	now, err := e.log.Anchor(ctx, head)
	if err != nil {
		return fmt.Errorf("saga: %w", err)
	}
	e.byType, e.byID = map[string][]*binding{}, map[int64]*binding{}
	err = e.db.Write(ctx, func(tx *sqlite.Tx) error {
		if err := tx.QueryRow(`
			UPDATE engine
			SET owner = owner + 1
			RETURNING owner`).Scan(&e.owner); err != nil {
			return err
		}
		if _, err := tx.Exec(`
			UPDATE saga
			SET active = 0`); err != nil {
			return err
		}
		for _, d := range defs {
			b, err := enroll(tx, d, now)
			if err != nil {
				return err
			}
			e.bindings = append(e.bindings, b)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("saga: register: %w", err)
	}
	slices.SortFunc(e.bindings, func(a, b *binding) int { return strings.Compare(a.name, b.name) })
	for _, b := range e.bindings {
		if err := eventstore.CheckCheckpoint(ctx, e.log, b.at, b.name, rewoundRemedy); err != nil {
			return fmt.Errorf("saga: %q: %w", b.name, err)
		}
		e.byID[b.id] = b
		for t := range b.events {
			e.byType[t] = append(e.byType[t], b)
		}
	}
	first := now
	for _, b := range e.bindings {
		if b.at.Position < first.Position {
			first = b.at
		}
	}
	e.checkpoint.Store(&first)
	return nil
}

// enroll has the file know of the definition, which begins at the log's end, now,
// unless it was there before.
func enroll(tx *sqlite.Tx, d *Definition, now eventstore.Anchor) (*binding, error) {
	if err := takeOver(tx, d); err != nil {
		return nil, err
	}
	at, silent := now, int64(0)
	if d.origin {
		at, silent = eventstore.Anchor{}, now.Position
	}
	if _, err := tx.Exec(`
		INSERT INTO saga (name, active, silent, epoch, position, hash, identity)
		VALUES (?, 1, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET active = 1`, d.name, silent, at.Epoch, at.Position, at.Hash[:], d.identity()); err != nil {
		return nil, err
	}
	b := &binding{Definition: d}
	var hash []byte
	if err := tx.QueryRow(`
		SELECT id, identity, silent, epoch, position, hash
		FROM saga
		WHERE name = ?`, d.name).Scan(&b.id, &b.identity, &b.silent, &b.saved.Epoch, &b.saved.Position, &hash); err != nil {
		return nil, err
	}
	copy(b.saved.Hash[:], hash)
	b.at = b.saved
	return b, giveUp(tx, d, b.id)
}

// lock takes the gate. Nobody waits for time while holding it.
func (e *Engine) lock(ctx context.Context) error {
	select {
	case <-e.gate:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closing:
		return ErrClosed
	}
	select {
	case <-e.closing:
		e.gate <- struct{}{}
		return ErrClosed
	default:
	}
	if e.unsure {
		if err := e.reload(ctx); err != nil {
			e.gate <- struct{}{}
			return err
		}
	}
	return nil
}

func (e *Engine) unlock() { e.gate <- struct{}{} }

// Close ends the subscription of the Outbox, waits for it, records what is
// known of commands and how far the log was seen, and closes the file. Commands
// still in flight are not waited for: they are carried out again by the next
// engine, and the log knows them by their ids. It is idempotent.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		e.outbox.mu.Lock() // no subscription begins after this
		close(e.closing)
		e.outbox.mu.Unlock()
		e.wg.Wait()
		crash.At(crash.SagaDrained)
		<-e.gate
		defer e.unlock()
		e.closeErr = errors.Join(e.outbox.flushLocked(context.Background(), false), e.saveSeen(), e.db.Close())
	})
	return e.closeErr
}

// saveSeen tells the file how far the log was seen. The caller holds the gate.
func (e *Engine) saveSeen() error {
	if e.unsure || e.unsaved() == 0 {
		return nil
	}
	err := e.transact(context.Background(), nothing)
	if errors.Is(err, ErrMoved) {
		return nil // whoever opened the file since keeps its own
	}
	return err
}
