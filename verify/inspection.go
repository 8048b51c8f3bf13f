package verify

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/parts"
	file "github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// inspection is one look at a directory: the store's own, beside its owner, or
// a private copy of it.
type inspection struct {
	dir     string
	private bool
	refused bool // the log cannot be opened
	report  Report
	files   []bus.Inspection
}

// run reads the files of the consumers first and the log last: what a consumer
// has applied is in a log that is read later, but a log that was read earlier
// may be behind it.
func (in *inspection) run(ctx context.Context) error {
	if err := in.consumers(ctx); err != nil {
		return err
	}
	log, err := in.open(ctx)
	if err != nil {
		return err
	}
	if log != nil {
		if err = in.log(ctx, log); err == nil {
			err = in.checkpoints(ctx, log)
		}
		err = errors.Join(err, log.Close())
	}
	in.refused = log == nil
	if err == nil && in.private && in.report.OK() {
		err = in.own(ctx)
	}
	for _, f := range in.files {
		in.report.Files = append(in.report.Files, f.File)
		in.report.Findings = append(in.report.Findings, f.Findings...)
		in.report.Cut = in.report.Cut || len(f.Findings) >= file.MaxProblems
	}
	for i := range in.report.Findings {
		f := &in.report.Findings[i]
		// SQLite says more than one thing at once, and names can be damaged.
		f.Place = strings.ToValidUTF8(f.Place, "\uFFFD")
		f.Reason = strings.ToValidUTF8(in.text(f.Reason), "\uFFFD")
		f.Reason = strings.Join(strings.Fields(strings.ReplaceAll(f.Reason, "*** in database main ***", "")), " ")
	}
	in.report.tidy()
	return err
}

// consumers looks at the files of the consumers, of which any may be missing.
func (in *inspection) consumers(ctx context.Context) error {
	for _, look := range []func(context.Context, string) (bus.Inspection, error){serverless.InspectConsumers, saga.Inspect} {
		f, err := look(ctx, in.dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return in.plain(err)
		default:
			in.files = append(in.files, f)
		}
	}
	if err := in.missing(); err != nil {
		return err
	}
	views, err := projection.Inspect(ctx, in.dir)
	if err != nil {
		return in.plain(err)
	}
	in.files = append(in.files, views...)
	return nil
}

// missing finds the files of the consumers that the store had and has no more.
func (in *inspection) missing() error {
	names, err := parts.Missing(in.dir)
	var damage *eventstore.CorruptError
	if errors.As(err, &damage) {
		in.report.Findings = append(in.report.Findings, sqlite.FindingOf(in.dir, damage))
		return nil
	}
	if err != nil {
		return in.plain(err)
	}
	for _, name := range names {
		in.report.Findings = append(in.report.Findings, eventstore.Finding{File: name, Reason: parts.Reason, Remedy: parts.Remedy})
	}
	return nil
}

// open opens the log, or finds why it cannot be.
func (in *inspection) open(ctx context.Context) (*sqlite.Store, error) {
	info, err := os.Lstat(filepath.Join(in.dir, logName))
	if in.private && in.wasStore() && (err != nil || info.Size() == 0) {
		in.found("it is missing or empty, but what belongs to it is there")
		return nil, nil
	}
	log, err := sqlite.OpenReadOnly(ctx, in.dir)
	if in.private && errors.Is(err, sqlite.ErrNotStore) && !errors.Is(err, file.ErrNewer) && in.exists(logName) {
		log, err = in.bringUp(ctx, err)
	}
	var damage *eventstore.CorruptError
	switch {
	case err == nil:
		return log, nil
	case errors.As(err, &damage):
		in.report.Findings = append(in.report.Findings, sqlite.FindingOf(in.dir, damage))
	case errors.Is(err, sqlite.ErrNotStore) && !errors.Is(err, file.ErrNewer) && in.private && in.wasStore():
		in.found("it is not the log that was here: " + err.Error())
	case file.IsUnreadable(err) && in.private && in.wasStore():
		in.found("it cannot be read: " + err.Error())
	case errors.Is(err, sqlite.ErrNotStore) && !errors.Is(err, file.ErrNewer) && !in.private:
		return nil, in.plain(fmt.Errorf("%w: %w", errUnsettled, err)) // its owner may be making it
	default:
		return nil, in.plain(err)
	}
	return nil, nil
}

