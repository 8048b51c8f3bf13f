package projection

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/sqlite"
)

// Named points of a build, for tests that fail there.
const (
	stepCreated        = "file created"
	stepBuilding       = "page applied"
	stepPaused         = "live paused"
	stepBuilt          = "built"
	stepSettled        = "settled"
	stepPointerWritten = "pointer written"
	stepPointerRenamed = "pointer renamed"
	stepSwapped        = "swapped"
)

// tryUpgrade exchanges the files once the new one has everything up to the
// head that is read here; it applies the last page itself. The caller holds
// the gate.
func (p *Projection) tryUpgrade(ctx context.Context) error {
	head, err := p.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("projection %s: %w", p.def.name, err)
	}
	v := p.next
	if head-v.through.Position > int64(p.pageSize) {
		return nil
	}
	if v.through.Position < head {
		to, err := p.log.Anchor(ctx, head)
		if err != nil {
			return fmt.Errorf("projection %s: %w", p.def.name, err)
		}
		for v.through.Position < head {
			if _, err := p.pull(ctx, p.log, v, p.pageSize, to); err != nil {
				return err
			}
		}
	}
	if v.through.Position < p.live.through.Position {
		return nil // the live file is of a longer log: CheckAnchor has said so
	}
	if err := v.saveScanned(ctx); err != nil {
		return err
	}
	p.next = nil
	err = p.swap(v)
	if p.live.view != v {
		p.next = v
		return err
	}
	p.mu.Lock()
	p.build = nil
	p.mu.Unlock()
	return err
}

// swap makes v the live view, by renaming the pointer over the old one. The
// caller holds the gate. An error leaves one of both live, and p knows which.
func (p *Projection) swap(v *view) error {
	if err := p.step(stepBuilt); err != nil {
		return err
	}
	if err := p.settleFile(v); err != nil {
		return err
	}
	crash.At(crash.ViewSettled)
	if err := p.step(stepSettled); err != nil {
		return err
	}
	old := p.live
	at := pointer{Live: v.id, Previous: old.id}
	err := p.files.writePointer(at, p.step)
	if err != nil {
		if now, _, unread := p.files.readPointer(); unread != nil || now != at {
			return errors.Join(err, unread)
		}
	}
	v.once, v.discarded = false, nil
	p.adopt(v)
	drop := p.previous
	if drop == v.id { // it went back
		drop = fileID{}
	}
	p.previous = old.id
	p.mu.Lock()
	p.retire(old)
	kept := p.retired[:0]
	for _, r := range append(p.retired, old) {
		if r.users > 0 {
			kept = append(kept, r)
		}
		if r.id == drop && r.users > 0 {
			drop = fileID{} // still read: the next Open removes it
		}
	}
	p.retired = kept
	p.mu.Unlock()
	p.publish()
	crash.At(crash.ViewSwapped)
	if drop != (fileID{}) {
		if removal := p.files.remove(drop); removal != nil {
			p.logger.Warn("projection leaves an old file for the next start to remove", "projection", p.def.name, "file", drop.String(), "error", removal)
		}
		crash.At(crash.ViewRemoved)
	}
	return errors.Join(err, old.closed(), p.step(stepSwapped))
}

// closed returns the error of closing a view that has been closed already.
func (v *pinned) closed() error {
	select {
	case <-v.idle:
		return v.err
	default:
		return nil
	}
}

// settleFile moves a new file's WAL into it and syncs its directory entry, so
// that what the pointer is about to name survives a power cut.
func (p *Projection) settleFile(v *view) error {
	var busy, frames, moved int
	if err := v.db.Writer().QueryRow(`PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved); err != nil {
		return v.wrap(err)
	}
	if busy != 0 {
		return v.wrap(errors.New("another program has the file open and keeps its WAL from being moved"))
	}
	return disk.SyncPath(p.files.dir)
}

// syncRebuilt syncs a file that was never synced, all of it at once, and opens
// it as the others are. It is closed in between: to close any descriptor of a
// file gives up the locks that SQLite has on it. It takes as long as the disk
// takes for the file, so the gate is not held meanwhile.
func (p *Projection) syncRebuilt(ctx context.Context, v *view) error {
	if err := v.db.Close(); err != nil {
		return v.wrap(err)
	}
	if err := disk.SyncPath(p.files.path(v.id)); err != nil {
		return v.wrap(err)
	}
	db, err := p.files.open(ctx, v.id, sqlite.Normal)
	if err != nil {
		return v.wrap(err)
	}
	v.db = db
	return nil
}
