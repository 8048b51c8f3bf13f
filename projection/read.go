package projection

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// Reader reads one state of a read model: what it sees does not change while
// the function it was given to runs. It is of no use afterwards.
type Reader struct {
	ctx     context.Context // of the Read: queries end with it
	tx      *sql.Tx
	version int
	scanned int64 // known to be applied before the transaction began
}

// Query runs a query. Arguments are bound.
func (r *Reader) Query(query string, args ...any) (*sql.Rows, error) {
	return r.tx.QueryContext(r.ctx, query, args...)
}

// QueryRow runs a query for one row at most.
func (r *Reader) QueryRow(query string, args ...any) *sql.Row {
	return r.tx.QueryRowContext(r.ctx, query, args...)
}

// Version returns the version of the definition that made the file: a lower
// one than the program's as long as a new file is being built.
func (r *Reader) Version() int { return r.version }

// Position returns the position whose state this is: every event at or below
// it is in it, none above.
func (r *Reader) Position() (int64, error) {
	at, err := r.anchor()
	return max(at.Position, r.scanned), err
}

func (r *Reader) anchor() (eventstore.Anchor, error) {
	at, err := readCheckpoint(r.QueryRow(selectCheckpoint))
	if err != nil {
		return eventstore.Anchor{}, fmt.Errorf("projection: read position: %w", err)
	}
	return at, nil
}

func read(ctx context.Context, db *sqlite.DB, r *Reader, fn func(*Reader) error) (err error) {
	r.ctx = ctx
	if r.tx, err = db.Reader().BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return fmt.Errorf("projection: begin to read %s: %w", filepath.Base(db.Path()), err)
	}
	defer func() {
		if undo := r.tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
	}()
	return fn(r)
}

// Read waits until every event at or below a position is applied or set aside (0:
// does not wait) and calls fn with one consistent state of the live file. What is
// parked, a dead letter or discarded is not in it: see Status. fn may run any
// number of queries; it runs beside Apply and other reads and holds up neither,
// also while files are exchanged. Errors: those of WaitFor and of fn.
func (p *Projection) Read(ctx context.Context, through int64, fn func(*Reader) error) error {
	if err := p.WaitFor(ctx, through); err != nil {
		return err
	}
	v, scanned, err := p.pin()
	if err != nil {
		return err
	}
	defer p.unpin(v)
	return read(ctx, v.db, &Reader{version: v.id.version, scanned: scanned}, fn)
}

// WaitFor returns as soon as every event at or below the position is applied
// to the live file, or set aside there. It returns at once, with the bus.BlockedError, where the
// projection is blocked before that, and ErrClosed or ctx's error otherwise.
//
// While a higher version is built the live file stands still, so what came since
// is waited for until the build ends: ctx's error is an ErrBuilding as well then,
// and says how far the build is. Read with position 0 reads what the live file
// has meanwhile, and Reader.Position where that is.
func (p *Projection) WaitFor(ctx context.Context, position int64) error {
	for {
		p.mu.Lock()
		switch {
		case p.closed:
			p.mu.Unlock()
			return p.closedError()
		case p.shown.through.Position >= position:
			p.mu.Unlock()
			return nil
		case p.blocked != nil:
			err := p.blocked
			p.mu.Unlock()
			return fmt.Errorf("projection %s: wait for position %d: %w", p.def.name, position, err)
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("projection %s: wait for position %d: %w", p.def.name, position, p.waited(ctx.Err()))
		}
	}
}

// waited says, beside the error of who no longer waits, what was waited for.
func (p *Projection) waited(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.build == nil || p.rebuild != nil {
		return err
	}
	return fmt.Errorf("%w: version %d is, %.0f %% so far, and version %d stands at position %d until it is there: %w",
		ErrBuilding, p.def.version, p.build.progress().Percent(), p.shown.version, p.shown.through.Position, err)
}

// Position returns the position that reads of the live file include.
func (p *Projection) Position() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.through.Position
}

// pin keeps the live view open until unpin. It is nil for what has none: see
// liveFile.
func (p *Projection) pin() (*pinned, int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, 0, p.closedError()
	}
	if p.live == nil {
		return nil, 0, nil
	}
	p.live.users++
	return p.live, p.shown.through.Position, nil
}

func (p *Projection) unpin(v *pinned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v.users--
	v.closeIdle()
}

// retire has the view closed after its last read. The caller holds mu.
func (p *Projection) retire(v *pinned) {
	v.retired = true
	v.closeIdle()
}

func (v *pinned) closeIdle() {
	if v.retired && v.users == 0 {
		v.err = v.db.Close()
		close(v.idle)
	}
}

// View is a read model opened beside its owner, or without one, by a tool that
// only reads. It follows the owner's exchanges of files. It is safe for
// concurrent use.
type View struct {
	def   *Definition
	files files

	mu     sync.Mutex // guards opening and closing, not reading
	at     fileID
	open   *viewFile
	closed bool
}

// viewFile is an open file and how many use it, the View included.
type viewFile struct {
	db    *sqlite.DB
	users atomic.Int32
}

func (f *viewFile) leave() error {
	if f.users.Add(-1) == 0 {
		return f.db.Close()
	}
	return nil
}

