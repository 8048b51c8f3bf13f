package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// RebuildPage is how many events a rebuild applies in one transaction.
const RebuildPage = 5000

// Options change how a projection is opened.
type Options struct {
	// PageSize is how many events are applied in one transaction, 1 to
	// eventstore.MaxPage. Defaults to bus.DefaultPageSize.
	PageSize int
	// Logger is told what is parked and skipped. Defaults to slog.Default().
	Logger *slog.Logger
}

// Projection is an open read model: a bus.Consumer for a Router, and a reader
// for everybody else. It is safe for concurrent use. It owns no goroutine.
//
// Whoever changes files or the live view holds the gate: Apply, Release, the
// swap at the end of a build, Close. Everything else looks at what mu guards
// and at files that are pinned while they are read.
type Projection struct {
	def      *Definition
	log      eventstore.LogReader
	files    files
	pageSize int
	logger   *slog.Logger
	step     func(string) error // named points of a swap, for tests

	gate chan struct{} // holds one token while it is free
	// Owned by the holder of the gate.
	next     *view  // an upgrade that is being built; nil otherwise
	previous fileID // kept beside the live file

	mu        sync.Mutex // guards what follows
	live      *pinned
	shown     shown // of the live view
	blocked   *bus.BlockedError
	retry     *bus.RetryError
	retryAt   time.Time
	build     *build        // of a new file, nil without one
	changed   chan struct{} // closed when shown, blocked or closed changes; nil when nobody waits
	rebuild   *rebuilding   // the running Rebuild
	retired   []*pinned     // views that were swapped out and are still read
	closed    bool
	closeOnce sync.Once
	closeErr  error
}

// pinned is a view and how many reads use it. A retired view is closed by the
// last of them.
type pinned struct {
	*view
	users   int
	retired bool
	idle    chan struct{} // closed once retired and closed
	err     error         // of closing
}

// rewoundRemedy is what to do about a read model that is past the log.
const rewoundRemedy = "remove the read model (projection.Remove) and it is built anew from the log"

var _ bus.Consumer = (*Projection)(nil)
var _ bus.PageSizer = (*Projection)(nil)
var _ bus.Preparer = (*Projection)(nil)

// Open opens the read model in the store's directory dir, creating it where
// there is none. The options may be nil. The caller owns the directory (one
// process at a time), and closes the projection after the last router that
// carries to it has ended.
//
// A definition of a higher version than the live file's has a new file built
// beside it: Apply fills that one, reads are served from the old one until the
// new has caught up, and then the two are exchanged. A build that was
// interrupted goes on. A definition of a lower version goes back to the file
// that was live before, where it is of that version.
//
// Errors: ErrInvalid for a wrong definition or schema, ErrSchemaChanged,
// ErrNewer, ErrDamaged, eventstore.ErrRewound where the checkpoint does not
// lie on the log, and those of SQLite.
func Open(ctx context.Context, dir string, log eventstore.LogReader, def *Definition, opts *Options) (*Projection, error) {
	return open(ctx, dir, log, def, opts, func(string) error { return nil })
}

func open(ctx context.Context, dir string, log eventstore.LogReader, def *Definition, opts *Options, step func(string) error) (_ *Projection, err error) {
	if err := def.Err(); err != nil {
		return nil, err
	}
	if opts == nil {
		opts = &Options{}
	}
	p := &Projection{
		def: def, log: log, pageSize: opts.PageSize, logger: opts.Logger, step: step,
		files: files{dir: filepath.Join(dir, viewsDir), name: def.name, logger: opts.Logger},
		gate:  make(chan struct{}, 1),
	}
	if p.pageSize == 0 {
		p.pageSize = bus.DefaultPageSize
	}
	if err := eventstore.CheckPage(p.pageSize); err != nil {
		return nil, fmt.Errorf("projection %s: Options.PageSize: %w", def.name, err)
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	if err := p.files.prepare(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.closeViews())
		}
	}()
	if err := p.openFiles(ctx); err != nil {
		return nil, err
	}
	for _, v := range []*view{p.live.view, p.target()} {
		if err := eventstore.CheckCheckpoint(ctx, log, v.saved, def.name, rewoundRemedy); err != nil {
			return nil, fmt.Errorf("projection %s: %s: %w", def.name, v.id, err)
		}
	}
	if err := p.openBuild(ctx); err != nil {
		return nil, err
	}
	p.publish()
	p.gate <- struct{}{}
	return p, nil
}

// equip gives a view what it needs to be applied to.
func (p *Projection) equip(v *view, verdict func(context.Context, int64) (Policy, bool, error)) {
	v.log, v.logger, v.verdict = p.log, p.logger, verdict
}

// adopt makes v the live view. The caller holds the gate or is Open.
func (p *Projection) adopt(v *view) {
	p.equip(v, func(context.Context, int64) (Policy, bool, error) { return p.def.policy, false, nil })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = &pinned{view: v, idle: make(chan struct{})}
}