// bringUp has the program bring a copied log of an older format up to its own.
func (in *inspection) bringUp(ctx context.Context, cause error) (*sqlite.Store, error) {
	owner, err := sqlite.Open(ctx, in.dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, sqlite.ErrNotStore) {
		return nil, cause
	}
	if err == nil {
		err = owner.Close()
	}
	if err != nil {
		return nil, err
	}
	return sqlite.OpenReadOnly(ctx, in.dir)
}

// own opens the copied log, in which nothing was found, as a program would: in
// what only matters for writing the file may be damaged as well.
func (in *inspection) own(ctx context.Context) error {
	owner, err := sqlite.Open(ctx, in.dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	switch {
	case err == nil:
		return owner.Close()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	in.found("it can be read, but a program cannot open it: " + err.Error())
	return nil
}

func (in *inspection) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(in.dir, name))
	return err == nil
}

// wasStore tells whether the directory is a backup, or holds what only a store
// has beside its log.
func (in *inspection) wasStore() bool {
	for _, name := range databases {
		if name != logName && in.exists(name) {
			return true
		}
	}
	return in.exists(witnessName) || in.exists(parts.FileName) || in.report.Kind == KindBackup
}

// log verifies the log.
func (in *inspection) log(ctx context.Context, log *sqlite.Store) error {
	r, err := log.Verify(ctx)
	read := err == nil
	if file.IsUnreadable(err) {
		in.found("it cannot be read: " + err.Error())
		err = nil
	}
	if err != nil {
		return in.plain(err)
	}
	in.report.Cut = len(r.Findings) >= sqlite.MaxFindings
	in.report.Log = Log{Read: read, Events: r.Events, Batches: r.Batches, Epoch: r.Head.Epoch, Position: r.Head.Position, Hash: hex.EncodeToString(r.Head.Hash[:])}
	in.report.Findings = append(in.report.Findings, r.Findings...)
	return nil
}

// checkpoints compares those of the consumers with the log.
func (in *inspection) checkpoints(ctx context.Context, log *sqlite.Store) error {
	head, err := log.Head(ctx)
	if errors.Is(err, eventstore.ErrCorrupt) {
		return nil // which Verify has found
	}
	if err != nil {
		return in.plain(err)
	}
	for i := range in.files {
		f := &in.files[i]
		remedy := "restore " + f.File + " and the log from one backup"
		if strings.HasPrefix(f.File, viewsDir+"/") {
			remedy = "remove the read model to have it built anew from the log"
		}
		for _, c := range f.Consumers {
			at := c.Checkpoint
			in.report.Consumers = append(in.report.Consumers, Consumer{File: f.File, Consumer: c.Consumer, Epoch: at.Epoch, Position: at.Position, Behind: max(0, in.report.Log.Position-at.Position)})
			reason := ""
			switch err := eventstore.CheckAnchor(ctx, log, at); {
			case at.Position > head:
				reason = fmt.Sprintf("its checkpoint is at position %d, but the log ends at %d", at.Position, head)
			case errors.Is(err, eventstore.ErrRewound), errors.Is(err, eventstore.ErrCorrupt), at.Position < 0:
				reason = fmt.Sprintf("its checkpoint at position %d (epoch %s) does not lie on the log: it is of another log, or another history of it", at.Position, at.Epoch)
			case err != nil:
				return in.plain(err)
			case at.Position == 0 && at != eventstore.Anchor{}:
				reason = "its checkpoint is at no position, but of an epoch or with a hash"
			case c.Last > head:
				reason = fmt.Sprintf("it knows of the event at position %d, but the log ends at %d", c.Last, head)
			}
			if reason != "" {
				f.Findings = append(f.Findings, eventstore.Finding{File: f.File, Place: fmt.Sprintf("consumer %q", c.Consumer), Reason: reason, Remedy: remedy})
			}
		}
	}
	return nil
}

// found adds a finding about log.db as a whole.
func (in *inspection) found(reason string) {
	in.report.Findings = append(in.report.Findings, eventstore.Finding{File: logName, Reason: reason, Remedy: restoreStore})
}

// plainError is an error whose text does not name the private copy.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

func (in *inspection) plain(err error) error {
	return &plainError{text: in.text(err.Error()), err: err}
}

// text names the directory where s names its copy.
func (in *inspection) text(s string) string { return strings.ReplaceAll(s, in.dir, in.report.Dir) }
