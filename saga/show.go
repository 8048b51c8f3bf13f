package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Case is everything that the file has of an instance.
type Case struct {
	Instance
	// History is its journal, whole: inputs and effects.
	History []Entry
	// Timers are those that are set, the next due first.
	Timers []PendingTimer
	// Commands are those that are not known to be done, in their order, MaxShown
	// at most; Instance.Pending is how many there are.
	Commands []PendingCommand
	// Inputs wait, in their order, MaxShown at most, the first being what failed;
	// Instance.Waiting is how many there are.
	Inputs []WaitingInput
}

// MaxShown is how many commands and inputs a Case has at most, each.
const MaxShown = 1000

// WaitingInput is an input that waits for its instance to go on.
type WaitingInput struct {
	// Kind is event, timer or rejection.
	Kind string
	// Position is that of an event.
	Position int64
	// Name is a timer's, or the type of a rejected command. An event's is in the
	// log.
	Name string
	// Due is when a timer was due.
	Due time.Time
	// Code and Reason are those of a rejection.
	Code, Reason string
}

// Show returns all there is of what Instance returns for the key: for an
// operator who wants to know what it went through and what it waits for. What
// happens meanwhile may be in one part and not in another. It returns
// ErrNotFound where there is no such instance.
func (e *Engine) Show(ctx context.Context, saga, key string) (Case, error) {
	var c Case
	var err error
	if c.Instance, err = e.Instance(ctx, saga, key); err != nil {
		return c, err
	}
	if c.History, err = e.History(ctx, saga, key); err != nil {
		return c, err
	}
	if c.Timers, err = e.timersOf(ctx, c.ID, -1); err != nil {
		return c, err
	}
	if c.Commands, err = e.commandsOf(ctx, c.ID, MaxShown); err != nil {
		return c, err
	}
	c.Inputs, err = e.inputsOf(ctx, c.ID)
	return c, err
}

func (e *Engine) inputsOf(ctx context.Context, instance int64) (list []WaitingInput, err error) {
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var in WaitingInput
		var data string
		if err := rows.Scan(&in.Kind, &in.Position, &data); err != nil {
			return err
		}
		var err error
		switch in.Kind {
		case kindTimer:
			var t waitingTimer
			err = json.Unmarshal([]byte(data), &t)
			in.Name, in.Due = t.Name, instant(t.Due)
		case kindRejection:
			var r rejection
			err = json.Unmarshal([]byte(data), &r)
			in.Name, in.Code, in.Reason = r.Type, r.Code, r.Reason
		}
		list = append(list, in)
		return err
	}, `
		SELECT kind, position, data
		FROM waiting
		WHERE instance = ?
		ORDER BY sequence
		LIMIT ?`, instance, MaxShown)
	if err != nil {
		return nil, fmt.Errorf("saga: waiting inputs: %w", err)
	}
	return list, nil
}
