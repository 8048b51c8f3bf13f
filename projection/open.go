package projection

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// openFiles finds the live file, goes back or makes new ones as the version
// asks, and removes what is left over.
func (p *Projection) openFiles(ctx context.Context) error {
	at, found, err := p.files.readPointer()
	if err != nil {
		return err
	}
	if found && at.Live.version > p.def.version {
		if at, err = p.goBack(ctx, at); err != nil {
			return err
		}
	}
	if !found {
		return p.openFirst(ctx)
	}
	live, _, err := openView(ctx, p.files, at.Live, p.def)
	if err != nil {
		return err
	}
	p.adopt(live)
	p.previous = at.Previous
	crash.At(crash.ViewLooked)
	if at.Live.version == p.def.version {
		return p.files.sweep(at.Live, at.Previous)
	}
	return p.openUpgrade(ctx)
}

// openFirst makes the first file of the read model.
func (p *Projection) openFirst(ctx context.Context) error {
	if err := p.files.sweep(); err != nil {
		return err
	}
	id, err := p.files.next(p.def.version)
	if err != nil {
		return err
	}
	v, err := createView(ctx, p.files, id, p.def, purposeFirst)
	if err != nil {
		return err
	}
	p.adopt(v)
	if err := p.settleFile(v); err != nil {
		return err
	}
	return p.files.writePointer(pointer{Live: id}, p.step)
}

// openUpgrade picks up the build of this version that was interrupted, or
// begins one.
func (p *Projection) openUpgrade(ctx context.Context) error {
	ids, err := p.files.list()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id.version != p.def.version || id == p.previous || p.next != nil {
			continue
		}
		v, err := p.resumable(ctx, id)
		if err != nil {
			return err
		}
		p.next = v
	}
	if p.next == nil {
		id, err := p.files.next(p.def.version)
		if err != nil {
			return err
		}
		if p.next, err = createView(ctx, p.files, id, p.def, purposeUpgrade); err != nil {
			return err
		}
	}
	if err := p.inheritFor(ctx, p.next); err != nil {
		return err
	}
	return p.files.sweep(p.live.id, p.previous, p.next.id)
}

// resumable opens a half-built file of this version, or returns nil where it
// is worth nothing: never finished creating, of another schema, or beside
// another log.
func (p *Projection) resumable(ctx context.Context, id fileID) (*view, error) {
	if !exists(p.files.path(id)) {
		return nil, nil
	}
	v, purpose, err := openView(ctx, p.files, id, p.def)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p.logger.Info("projection begins a build anew", "projection", p.def.name, "file", id.String(), "reason", err)
		return nil, nil
	}
	if purpose == purposeUpgrade {
		err := eventstore.CheckAnchor(ctx, p.log, v.saved)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, eventstore.ErrRewound) {
			return nil, errors.Join(err, v.db.Close())
		}
	}
	return nil, v.db.Close()
}

// goBack makes the previous file live again where it is of this version.
func (p *Projection) goBack(ctx context.Context, at pointer) (pointer, error) {
	newer := fmt.Errorf("%w: the read model %q is at version %d, this program defines %d and its file is not kept: use the newer program, or remove the read model to have it built anew", ErrNewer, p.def.name, at.Live.version, p.def.version)
	if at.Previous.version != p.def.version || !exists(p.files.path(at.Previous)) {
		return at, newer
	}
	v, _, err := openView(ctx, p.files, at.Previous, p.def)
	if err != nil {
		return at, errors.Join(newer, err)
	}
	if err := v.db.Close(); err != nil {
		return at, err
	}
	back := pointer{Live: at.Previous, Previous: at.Live}
	p.logger.Warn("projection goes back to a lower version", "projection", p.def.name, "from", at.Live.version, "to", p.def.version)
	if err := p.files.writePointer(back, p.step); err != nil {
		return at, err
	}
	crash.At(crash.ViewWentBack)
	return back, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openBuild begins to measure an upgrade that Open found or began, and ends it
// where nothing is left to apply. A failing event does not keep the old file
// from being opened.
func (p *Projection) openBuild(ctx context.Context) error {
	if p.next == nil {
		return nil
	}
	head, err := p.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("projection %s: %w", p.def.name, err)
	}
	at := p.next.through.Position
	p.build = &build{began: time.Now(), from: at, done: at, total: head}
	err = p.tryUpgrade(ctx)
	p.note(err)
	_, retry := errors.AsType[*bus.RetryError](err)
	_, blocked := errors.AsType[*bus.BlockedError](err)
	if retry || blocked {
		return nil
	}
	return err
}
