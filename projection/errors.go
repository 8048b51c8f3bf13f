package projection

import (
	"errors"
	"fmt"
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
	// ErrBuilding: not while a new file is being built.
	ErrBuilding = errors.New("projection: being built")
	// ErrClosed: the projection was closed.
	ErrClosed = errors.New("projection: closed")
	// ErrNoView: there is no live file to read.
	ErrNoView = errors.New("projection: no read model")
	// ErrDamaged: a file of the read model is missing or is not what its name
	// says. Remove builds it anew.
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
