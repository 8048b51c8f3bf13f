package saga

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/leat-go/leat/internal/crash"
)

// compensate begins the compensation. Where its commands stand in the order of
// all is fixed here, whenever they can leave.
func (w *work) compensate(i *instance, reason string, root int64, hops int, at int64) {
	i.undoRoot, i.undoHops, i.undoAt = root, hops, at
	i.undoing, i.status, i.reason = true, Compensating, reason
	w.touch(i)
	w.wipe(i)
}

// finish ends the instance. Its row stays as the tombstone of its key.
func (w *work) finish(i *instance, s Status, reason string) error {
	i.status, i.reason, i.completed, i.undoing, i.undos = s, reason, w.now, false, ""
	i.attempts, i.failedAt, i.nextAttempt = 0, 0, 0
	w.touch(i)
	w.wipe(i)
	w.e.sweep++
	if i.waited == 0 {
		return nil
	}
	_, err := w.tx.Exec(`
		DELETE FROM waiting
		WHERE instance = ?`, i.id)
	return err
}

// unwind sends the topmost undo, once every command sent before is done or
// rejected. After the last the instance is compensated.
func (w *work) unwind(i *instance) error {
	if !i.undoing || i.status == Parked || w.e.outbox.rows(i.id)+w.pending[i.id] > 0 {
		return nil
	}
	stack, err := i.stack()
	if err != nil {
		return w.park(i, err.Error())
	}
	if len(stack) == 0 {
		return w.finish(i, Compensated, i.reason)
	}
	top := stack[len(stack)-1]
	if err := i.setStack(stack[:len(stack)-1]); err != nil {
		return err
	}
	w.touch(i)
	i.sequence++
	cmd := &command{
		instance: i.id, sequence: i.sequence, saga: i.b.name, key: i.key, id: top.ID, typ: top.Type, data: top.Data,
		root: i.undoRoot, hops: i.undoHops, at: i.undoAt, undo: true, ready: true,
		meta: w.metadata(i, "undo "+top.Name+" of "+i.key, i.undoHops, nil),
	}
	i.undoHops++
	if err := w.insert(cmd); err != nil {
		return err
	}
	crash.At(crash.SagaUnwinding)
	return w.note(i, kindUndo, top.ID, top.Name, "send:"+top.Type)
}

// push puts the undo on top, in place of one of the same name, whose actions
// it takes over.
func push(stack []undo, u undo) []undo {
	for n, old := range stack {
		if old.Name == u.Name {
			u.Actions, u.Always = old.Actions, old.Always
			stack = append(stack[:n:n], stack[n+1:]...)
			break
		}
	}
	return append(stack, u)
}

// dropUndo takes a rejected command out of the undo it belongs to, and drops
// the undo where no other command is left.
func (w *work) dropUndo(i *instance, sequence int64) error {
	stack, err := i.stack()
	if err != nil {
		return nil // the instance is parked for it when it is needed
	}
	for n := range stack {
		at := slices.Index(stack[n].Actions, sequence)
		if at < 0 {
			continue
		}
		stack[n].Actions = slices.Delete(stack[n].Actions, at, at+1)
		if len(stack[n].Actions) == 0 && !stack[n].Always {
			stack = slices.Delete(stack, n, n+1)
		}
		w.touch(i)
		return i.setStack(stack)
	}
	return nil
}

// undo is an entry of the undo stack.
type undo struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
	// ID is its command's, by the step that pushed it.
	ID string `json:"id"`
	// Actions are the sequences of the commands it undoes, without those that
	// were rejected.
	Actions []int64 `json:"actions,omitempty"`
	// Always: it was pushed without a command after it, and always runs.
	Always bool `json:"always,omitempty"`
}

func (i *instance) stack() ([]undo, error) {
	if i.undos == "" {
		return nil, nil
	}
	var stack []undo
	if err := json.Unmarshal([]byte(i.undos), &stack); err != nil {
		return nil, &permanentError{fmt.Errorf("decode undo stack: %w", err)}
	}
	return stack, nil
}

func (i *instance) setStack(stack []undo) error {
	if len(stack) == 0 {
		i.undos = ""
		return nil
	}
	raw, err := json.Marshal(stack)
	if err != nil {
		return fmt.Errorf("encode undo stack: %w", err)
	}
	i.undos = string(raw)
	return nil
}
