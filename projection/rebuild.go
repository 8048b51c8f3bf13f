package projection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/background"
	"github.com/leat-go/leat/internal/crash"
)

// Progress says how far a build is. Rate and ETA are of this run of it.
type Progress struct {
	// Done and Total are positions of the log: scanned, and to be scanned.
	Done, Total int64
	// Events is how many events were applied.
	Events int64
	// Elapsed is the time since the build, or this run of it, began.
	Elapsed time.Duration
	// Rate is events a second, positions a second where events are not counted.
	Rate float64
	// ETA is how much longer it will take at this rate, 0 where unknown.
	ETA time.Duration
}

// Percent returns how much is done, 0 to 100.
func (p Progress) Percent() float64 {
	if p.Total <= 0 || p.Done >= p.Total {
		return 100
	}
	return 100 * float64(p.Done) / float64(p.Total)
}

// build is the state behind Progress.
type build struct {
	began             time.Time
	from, done, total int64
	events            int64
}

func (b *build) progress() Progress {
	p := Progress{Done: b.done, Total: max(b.total, b.done), Events: b.events, Elapsed: time.Since(b.began)}
	if p.Elapsed <= 0 {
		return p
	}
	positions := float64(b.done-b.from) / p.Elapsed.Seconds()
	p.Rate = float64(b.events) / p.Elapsed.Seconds()
	if p.Rate == 0 {
		p.Rate = positions
	}
	if positions > 0 {
		p.ETA = time.Duration(float64(p.Total-p.Done) / positions * float64(time.Second))
	}
	return p
}

// Rebuilt is the result of a Rebuild.
type Rebuilt struct {
	// Events is how many events were applied.
	Events int64
	// Position is that of both files when they were compared.
	Position int64
	// Seconds is how long it took.
	Seconds float64
	// Identical says that every row of every table of the schema is the same.
	// Virtual tables and what they keep are not compared.
	Identical bool
	// LiveDigest and Digest are of the rows of the file that was live and of
	// the new one, in hexadecimal.
	LiveDigest, Digest string
	// Difference names the first row that differs, empty where none does.
	Difference string
	// Differences are the first rows that differ, by table and key,
	// MaxDifferences at most.
	Differences []Difference
}

// rebuilding is a running Rebuild, for Close to end.
type rebuilding struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Rebuild folds the log anew into a file beside the live one, which goes on
// applying and serving reads. When the new file has nearly caught up, the live
// one is held at its position, the new one brought to exactly that, both are
// compared and exchanged. The old file is kept until the next exchange. A
// crash leaves either the old file live or the new one; one that was not
// finished is removed at the next Open.
//
// It ends at the position of the live file, not at the end of the log: of a
// read model that has applied nothing yet it builds nothing, and finds that
// identical. Whoever runs no router brings the live file to the end first,
// with Apply.
//
// It gives way to appends: the pages are applied on a thread of low priority,
// where the system has priorities of threads (Linux). The comparison at the end
// is not: the live file is held meanwhile.
//
// progress may be nil; it is called after every page, in another goroutine that
// Rebuild waits for and whose thread may have a low priority. It must not panic,
// and not append: others would wait for that. Of the projection it may ask for
// nothing but Status: the live file may be held.
//
// An event that fails and that the live file has as a dead letter or parked is
// set aside in the new file as well, and one that was discarded is left out; any
// other failing event ends the rebuild with an EventError, and the live file
// stays. A rebuild that was ended begins anew the next time: its file is not
// synced, and may be of other handlers. It returns ErrBuilding while another
// build runs. An error that comes with a result is one of the disk after the
// exchange: see GoBack.
func (p *Projection) Rebuild(ctx context.Context, progress func(Progress)) (Rebuilt, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	return p.rebuildFrom(ctx, wayGiver{p.log}, func() {}, progress)
}

// rebuildFrom is a Rebuild that reads most of the log from another reader of
// it, and calls read when it is done with that.
func (p *Projection) rebuildFrom(ctx context.Context, log eventstore.LogReader, read func(), progress func(Progress)) (_ Rebuilt, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := p.beginRebuild(ctx, cancel)
	if err != nil {
		return Rebuilt{}, err
	}
	defer p.endRebuild(r)
	id, err := p.files.next(p.def.version)
	if err != nil {
		return Rebuilt{}, err
	}
	v, err := createView(ctx, p.files, id, p.def, purposeRebuild)
	if err != nil {
		return Rebuilt{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("rebuild: %w", err), p.discard(v))
		}
	}()
	if err := p.inheritFor(ctx, v); err != nil {
		return Rebuilt{}, err
	}
	v.once, v.logger = true, nil // what is set aside again was told before
	if err := p.step(stepCreated); err != nil {
		return Rebuilt{}, err
	}
	report := func(events int) { progress(p.reportBuild(v, events)) }
	err = background.Do(func() error {
		if err := p.buildBeside(ctx, log, v, report); err != nil {
			return err
		}
		read()
		if err := p.syncRebuilt(ctx, v); err != nil {
			return err
		}
		return p.buildBeside(ctx, wayGiver{p.log}, v, report) // what was appended meanwhile
	})
	if err != nil {
		return Rebuilt{}, err
	}
	if err := p.lock(ctx); err != nil {
		return Rebuilt{}, err
	}
	defer p.unlock()
	return p.finishRebuild(ctx, v, report)
}

