package projection

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/background"
	"github.com/leat-go/leat/internal/crash"
)

// WentBack is the result of a GoBack.
type WentBack struct {
	// Serves is the name of the file that was live before and is again, Kept
	// that of the one it took the place of: going back once more exchanges them.
	Serves, Kept string
	// From is where the file that serves was, Position where it is now.
	From, Position int64
}

// GoBack makes the file that was live before the last exchange live again: it
// is brought to where the live one is, by this program's handlers, and then the
// two are exchanged as after a Rebuild. Reads and Apply go on meanwhile. A
// crash leaves the one or the other live, each whole, and GoBack can be called
// again. It is for a Rebuild whose result is not wanted.
//
// What was done since the exchange about events that had been set aside holds:
// what the live file has applied by now is applied, before what came later, and
// what was discarded is discarded.
//
// A file of a lower version is not gone back to like that, for this program has
// not its handlers: open the read model with the definition of that version,
// which goes back by itself and applies what it has missed.
//
// Errors: ErrNoPrevious where no file of this version is kept, ErrBuilding
// while a new file is built, bus.BlockedError where an event fails that the live
// file has not set aside; eventstore.ErrRewound; those of SQLite. Any of them
// leaves the live file live, but for one of the disk after the exchange, which
// comes with the result: the pointer to the files may not outlast a power cut
// then, which would have the file that served before serve again.
func (p *Projection) GoBack(ctx context.Context) (_ WentBack, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := p.beginRebuild(ctx, cancel)
	if err != nil {
		return WentBack{}, err
	}
	defer p.endRebuild(r)
	v, err := p.openPrevious(ctx)
	if err != nil {
		return WentBack{}, err
	}
	defer func() {
		p.mu.Lock()
		swapped := p.live.view == v
		p.mu.Unlock()
		if !swapped {
			err = errors.Join(err, v.db.Close())
		}
	}()
	from := v.through.Position
	p.mu.Lock()
	p.build.from, p.build.done = from, from
	p.mu.Unlock()
	report := func(events int) { p.reportBuild(v, events) }
	err = background.Do(func() error {
		if err := p.follow(ctx, v); err != nil {
			return err
		}
		return p.buildBeside(ctx, wayGiver{p.log}, v, report)
	})
	if err != nil {
		return WentBack{}, fmt.Errorf("go back: %w", err)
	}
	if err := p.lock(ctx); err != nil {
		return WentBack{}, err
	}
	defer p.unlock()
	kept := p.live.id
	if err = p.finishBack(ctx, v, report); err != nil {
		err = fmt.Errorf("go back: %w", err)
	}
	if p.live.view != v {
		return WentBack{}, err
	}
	return WentBack{Serves: v.id.String(), Kept: kept.String(), From: from, Position: v.through.Position}, err
}

// openPrevious opens the file before the live one, where this program can go on
// with it.
func (p *Projection) openPrevious(ctx context.Context) (_ *view, err error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	id := p.previous
	p.mu.Lock()
	var read *pinned // it may still be read
	for _, r := range p.retired {
		if r.id == id {
			read = r
		}
	}
	p.mu.Unlock()
	p.unlock()
	switch {
	case id == fileID{} || !exists(p.files.path(id)):
		return nil, fmt.Errorf("%w: %s: nothing was exchanged yet, or the file was removed", ErrNoPrevious, p.def.name)
	case id.version > p.def.version:
		return nil, fmt.Errorf("%w: %s: the file before is of version %d, this program defines %d: run the newer program, which builds it anew",
			ErrNoPrevious, p.def.name, id.version, p.def.version)
	case id.version < p.def.version:
		return nil, fmt.Errorf("%w: %s: the file before is of version %d, this program defines %d: run the program that defines %d, which goes back to it",
			ErrNoPrevious, p.def.name, id.version, p.def.version, id.version)
	}
	if read != nil {
		select {
		case <-read.idle:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	v, _, err := openView(ctx, p.files, id, p.def)
	if err != nil {
		return nil, err
	}
	if err := eventstore.CheckCheckpoint(ctx, p.log, v.saved, p.def.name, rewoundRemedy); err != nil {
		return nil, errors.Join(fmt.Errorf("projection %s: %s: %w", p.def.name, v.id, err), v.db.Close())
	}
	if err := p.inheritFor(ctx, v); err != nil {
		return nil, errors.Join(err, v.db.Close())
	}
	v.once, v.logger = true, nil
	return v, nil
}

// finishBack brings v to where the live view is held and exchanges them. The
// caller holds the gate.
func (p *Projection) finishBack(ctx context.Context, v *view, report func(events int)) error {
	crash.At(crash.ViewPaused)
	if err := p.step(stepPaused); err != nil {
		return err
	}
	if err := p.catchUp(ctx, v, report); err != nil {
		return err
	}
	crash.At(crash.ViewCaughtUp)
	return p.swap(v)
}
