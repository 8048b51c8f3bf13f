package projection

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// Sentinels classify, structs explain.
var (
	// ErrInvalid: a definition is wrong, or its schema. Open returns it before
	// it changes anything.
	ErrInvalid = errors.New("projection: invalid definition")
	// ErrSchemaChanged: the schema of a definition, or the event types it
	// handles, are not those its file was made with, although the version is the
	// same.
	ErrSchemaChanged = errors.New("projection: schema changed")
	// ErrNewer: the live file was made by a higher version of the definition,
	// and no file of this version is kept.
	ErrNewer = errors.New("projection: newer version")
	// ErrNoPrevious: there is no file before the live one that this program could
	// go back to.
	ErrNoPrevious = errors.New("projection: nothing to go back to")
	// ErrNoFailure: there is no event at the position that was set aside, or not
	// one whose turn it is.
	ErrNoFailure = errors.New("projection: no such failure")
	// ErrBuilding: not while a new file is being built.
	ErrBuilding = errors.New("projection: being built")
	// ErrClosed: the projection was closed.
	ErrClosed = errors.New("projection: closed")
	// ErrNoView: there is no live file to read.
	ErrNoView = errors.New("projection: no read model")
	// ErrDamaged: a file of the read model is missing, is not what its name
	// says, or SQLite finds it damaged. It comes in a DamagedError, which names
	// the file. Remove builds the read model anew.
	ErrDamaged = errors.New("projection: damaged")
	// ErrTxEnded: SQLite ended the transaction by itself.
	ErrTxEnded = errors.New("projection: the transaction has ended")
	// ErrStatement: a handler may not run this statement.
	ErrStatement = errors.New("projection: statement not allowed")
)

// EventError says which event could not be applied.
type EventError struct {
	// Projection and Version name the definition.
	Projection string
	Version    int
	// Position, Stream and Type name the event.
	Position int64
	Stream   string
	Type     string
	Err      error
}

func (e *EventError) Error() string {
	return fmt.Sprintf("projection %s v%d: %s at position %d (stream %q): %v", e.Projection, e.Version, e.Type, e.Position, e.Stream, e.Err)
}

func (e *EventError) Unwrap() error { return e.Err }

func (d *Definition) eventError(e *eventstore.Recorded, cause error) *EventError {
	return &EventError{Projection: d.name, Version: d.version, Position: e.Position, Stream: e.Stream, Type: e.Type, Err: cause}
}

// DamagedError says which file of a read model is damaged, and what to do. It
// is an ErrDamaged.
type DamagedError struct {
	// Projection is the name of the read model.
	Projection string
	// File is the path of the damaged file.
	File string
	// Err says what is wrong with it.
	Err error
}

func (e *DamagedError) Error() string {
	at := filepath.Join(filepath.Dir(e.File), e.Projection)
	return fmt.Sprintf("%v: %s: %v: remove the read model %s to have it built anew from the log: with projection.Remove, or by hand %s first, then %s.v*",
		ErrDamaged, e.File, e.Err, e.Projection, at+pointerSuffix, at)
}

// Unwrap returns ErrDamaged and Err.
func (e *DamagedError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

// damage makes an error that tells of a damaged file a DamagedError, and
// leaves others as they are.
func damage(name, file string, err error) error {
	if errors.Is(err, ErrDamaged) || !sqlite.IsCorrupt(err) && !errors.Is(err, sqlite.ErrForeign) {
		return err
	}
	return &DamagedError{Projection: name, File: file, Err: err}
}
