package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/parts"
	file "github.com/leat-go/leat/internal/sqlite"
)

// RestoreOptions of Restore. A nil *RestoreOptions means the defaults.
type RestoreOptions struct {
	// AcceptLoss restores also what may have lost something that was
	// acknowledged, and Restored.Lost says what: a log that ends before what
	// its witness remembers, or has no witness that can be read; a backup with
	// a file that is missing, or is not the one that was backed up; and a
	// directory that no Backup made, such as a copy of a store, of which nobody
	// knows whether it is whole, and in which files of others are left alone.
	// Damage is never accepted, and where there is any a loss is not spoken of:
	// to accept it would not help. Defaults to false.
	AcceptLoss bool
	// Clock gives the time at which the new epoch begins. Defaults to
	// clock.System().
	Clock clock.Clock
}

// Restored is what Restore made.
type Restored struct {
	// Head is the end of the log. What is appended now follows it.
	Head eventstore.Anchor
	// Epoch names the epoch that began after Head.
	Epoch string
	// Events and Batches were verified.
	Events, Batches int64
	// Files are the databases of the store.
	Files []string
	// Lost says what was accepted because of AcceptLoss, a sentence each; none
	// where the backup is whole.
	Lost []string
}

// Restore makes a store in dst of a Backup, which it does not change. Nobody
// may have the backup open meanwhile. dst must not exist, or be empty; it
// appears under its name when it is whole and synced. After an error it is not
// there, with the exception that Backup has as well.
//
// The backup is taken for hostile until it has been verified: only files with
// the names of a store's are taken, links and whatever else is no regular file
// are refused, tables, indexes and triggers must be exactly those that this
// program makes, the log passes the whole of Verify, and SQLite's own check
// passes for the others. Read models are not taken: they are built again. So is
// an index of streams that is not what the log says: it is computed from that.
//
// The restored log begins a new epoch at its end. A checkpoint of a consumer
// that is at or below it goes on; one past it, of the time between the backup
// and its loss, is eventstore.ErrRewound, and its consumer stops and says so
// (see eventstore.Anchor).
//
// Errors: ErrNotStore where backup is none, or of a newer program, or one that
// is not finished (see UnfinishedSuffix); eventstore.ErrCorrupt where it is
// damaged or may have lost something, or has what belongs to a log but no log,
// or a file that its manifest does not name;
// eventstore.ErrInvalid where a directory has no name; eventstore.ErrInUse
// where it is a store that somebody owns.
func Restore(ctx context.Context, backup, dst string, opts *RestoreOptions) (_ Restored, err error) {
	r := &restoration{}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Clock == nil {
		r.opts.Clock = clock.System()
	}
	if backup == "" {
		return Restored{}, &eventstore.InvalidError{Field: "backup", Reason: "is empty: name the directory of one"}
	}
	if r.src, err = filepath.Abs(backup); err != nil {
		return Restored{}, fmt.Errorf("eventstore/sqlite: restore %s: %w", backup, err)
	}
	if err := r.run(ctx, dst); err != nil {
		return Restored{}, fmt.Errorf("eventstore/sqlite: restore %s: %w", r.src, diskFull(r.relocate(r.damaged(err))))
	}
	return r.result, nil
}

// restoration is a Restore under way.
type restoration struct {
	src    string
	opts   RestoreOptions
	st     *staging
	losses []loss
	result Restored
}

func (r *restoration) run(ctx context.Context, dst string) (err error) {
	in, err := look(r.src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if r.st, err = stage(dst, r.src); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.st.abandon())
		}
	}()
	if err := disk.CheckLocal(r.st.dir); err != nil {
		return err
	}
	files, err := in.take(ctx, r.st)
	if err != nil {
		return err
	}
	crash.At(crash.RestoreCopied)
	if err := r.compare(files); err != nil {
		return err
	}
	if err := r.companions(ctx, in); err != nil {
		return err
	}
	r.result.Files = append(r.result.Files, logName)
	if err := r.log(ctx); err != nil {
		return err
	}
	if left := in.left(); left != "" { // in what has no manifest, which was accepted
		r.result.Lost = append(r.result.Lost, left)
	}
	crash.At(crash.RestoreWritten)
	if err := r.st.publish(func() { crash.At(crash.RestoreNamed) }); err != nil {
		return err
	}
	return r.st.close()
}