// target is the view that events are applied to. The caller holds the gate.
func (p *Projection) target() *view {
	if p.next != nil {
		return p.next
	}
	return p.live.view
}

// lock takes the gate.
func (p *Projection) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.isClosed() {
		p.unlock()
		return p.closedError()
	}
	return nil
}

func (p *Projection) unlock() { p.gate <- struct{}{} }

func (p *Projection) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *Projection) closedError() error { return fmt.Errorf("%w: %s", ErrClosed, p.def.name) }

// Name returns the projection's name.
func (p *Projection) Name() string { return p.def.name }

// Filter selects the event types that have a handler.
func (p *Projection) Filter() eventstore.Filter { return p.def.filter() }

// PageSize returns how many events are applied in one transaction.
func (p *Projection) PageSize() int { return p.pageSize }

// Checkpoint returns how far the log was scanned and applied: of the file that
// is being built, where a higher version is.
func (p *Projection) Checkpoint(ctx context.Context) (eventstore.Anchor, error) {
	if err := p.lock(ctx); err != nil {
		return eventstore.Anchor{}, err
	}
	defer p.unlock()
	v := p.target()
	if v.stale {
		if err := v.load(ctx); err != nil {
			return eventstore.Anchor{}, err
		}
		p.publish()
	}
	return v.through, nil
}

// Apply applies a page: its events' effects and its position commit in one
// transaction. Events at or below the checkpoint are passed over. It returns
// bus.RetryError and bus.BlockedError as the policy says; any other error is
// the machine's, or ctx's, and nothing was counted. It is called by a Router.
func (p *Projection) Apply(ctx context.Context, page bus.Page) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	v := p.target()
	before := v.through.Position
	v.ahead, _ = page.Prepared.(*ahead)
	err := v.apply(ctx, page)
	v.ahead = nil
	p.countBuilt(v, page, before)
	if errors.Is(err, bus.ErrCheckpointMoved) {
		v.stale = true
		err = &bus.BlockedError{Position: v.saved.Position, Err: err}
	}
	p.note(err)
	if err == nil && p.next != nil {
		err = p.tryUpgrade(ctx)
		p.note(err)
	}
	p.publish()
	return err
}

// countBuilt counts the events of a page that were applied to a file that is
// built, which was at before.
func (p *Projection) countBuilt(v *view, page bus.Page, before int64) {
	if v != p.next {
		return
	}
	applied := int64(0)
	for i := range page.Events {
		if at := page.Events[i].Position; at > before && at <= v.through.Position {
			applied++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.build != nil {
		p.build.events += applied
	}
}

// note keeps what Status says of the last page.
func (p *Projection) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blocked, isBlocked := errors.AsType[*bus.BlockedError](err)
	retry, isRetry := errors.AsType[*bus.RetryError](err)
	switch {
	case isBlocked:
		p.blocked, p.retry = blocked, nil
	case isRetry:
		p.blocked, p.retry, p.retryAt = nil, retry, time.Now().Add(retry.After)
	case err == nil:
		p.blocked, p.retry = nil, nil
	}
}

// publish shows what the live view has become and wakes who waits for it.
func (p *Projection) publish() {
	now := p.live.show()
	now.attempt = p.target().attempt
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = now
	if p.next != nil && p.build != nil {
		p.build.done = p.next.through.Position
	}
	p.wake()
}

// wake has everyone who waits look again. The caller holds mu.
func (p *Projection) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Close ends the projection: it stops a running Rebuild, waits for the page
// that is being applied and for the reads that are under way, saves how far
// the log was scanned and closes the files. It must not be called from a
// handler or a Read. Later calls return what the first did.
func (p *Projection) Close() error {
	p.closeOnce.Do(func() { p.closeErr = p.close() })
	return p.closeErr
}

func (p *Projection) close() error {
	p.mu.Lock()
	p.closed = true
	r := p.rebuild
	p.wake()
	p.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
	<-p.gate
	defer p.unlock()
	var errs []error
	for _, v := range []*view{p.live.view, p.next} {
		if v != nil && v.id.version == p.def.version {
			errs = append(errs, v.saveScanned(context.Background()))
		}
	}
	return errors.Join(append(errs, p.closeViews())...)
}

// closeViews closes every file, after its last read.
func (p *Projection) closeViews() error {
	var errs []error
	p.mu.Lock()
	all := p.retired
	p.retired = nil
	if p.live != nil {
		all = append(all, p.live)
		p.retire(p.live)
	}
	p.mu.Unlock()
	for _, v := range all {
		<-v.idle
		errs = append(errs, v.err)
	}
	if p.next != nil {
		errs = append(errs, p.next.db.Close())
	}
	return errors.Join(errs...)
}
