package projection

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// pointerSuffix ends the name of a pointer file.
const pointerSuffix = ".live"

// Inspect looks at the read models in a store's directory, with or without an
// owner that has them open and without their definitions, and changes nothing.
// It returns, for each, its live file and the one before, with their
// checkpoints and what is not as it was written: a pointer that names no file,
// what SQLite's own check finds, a file that is another's, parked events and
// dead letters past the checkpoint. Files that no pointer names are not looked
// at: they are built anew.
//
// An error means that it could not look.
func Inspect(ctx context.Context, dir string) ([]bus.Inspection, error) {
	views := filepath.Join(dir, viewsDir)
	if info, err := os.Lstat(views); err == nil && !info.IsDir() {
		return []bus.Inspection{{File: viewsDir, Findings: []eventstore.Finding{{
			File: viewsDir, Reason: "it is not a directory", Remedy: "move it away: read models are built anew from the log",
		}}}}, nil
	}
	entries, err := os.ReadDir(views)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("projection: %w", err)
	}
	var all []bus.Inspection
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), pointerSuffix)
		if !ok {
			continue
		}
		list, err := inspectModel(ctx, files{dir: views, name: name})
		if err != nil {
			return all, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// exchanges is how often a read model whose files are exchanged while it is
// looked at is looked at again.
const exchanges = 10

// inspectModel looks at one read model. Its owner may exchange files.
func inspectModel(ctx context.Context, f files) (list []bus.Inspection, err error) {
	for range exchanges {
		at, found, err := f.readPointer()
		switch {
		case errors.Is(err, ErrDamaged):
			in := bus.Inspection{File: viewsDir + "/" + f.name + pointerSuffix}
			in.Findings = []eventstore.Finding{{File: in.File, Reason: "it does not name a file of the read model " + f.name, Remedy: rebuild(f.name)}}
			return []bus.Inspection{in}, nil
		case err != nil || !found: // removed just now
			return nil, err
		}
		list = list[:0]
		for _, id := range []fileID{at.Live, at.Previous} {
			if id == (fileID{}) {
				continue
			}
			in, err := inspectFile(ctx, f, id)
			if err != nil {
				return nil, err
			}
			list = append(list, in)
		}
		if now, _, err := f.readPointer(); err == nil && now == at {
			return list, nil
		}
	}
	return nil, fmt.Errorf("projection %s: its files are exchanged all the time", f.name)
}

func rebuild(name string) string {
	return "remove the read model " + name + " (its pointer first) to have it built anew from the log"
}

func inspectFile(ctx context.Context, f files, id fileID) (bus.Inspection, error) {
	in := bus.Inspection{File: viewsDir + "/" + id.String()}
	misnamed := ""
	format := sqlite.Format{ApplicationID: applicationID, Migrations: migrations(), Shared: true, Relations: relations}
	problems, err := sqlite.Inspect(ctx, f.path(id), format, func(tx *sql.Tx) (err error) {
		misnamed = ""
		at := bus.Inspected{Consumer: f.name}
		if at.Checkpoint, err = readCheckpoint(tx.QueryRowContext(ctx, selectCheckpoint)); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		in.Consumers = []bus.Inspected{at}
		var name string
		var version int
		err = tx.QueryRowContext(ctx, `
			SELECT name, version
			FROM leat_view`).Scan(&name, &version)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if name != id.name || version != id.version {
			misnamed = fmt.Sprintf("it says that it is %q version %d", name, version)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		problems, err = []sqlite.Problem{{Reason: "the pointer names it, and it is missing"}}, nil
	}
	if err != nil {
		return in, fmt.Errorf("projection %s: %w", f.name, err)
	}
	if misnamed != "" {
		problems = append(problems, sqlite.Problem{Reason: misnamed})
	}
	for _, p := range problems {
		in.Findings = append(in.Findings, eventstore.Finding{File: in.File, Place: p.Place, Reason: p.Reason, Remedy: rebuild(f.name)})
	}
	return in, nil
}

// relations hold after every transaction on a file that was made. Each returns
// where one does not, and what was found there.
var relations = []string{`
	SELECT 'checkpoint', 'there are ' || COUNT(*) || ' in place of one'
	FROM leat_checkpoint
	HAVING COUNT(*) <> 1`, `
	SELECT 'parked event at position ' || p.position, 'it lies past the checkpoint at position ' || c.position
	FROM leat_parked AS p
	JOIN leat_checkpoint AS c
	WHERE p.position NOT BETWEEN 1 AND c.position`, `
	SELECT 'dead letter at position ' || d.position, 'it lies past the checkpoint at position ' || c.position
	FROM leat_dead_letter AS d
	JOIN leat_checkpoint AS c
	WHERE d.position NOT BETWEEN 1 AND c.position`,
}