// companions accepts the databases beside the log, and lists them.
func (r *restoration) companions(ctx context.Context, in *intake) error {
	missing, err := parts.Missing(in.dir)
	if err != nil {
		return err
	}
	for _, name := range missing {
		r.lose(r.st.path(name), name+" is missing or empty, but the store had it: what was in it is nowhere else")
	}
	for _, c := range companions() {
		switch path := r.st.path(c.name); {
		case !in.has(c.name):
		case slices.Contains(missing, c.name): // there, but empty
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("eventstore/sqlite: %w", err)
			}
		default:
			if err := c.accept(ctx, path); err != nil {
				return err
			}
			r.result.Files = append(r.result.Files, c.name)
		}
	}
	return parts.List(r.st.dir, r.result.Files...)
}

// compare compares what was taken with the manifest, and does away with it.
func (r *restoration) compare(files []part) (err error) {
	m, err := readManifest(r.st.path(manifestName))
	defer func() {
		if gone := os.Remove(r.st.path(manifestName)); err == nil && gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = fmt.Errorf("eventstore/sqlite: %w", gone)
		}
	}()
	if errors.Is(err, eventstore.ErrCorrupt) {
		r.lose(r.st.path(manifestName), "its manifest cannot be read, so that nobody knows whether the backup is whole")
		return nil
	}
	if err != nil {
		return err
	}
	if m == nil {
		r.lose(r.src, "it has no manifest: it is no Backup, or not all of one, and nobody knows whether it is whole")
		return nil
	}
	all := m.differences(files)
	if len(all) == 0 {
		said, err := readTestimony(r.st.path(witnessName))
		if err != nil {
			return err
		}
		all = m.agrees(said)
	}
	if len(all) > 0 {
		r.lose(r.src, all[0].String())
	}
	return nil
}

// accept verifies a database that the log knows only by name, and leaves it
// compact and synced.
func (c companion) accept(ctx context.Context, path string) (err error) {
	db, err := file.Open(ctx, path, file.Options{Readers: 1})
	if err != nil {
		return fileError(path, "open", err)
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, db.Abandon())
		}
	}()
	version, err := db.Check(ctx, c.applicationID, len(c.schemas))
	if err == nil && version == 0 {
		err = &eventstore.CorruptError{Where: path, Reason: "it is empty: " + anotherBackup}
	}
	if err != nil {
		return fileError(path, "open", err)
	}
	_, digest, err := db.SchemaDigest(ctx)
	if err != nil {
		return fileError(path, "open", err)
	}
	if digest != c.schemas[version-1] {
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("its tables, indexes or triggers are not those that this program makes (format %d, digest %s): %s", version, digest, anotherBackup)}
	}
	if err := intact(ctx, db); err != nil {
		return err
	}
	closed = true
	if err := db.Close(); err != nil { // which moves the write-ahead log into it
		return fileError(path, "close", err)
	}
	return disk.SyncPath(path)
}

// intact returns ErrCorrupt where SQLite's own check finds something.
func intact(ctx context.Context, db *file.DB) error {
	line := ""
	if err := db.Reader().QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&line); err != nil {
		return fileError(db.Path(), "check", err)
	}
	if line != "ok" {
		return &eventstore.CorruptError{Where: db.Path(), Reason: fmt.Sprintf("SQLite's check finds it damaged (%s): %s", problem(line), anotherBackup)}
	}
	return nil
}

// problem is a line of SQLite's check without the name that it has for the file.
func problem(line string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(line, "*** in database main ***", "")), " ")
}

