package projection

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/background"
	"github.com/leat-go/leat/internal/sqlite"
)

const (
	// DefaultAsOfBytes is how large a read model as of a position may become, in
	// bytes.
	DefaultAsOfBytes = 4 << 30
	// pastPattern names the directory of one.
	pastPattern = "leat-as-of-*"
)

// AsOfOptions change how a read model as of a position is made.
type AsOfOptions struct {
	// Dir is the directory that the scratch file is made in, in a directory of
	// its own. Defaults to the system's for temporary files.
	Dir string
	// MaxBytes is how large the scratch file may become; what would make it
	// larger ends with an error. Defaults to DefaultAsOfBytes.
	MaxBytes int64
	// From is a state to begin with in place of the start of the log: it is
	// copied, and may be at any position up to the one that is asked for.
	// Defaults to none.
	From *Past
	// Progress is called after every page, as that of Projection.Rebuild.
	// Defaults to nothing.
	Progress func(Progress)
}

// Past is a read model as it was at a position, in a scratch file of its own.
// It is safe for concurrent use.
type Past struct {
	def *Definition
	log eventstore.LogReader
	dir string // removed by Close
	v   *view
}

// AsOf returns the read model as of a position of the log: the fold, by this
// program's handlers, of every event at or below it, for reading. 0 is a read
// model that has seen nothing. PositionAt tells the position of a time.
//
// It is folded into a scratch file, from the start of the log unless
// AsOfOptions.From is nearer, which takes as long as a rebuild that far: ctx
// ends it. No file in the store's directory dir is changed, and the owner may
// be at work, or there may be none. The caller closes the Past, which removes
// its files; those of a program that was killed stay where AsOfOptions.Dir
// says. Like a rebuild it gives way to appends.
//
// Neither the live file nor the one before is begun with: they were made by
// the handlers of their time, and may be what is under suspicion.
//
// An event that fails is set aside where the live file has it as a dead letter,
// parked or discarded, and else ends the fold with an EventError. Other errors:
// ErrInvalid, eventstore.ErrInvalid where the log ends before the position, and
// those of SQLite: of a full database where MaxBytes is reached.
func AsOf(ctx context.Context, dir string, log eventstore.LogReader, def *Definition, position int64, opts *AsOfOptions) (_ *Past, err error) {
	if opts == nil {
		opts = &AsOfOptions{}
	}
	if err := def.Err(); err != nil {
		return nil, err
	}
	to, err := anchorAt(ctx, log, position)
	if err == nil && opts.From != nil {
		err = opts.From.precedes(def, log, position)
	}
	if err != nil {
		return nil, fmt.Errorf("projection %s: as of %d: %w", def.name, position, err)
	}
	live, closeLive, err := liveFile(ctx, dir, log, def)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeLive()) }()
	scratch, err := os.MkdirTemp(opts.Dir, pastPattern)
	if err != nil {
		return nil, fmt.Errorf("projection %s: as of %d: %w", def.name, position, err)
	}
	past := &Past{def: def, log: log, dir: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, past.Close())
		}
	}()
	if err := past.begin(ctx, opts); err != nil {
		return nil, err
	}
	if err := live.inheritFor(ctx, past.v); err != nil {
		return nil, err
	}
	past.v.once, past.v.logger = true, nil
	if err := past.foldTo(ctx, live, to, opts.Progress); err != nil {
		return nil, fmt.Errorf("as of %d: %w", position, err)
	}
	return past, nil
}

// AsOf returns the read model as of a position: see the function AsOf.
func (p *Projection) AsOf(ctx context.Context, position int64, opts *AsOfOptions) (*Past, error) {
	return AsOf(ctx, filepath.Dir(p.files.dir), p.log, p.def, position, opts)
}

// PositionAt returns the position of the last event that was recorded at or
// before a time, 0 where none was. The recorded times of a log never go back,
// so it looks at a few events only.
func PositionAt(ctx context.Context, log eventstore.LogReader, at time.Time) (int64, error) {
	head, err := log.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("projection: position of %s: %w", at.Format(time.RFC3339Nano), err)
	}
	low, high := int64(0), head // the event after low is later, or low is the answer; after high none is known
	for low < high {
		middle := low + (high-low)/2
		page, err := log.ReadLog(ctx, middle, 1, eventstore.Filter{})
		if err != nil {
			return 0, fmt.Errorf("projection: position of %s: %w", at.Format(time.RFC3339Nano), err)
		}
		if len(page.Events) == 0 || page.Events[0].RecordedAt().After(at) {
			high = middle
		} else {
			low = page.Events[0].Position
		}
	}
	return low, nil
}

