package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/leat-go/leat/eventstore"
)

// page applies events of the log.
func (w *work) page(events []eventstore.Recorded, through eventstore.Anchor) error {
	for _, ev := range events {
		w.position = ev.Position
		var decoded *eventInput
		for _, b := range w.e.byType[ev.Type] {
			if ev.Position <= b.at.Position {
				continue
			}
			if decoded == nil {
				decoded = &eventInput{Recorded: ev}
			}
			if w.e.strays[strayKey{b.id, ev.Stream}] != 0 {
				if err := w.strand(b, decoded, nil); err != nil {
					return err
				}
				continue
			}
			if err := w.event(b, decoded); err != nil {
				return err
			}
		}
	}
	w.position = max(w.position, through.Position)
	w.through = through
	return nil
}

// event gives an event to the saga's instances that it is for. One that cannot
// be read strands its stream.
func (w *work) event(b *binding, ev *eventInput) error {
	h := b.events[ev.Type]
	payload, keys, err := h.safeRoute(ev.Recorded)
	if err != nil {
		return w.strand(b, ev, err)
	}
	for n, key := range keys {
		if key == "" || contains(keys[:n], key) {
			continue
		}
		i, err := w.find(b, key)
		if err != nil {
			return err
		}
		in := &input{
			kind: kindEvent, name: ev.Type, ref: strconv.FormatInt(ev.Position, 10), root: ev.Position,
			at: ev.Time, position: ev.Position, event: ev, handler: h, payload: payload,
		}
		switch {
		case i != nil:
			err = w.deliver(i, in)
		case h.starts:
			i = w.create(b, key, false, ev.correlation())
			if err = w.deliver(i, in); err == nil {
				err = w.admitEarly(i, key)
			}
		case h.waits:
			err = w.keepEarly(b, key, ev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// deliver gives the instance an input that it was not given before.
func (w *work) deliver(i *instance, in *input) error {
	if in.kind == kindEvent {
		if in.position <= i.cursor {
			return nil // a duplicate
		}
		if !i.status.finished() {
			i.cursor = in.position
			w.touch(i)
		}
	}
	switch {
	case i.status.finished():
		if in.kind == kindRejection {
			return w.note(i, in.kind, in.ref, in.name, "passed over: "+in.rejection.Code)
		}
		return nil
	case i.blocking():
		return w.wait(i, in)
	}
	ok, err := w.attempt(i, in)
	if err != nil || ok {
		return err
	}
	return w.wait(i, in)
}

// attempt runs the handler. It returns false where that failed: then the
// instance backs off or is parked, and the input has to wait.
func (w *work) attempt(i *instance, in *input) (bool, error) {
	if i.undoing {
		return true, nil // its inputs are passed over
	}
	if in.kind == kindTimer {
		t, err := w.timer(i, in.name)
		if err != nil || t == nil || t.ref != in.timerRef {
			return true, err // cancelled or armed again since
		}
	}
	c, state, err := w.handle(i, in)
	if err == nil {
		err = w.checkAliases(i, c)
	}
	if err != nil {
		if _, infra := errors.AsType[*infraError](err); infra {
			return false, err
		}
		return false, w.fail(i, in, err)
	}
	return true, w.apply(i, in, c, state)
}

// infraError is an error of sagas.db, not of a handler.
type infraError struct{ err error }

func (e *infraError) Error() string { return e.err.Error() }
func (e *infraError) Unwrap() error { return e.err }

// handle calls the handler on a copy of the state.
func (w *work) handle(i *instance, in *input) (c *Context, state string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	b := i.b
	decoded, err := b.decodeState([]byte(i.state), i.stateVersion)
	if err != nil {
		return nil, "", &permanentError{err}
	}
	if _, err := i.stack(); err != nil {
		return nil, "", err
	}
	position := w.position
	if in.event != nil {
		position = in.position
	}
	c = &Context{
		key: i.key, now: in.at, clock: max(w.now, in.at), position: position,
		knowTimer: func(name string) bool { return b.timers[name] != nil },
	}
	switch in.kind {
	case kindEvent:
		err = in.handler.handle(decoded, c, in.payload)
	case kindTimer:
		fn := b.timers[in.name]
		if fn == nil {
			return nil, "", permanent("timer %q has no handler: add saga.Timer", in.name)
		}
		err = fn(decoded, c)
	case kindRejection:
		h := b.rejections[in.name]
		if h == nil {
			return nil, "", permanent("command %q was rejected (%s: %s) and nothing handles that: add saga.Rejected or saga.IgnoreRejected",
				in.name, in.rejection.Code, in.rejection.Reason)
		}
		if h.handle != nil {
			err = h.handle(decoded, c, in.rejection)
		}
	}
	if err == nil {
		err = c.err
	}
	if err == nil && in.chain() >= w.e.opts.MaxHops && len(c.effects) > 0 {
		err = permanent("a chain of %d steps, each caused by the one before, with no time passing: it looks like a loop", in.chain())
	}
	if err != nil {
		return nil, "", err
	}
	raw, err := json.Marshal(decoded)
	if err != nil {
		return nil, "", permanent("encode state: %w", err)
	}
	if len(raw) > MaxState {
		return nil, "", permanent("the state has %d bytes, %d are allowed: keep in it what decides, and look the rest up", len(raw), MaxState)
	}
	return c, string(raw), nil
}

// checkAliases refuses an alias that is another instance's key.
func (w *work) checkAliases(i *instance, c *Context) error {
	for _, ef := range c.effects {
		if ef.kind != effectAlias {
			continue
		}
		other, err := w.find(i.b, ef.name)
		if err != nil {
			return &infraError{err}
		}
		if other != nil && other != i {
			return permanent("alias %q is the key of another instance, %q", ef.name, other.key)
		}
	}
	return nil
}

// apply takes over what the handler did.
func (w *work) apply(i *instance, in *input, c *Context, state string) error {
	w.touch(i)
	i.state, i.stateVersion = state, i.b.version
	if in.kind == kindTimer {
		w.timers[timerKey{i.id, in.name}] = nil
	}
	a := &applying{w: w, i: i, in: in, clock: c.clock, silent: in.kind == kindEvent && in.position <= i.b.silent, bound: -1}
	var err error
	if a.stack, err = i.stack(); err != nil {
		return err
	}
	for n, ef := range c.effects {
		if a.journal.Len() > 0 {
			a.journal.WriteByte(' ')
		}
		if err := a.effect(n, ef); err != nil {
			return err
		}
	}
	if err := a.saveStack(); err != nil {
		return err
	}
	if c.ending != endingNone {
		a.journal.WriteString(" " + string(c.ending))
	}
	if err := w.noteStep(i, in, c, strings.TrimSpace(a.journal.String())); err != nil {
		return err
	}
	switch c.ending {
	case endingComplete:
		return w.finish(i, Completed, c.reason)
	case endingFail:
		return w.finish(i, Failed, c.reason)
	case endingCompensate:
		w.compensate(i, c.reason, in.root, in.chain()+1, max(w.now, in.at))
		if a.silent {
			return w.finish(i, Compensated, c.reason)
		}
		return w.unwind(i)
	}
	return nil
}

// applying is a step whose effects are being taken over.
type applying struct {
	w       *work
	i       *instance
	in      *input
	clock   int64
	silent  bool // commands are not sent
	stack   []undo
	bound   int // the undo that the next commands belong to; -1
	journal strings.Builder
}

// effect takes over the effect with this place among those of the step.
func (a *applying) effect(n int, ef effect) error {
	w, i, in := a.w, a.i, a.in
	switch ef.kind {
	case effectSend:
		a.journal.WriteString("send:" + ef.name)
		if a.silent {
			a.journal.WriteString("(suppressed)")
			return nil
		}
		cmd := w.command(i, in, n, ef)
		if a.bound >= 0 {
			a.stack[a.bound].Actions = append(a.stack[a.bound].Actions, cmd.sequence)
		}
		return w.insert(cmd)
	case effectUndo:
		a.journal.WriteString("undo:" + ef.undo)
		a.stack = push(a.stack, undo{Name: ef.undo, Type: ef.name, Data: ef.data, ID: commandID(in.root, i.b.identity, i.key, in.ref, n)})
		a.bound = len(a.stack) - 1
	case effectTimer:
		a.journal.WriteString("timer:" + ef.name)
		hops := 0
		if ef.due <= a.clock {
			hops = in.chain() + 1 // no time passes
		}
		w.timers[timerKey{i.id, ef.name}] = &timer{due: ef.due, ref: fingerprint(i.b.identity, i.key, in.ref, n), root: in.root, hops: hops}
	case effectCancel:
		a.journal.WriteString("cancel:" + ef.name)
		w.timers[timerKey{i.id, ef.name}] = nil
	case effectAlias:
		a.journal.WriteString("alias:" + ef.name)
		return w.alias(i, ef.name)
	}
	return nil
}

// saveStack keeps the undos, where the step has changed them.
func (a *applying) saveStack() error {
	if a.bound < 0 {
		return nil
	}
	for n := range a.stack {
		a.stack[n].Always = a.stack[n].Always || len(a.stack[n].Actions) == 0
	}
	return a.i.setStack(a.stack)
}

// command returns the command of an effect.
func (w *work) command(i *instance, in *input, ordinal int, ef effect) *command {
	i.sequence++
	hops := in.chain() + 1
	return &command{
		instance: i.id, sequence: i.sequence, saga: i.b.name, key: i.key,
		id: commandID(in.root, i.b.identity, i.key, in.ref, ordinal), typ: ef.name, data: ef.data,
		meta: w.metadata(i, in.causation(), hops, in.event), root: in.root, hops: hops, at: max(w.now, in.at), ready: true, unused: true,
	}
}

// insert puts the command into the outbox.
func (w *work) insert(c *command) error {
	w.commands = append(w.commands, c)
	w.pending[c.instance]++
	_, err := w.tx.Exec(`
		INSERT INTO outbox (instance, sequence, id, type, data, metadata, root, hops, at, undo, parked, attempts, failed_at, next_attempt, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, '')`,
		c.instance, c.sequence, c.id, c.typ, c.data, c.meta, c.root, c.hops, c.at, c.undo)
	return err
}

func (w *work) alias(i *instance, key string) error {
	k := instanceKey{saga: i.saga, key: key}
	if w.byKey[k] == i {
		return nil
	}
	w.byKey[k] = i
	w.e.aliases[i.saga] = true
	if _, err := w.tx.Exec(`
		INSERT INTO alias (saga, key, instance)
		VALUES (?, ?, ?)`, i.saga, key, i.id); err != nil {
		return fmt.Errorf("alias %q: %w", key, err)
	}
	return w.admitEarly(i, key)
}