// log verifies the log, begins its next epoch and writes its witness.
func (r *restoration) log(ctx context.Context) (err error) {
	options, err := (&Options{Clock: r.opts.Clock}).withDefaults()
	if err != nil {
		return err
	}
	s, err := newStore(r.st.dir, options)
	if err != nil {
		return err
	}
	if err := s.openCopy(ctx); err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, s.db.Abandon())
		}
	}()
	end, err := r.verify(ctx, s)
	if err != nil {
		return err
	}
	if err := r.bear(); err != nil {
		return err
	}
	crash.At(crash.RestoreVerified)
	next, err := beginEpoch(ctx, s.db, s.id, s.epochs.last(), end, options.Clock.Now().UnixNano())
	if err != nil {
		return err
	}
	s.epochs = append(s.epochs, next)
	r.result.Epoch = next.name
	crash.At(crash.RestoreBegun)
	if err := s.settle(ctx); err != nil {
		return err
	}
	closed = true
	if err := s.db.Close(); err != nil {
		return fileError(s.path(logName), "close", err)
	}
	if err := disk.SyncPath(s.path(logName)); err != nil {
		return err
	}
	return s.testify(end).keep(s.path(witnessName))
}

// openCopy opens log.db in a private directory for writing, and brings it to
// this program's format.
func (s *Store) openCopy(ctx context.Context) error {
	format, _, err := logFormat()
	if err != nil {
		return err
	}
	path := s.path(logName)
	if s.db, err = file.OpenFormat(ctx, path, format, s.options.file()); err != nil {
		return fileError(path, "open", err)
	}
	found, err := s.loadIdentity(ctx)
	if err == nil && !found {
		err = errNameless(path)
	}
	if err != nil {
		return errors.Join(err, s.db.Abandon())
	}
	return nil
}

// verify verifies the whole log, compares it with its witness and returns its
// end.
func (r *restoration) verify(ctx context.Context, s *Store) (end tip, err error) {
	report, err := s.verifyLog(ctx)
	if err == nil && slices.ContainsFunc(report.Findings, func(f eventstore.Finding) bool { return f.Remedy == remake }) {
		if err = s.remakeIndex(ctx); err == nil {
			report, err = s.verifyLog(ctx)
		}
	}
	if err != nil {
		return end, err
	}
	if !report.OK() {
		f := report.Findings[0]
		more := ""
		if n := len(report.Findings); n > 1 {
			more = fmt.Sprintf(", and %d more findings", n-1)
		}
		where := s.path(f.File)
		if f.Place != "" {
			where += ", " + f.Place
		}
		return end, &eventstore.CorruptError{Where: where, Reason: f.Reason + more + ": " + anotherBackup}
	}
	r.result.Head, r.result.Events, r.result.Batches = report.Head, report.Events, report.Batches
	if end, err = s.readEnd(ctx); err != nil {
		return end, err
	}
	said, err := readTestimony(s.path(witnessName))
	if err == nil {
		err = s.bearsOut(ctx, said, end)
	}
	var corrupt *eventstore.CorruptError
	if errors.As(err, &corrupt) {
		what := "its witness is not borne out: " + adviceOnWitness.ReplaceAllString(corrupt.Reason, "")
		if said != nil && said.Position > end.position {
			what = fmt.Sprintf("the log ends at position %d, but its witness remembers position %d: %d acknowledged events are missing", end.position, said.Position, said.Position-end.position)
		}
		r.lose(s.path(witnessName), what)
		err = nil
	}
	return end, err
}

// relocated is an error that speaks of the backup where it spoke of the copy.
type relocated struct {
	err  error
	text string
}

func (e *relocated) Error() string { return e.text }
func (e *relocated) Unwrap() error { return e.err }

func (r *restoration) relocate(err error) error {
	if r.st == nil {
		return err
	}
	return atRestore(relocate(err, r.st.dir, r.src))
}

// relocate has an error about what was found in a copy speak of what was
// copied.
func relocate(err error, from, to string) error {
	if !errors.Is(err, eventstore.ErrCorrupt) && !errors.Is(err, ErrNotStore) {
		return err
	}
	var corrupt *eventstore.CorruptError
	if errors.As(err, &corrupt) {
		corrupt.Where, corrupt.Reason = strings.ReplaceAll(corrupt.Where, from, to), strings.ReplaceAll(corrupt.Reason, from, to)
	}
	return &relocated{err: err, text: strings.ReplaceAll(err.Error(), from, to)}
}