// OpenReader opens the live file of the read model in the store's directory
// dir, read-only: nothing is created, migrated, applied or locked. It returns
// ErrNoView where there is none. The live file may be of another version than
// def: see Reader.Version.
func OpenReader(ctx context.Context, dir string, def *Definition) (*View, error) {
	if err := def.Err(); err != nil {
		return nil, err
	}
	v := &View{def: def, files: files{dir: filepath.Join(dir, viewsDir), name: def.name}}
	f, err := v.file(ctx)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, f.leave()
}

// file returns the live file, opened anew where the owner has exchanged it.
// The caller leaves it.
func (v *View) file(ctx context.Context) (*viewFile, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, fmt.Errorf("%w: %s", ErrClosed, v.def.name)
	}
	at, found, err := v.files.readPointer()
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: %s has none of the name %q yet", ErrNoView, v.files.dir, v.def.name)
	}
	if v.open == nil || v.at != at.Live {
		if err := v.reopen(ctx, at.Live); err != nil {
			return nil, err
		}
	}
	v.open.users.Add(1)
	return v.open, nil
}

func (v *View) reopen(ctx context.Context, id fileID) (err error) {
	path := v.files.path(id)
	defer func() { err = damage(id.name, path, err) }()
	db, err := sqlite.Open(ctx, path, sqlite.Options{Durability: sqlite.Normal, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("projection %s: %w", v.def.name, err)
	}
	if _, err := db.Check(ctx, applicationID, formats); err != nil {
		return errors.Join(fmt.Errorf("projection %s: %w", v.def.name, err), db.Close())
	}
	if err := db.CheckOwnTables(ctx, migrations()); err != nil {
		return errors.Join(fmt.Errorf("projection %s: %w", v.def.name, err), db.Close())
	}
	if _, err := checkView(ctx, db, id, v.def); err != nil {
		return errors.Join(err, db.Close())
	}
	old := v.open
	v.at, v.open = id, &viewFile{db: db}
	v.open.users.Store(1)
	if old != nil {
		return old.leave()
	}
	return nil
}

// Read calls fn with one consistent state of the live file.
func (v *View) Read(ctx context.Context, fn func(*Reader) error) (err error) {
	f, err := v.file(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.leave()) }()
	var version int
	if err := f.db.Reader().QueryRowContext(ctx, `SELECT version FROM leat_view`).Scan(&version); err != nil {
		return fmt.Errorf("projection %s: %w", v.def.name, err)
	}
	return read(ctx, f.db, &Reader{version: version}, fn)
}

// Status returns what the live file and the log say. What only the owner's
// memory knows is not in it: a build, and whether anybody applies what is
// missing. State is BackingOff or Blocked by the attempts that the event after
// the checkpoint has had, else CatchingUp or Running by whether the log has an
// event for the read model that is not applied, among the next
// eventstore.MaxScan. Without a log (nil) it is Unknown, and Head, Lag and
// Waiting are zero. It returns eventstore.ErrRewound, with what the file says,
// where that is past the end of the log.
func (v *View) Status(ctx context.Context, log eventstore.LogReader) (Status, error) {
	s, err := v.status(ctx)
	if err != nil || log == nil {
		return s, err
	}
	head, err := log.Head(ctx) // after the file was read: what it has is in the log
	if err != nil {
		return s, err
	}
	s.Head, s.Lag = head, max(head-s.Position, 0)
	if s.Position > head {
		return s, fmt.Errorf("projection %s: %w: the read model is at position %d, and the log ends at %d: %s", s.Name, eventstore.ErrRewound, s.Position, head, rewoundRemedy)
	}
	page, err := log.ReadLog(ctx, s.Position, 1, v.def.filter())
	if err != nil {
		return s, err
	}
	if len(page.Events) > 0 {
		s.Waiting = page.Events[0].RecordedAt()
	}
	switch {
	case s.State != Unknown:
	case len(page.Events) > 0 || page.Through.Position < head:
		s.State = CatchingUp
	default:
		s.State = Running
	}
	return s, nil
}

func (v *View) status(ctx context.Context) (Status, error) {
	s := Status{Name: v.def.name, State: Unknown}
	err := v.Read(ctx, func(r *Reader) (err error) {
		s.Version = r.Version()
		if s.Position, err = r.Position(); err != nil {
			return err
		}
		err = r.QueryRow(`
			SELECT (SELECT COUNT(*) FROM leat_dead_letter),
			       (SELECT COUNT(*) FROM leat_parked),
			       (SELECT COUNT(DISTINCT stream) FROM leat_parked)`).
			Scan(&s.DeadLetters, &s.ParkedEvents, &s.ParkedStreams)
		if err != nil {
			return err
		}
		var since int64
		err = r.QueryRow(`SELECT position, attempts, since, error FROM leat_attempt`).Scan(&s.Failed, &s.Attempts, &since, &s.Reason)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		s.State = BackingOff
		if v.def.exhausted(s.Attempts, time.Unix(0, since)) {
			s.State = Blocked
		}
		return err
	})
	return s, err
}

// Close closes the file, after the last Read.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.open == nil {
		return nil
	}
	f := v.open
	v.open = nil
	return f.leave()
}