func (p *Projection) beginRebuild(ctx context.Context, cancel context.CancelFunc) (*rebuilding, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, p.closedError()
	case p.next != nil:
		return nil, fmt.Errorf("%w: %s v%d is built beside v%d: wait until it has caught up", ErrBuilding, p.def.name, p.def.version, p.live.id.version)
	case p.rebuild != nil:
		return nil, fmt.Errorf("%w: %s: a rebuild is running", ErrBuilding, p.def.name)
	}
	p.rebuild = &rebuilding{cancel: cancel, done: make(chan struct{})}
	p.build = &build{began: time.Now(), total: p.shown.through.Position}
	return p.rebuild, nil
}

func (p *Projection) endRebuild(r *rebuilding) {
	p.mu.Lock()
	p.rebuild, p.build = nil, nil
	p.mu.Unlock()
	close(r.done)
}

// reportBuild notes how far the view that is built is.
func (p *Projection) reportBuild(v *view, events int) Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.build.done = v.through.Position
	p.build.total = p.shown.through.Position
	p.build.events += int64(events)
	return p.build.progress()
}

// discard removes a file that did not become live.
func (p *Projection) discard(v *view) error {
	p.mu.Lock()
	swapped := p.live.view == v
	p.mu.Unlock()
	if swapped {
		return nil
	}
	err := v.db.Close()
	if at, _, unread := p.files.readPointer(); unread != nil || at.Live == v.id {
		return err // the next Open knows better
	}
	return errors.Join(err, p.files.remove(v.id))
}

// buildBeside applies the log to v until no more than a page is missing to
// where the live view is.
func (p *Projection) buildBeside(ctx context.Context, log eventstore.LogReader, v *view, report func(events int)) error {
	for {
		p.mu.Lock()
		to := p.shown.through
		p.mu.Unlock()
		if to.Position-v.through.Position <= RebuildPage {
			return nil
		}
		err := p.fold(ctx, log, v, to, true, func(events int) error {
			report(events)
			crash.At(crash.ViewBuilding)
			return p.step(stepBuilding)
		})
		if err != nil {
			return err
		}
	}
}

// finishRebuild brings v to where the live view is held, compares and
// exchanges them. The caller holds the gate.
func (p *Projection) finishRebuild(ctx context.Context, v *view, report func(events int)) (Rebuilt, error) {
	crash.At(crash.ViewPaused)
	if err := p.step(stepPaused); err != nil {
		return Rebuilt{}, err
	}
	if err := p.catchUp(ctx, v, report); err != nil {
		return Rebuilt{}, err
	}
	crash.At(crash.ViewCaughtUp)
	live, to := p.live.view, v.through
	same, err := compare(ctx, live.db, v.db)
	if err != nil {
		return Rebuilt{}, live.wrap(fmt.Errorf("compare: %w", err))
	}
	crash.At(crash.ViewCompared)
	err = p.swap(v)
	if p.live.view != v {
		return Rebuilt{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Rebuilt{
		Events: p.build.events, Position: to.Position, Seconds: time.Since(p.build.began).Seconds(),
		Identical: len(same.differences) == 0, LiveDigest: same.first, Digest: same.second,
		Difference: first(same.differences), Differences: same.differences,
	}, err
}

// catchUp brings v to where the live view is held. The caller holds the gate.
func (p *Projection) catchUp(ctx context.Context, v *view, report func(events int)) error {
	live := p.live.view
	if live.stale {
		if err := live.load(ctx); err != nil {
			return err
		}
	}
	for v.through.Position < live.through.Position {
		n, err := p.pull(ctx, p.log, v, RebuildPage, live.through)
		if err != nil {
			return err
		}
		report(n)
	}
	return v.saveScanned(ctx)
}

// inheritFor has a view that is built set aside what the live file has.
func (p *Projection) inheritFor(ctx context.Context, v *view) (err error) {
	p.equip(v, p.inherit)
	live, _, err := p.pin()
	if err != nil || live == nil {
		return err
	}
	defer p.unpin(live)
	if v.discarded, err = discards(ctx, live.db); err != nil {
		return live.wrap(err)
	}
	return nil
}

// inherit is the verdict over an event that fails while a file is built: what
// the live file decided about it, so that it is not tried again, else Block, so
// that a file with a failing event never becomes live.
func (p *Projection) inherit(ctx context.Context, position int64) (_ Policy, already bool, err error) {
	live, _, err := p.pin()
	if err != nil || live == nil {
		return Block, false, err
	}
	defer p.unpin(live)
	var buried, parked bool
	err = live.db.Reader().QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM leat_dead_letter WHERE position = ?1),
		       EXISTS (SELECT 1 FROM leat_parked WHERE position = ?1 AND attempts > 0)`, position).Scan(&buried, &parked)
	switch {
	case err != nil:
		return Block, false, live.wrap(err)
	case buried:
		return Skip, true, nil
	case parked:
		return Park, true, nil
	default:
		return Block, false, nil
	}
}