func anchorAt(ctx context.Context, log eventstore.LogReader, position int64) (eventstore.Anchor, error) {
	if position < 0 {
		return eventstore.Anchor{}, fmt.Errorf("%w: a position is 0 or more", eventstore.ErrInvalid)
	}
	if position == 0 {
		return eventstore.Anchor{}, nil
	}
	head, err := log.Head(ctx)
	if err == nil && position > head {
		err = fmt.Errorf("%w: the log ends at position %d", eventstore.ErrInvalid, head)
	}
	if err != nil {
		return eventstore.Anchor{}, err
	}
	return log.Anchor(ctx, position)
}

// liveFile returns a projection of which nothing but the live file is open, for
// reading, to inherit from, and what closes it. Without a live file, every
// event that fails ends what is built.
func liveFile(ctx context.Context, dir string, log eventstore.LogReader, def *Definition) (_ *Projection, closeIt func() error, err error) {
	p := &Projection{def: def, log: log, files: files{dir: filepath.Join(dir, viewsDir), name: def.name}}
	beside := &View{def: def, files: p.files}
	file, err := beside.file(ctx)
	if errors.Is(err, ErrNoView) {
		return p, beside.Close, nil
	}
	if err != nil {
		return nil, nil, errors.Join(err, beside.Close())
	}
	p.adopt(&view{id: beside.at, def: def, db: file.db})
	return p, func() error { return errors.Join(file.leave(), beside.Close()) }, nil
}

// precedes refuses a state that another cannot be made from.
func (past *Past) precedes(def *Definition, log eventstore.LogReader, position int64) error {
	switch {
	case past.def != def || !sameLog(past.log, log):
		return fmt.Errorf("%w: AsOfOptions.From is of another definition or log", ErrInvalid)
	case past.Position() > position:
		return fmt.Errorf("%w: AsOfOptions.From is of position %d, which is later", ErrInvalid, past.Position())
	}
	return nil
}

// begin makes the scratch file.
func (past *Past) begin(ctx context.Context, opts *AsOfOptions) (err error) {
	own, id := files{dir: past.dir, name: past.def.name}, fileID{past.def.name, past.def.version, 1}
	if opts.From == nil {
		past.v, err = createView(ctx, own, id, past.def, purposeRebuild)
	} else {
		if err := opts.From.v.db.VacuumInto(ctx, own.path(id)); err != nil {
			return fmt.Errorf("projection %s: %w", past.def.name, err)
		}
		past.v, err = past.copied(ctx, own, id)
	}
	if err != nil {
		return err
	}
	return past.limit(ctx, opts.MaxBytes)
}

func (past *Past) copied(ctx context.Context, own files, id fileID) (*view, error) {
	db, err := own.open(ctx, id, sqlite.Off)
	if err != nil {
		return nil, fmt.Errorf("projection %s: %w", past.def.name, err)
	}
	v := &view{id: id, def: past.def, db: db}
	if err := v.load(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return v, nil
}

// limit bounds the size of the file.
func (past *Past) limit(ctx context.Context, most int64) error {
	if most <= 0 {
		most = DefaultAsOfBytes
	}
	var size int64
	if err := past.v.db.Writer().QueryRowContext(ctx, `PRAGMA page_size`).Scan(&size); err != nil {
		return past.v.wrap(err)
	}
	pages := min(max(most/size, 1), math.MaxInt32)
	if err := past.v.db.Writer().QueryRowContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)).Scan(&pages); err != nil {
		return past.v.wrap(err)
	}
	return nil
}

func (past *Past) foldTo(ctx context.Context, live *Projection, to eventstore.Anchor, progress func(Progress)) error {
	v := past.v
	at := &build{began: time.Now(), from: v.through.Position, total: to.Position}
	err := background.Do(func() error {
		return live.fold(ctx, wayGiver{live.log}, v, to, true, func(events int) error {
			at.done, at.events = v.through.Position, at.events+int64(events)
			if progress != nil {
				progress(at.progress())
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return v.saveScanned(ctx)
}

// Position returns the position of the state.
func (past *Past) Position() int64 { return past.v.saved.Position }

// Read calls fn with the state. It does not change.
func (past *Past) Read(ctx context.Context, fn func(*Reader) error) error {
	return read(ctx, past.v.db, &Reader{version: past.def.version}, fn)
}

// Close removes the files. It is called once, after the last Read.
func (past *Past) Close() error {
	var errs []error
	if past.v != nil {
		errs = append(errs, past.v.db.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(past.dir))...)
}
