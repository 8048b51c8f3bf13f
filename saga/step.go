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

// HopsKey is the metadata key of the length of the chain of steps that an
// event comes from.
const HopsKey = "saga_hops"

// Kinds of inputs, as they stand in the journal.
const (
	kindEvent     = "event"
	kindTimer     = "timer"
	kindRejection = "rejection"
	kindAdmin     = "admin"
	kindUndo      = "undo"
)

// input is what an instance is given: an event, a timer or a rejection.
type input struct {
	kind      string
	name      string // event type, timer name or command type
	ref       string // see DESIGN: what identifies the input for ever
	root      int64  // position of the root cause
	at        int64  // its time
	hops      int
	position  int64
	event     *eventInput
	handler   *eventHandler
	payload   any
	timerRef  string
	rejection rejection
}

// eventInput is an event, with its metadata decoded when first needed.
type eventInput struct {
	eventstore.Recorded
	meta eventstore.Metadata
}

func (e *eventInput) metadata() eventstore.Metadata {
	if e.meta == nil {
		meta, err := e.Meta.Decode()
		if err != nil {
			meta = eventstore.Metadata{} // correlation is lost with it, not the event
		}
		e.meta = meta
	}
	return e.meta
}

func (e *eventInput) correlation() string {
	if id := e.metadata()[eventstore.CorrelationID]; id != "" {
		return id
	}
	return e.ID.String()
}

// chain returns how many steps, without time between them, led to the input.
func (in *input) chain() int {
	if in.event == nil {
		return in.hops
	}
	n, err := strconv.Atoi(in.event.metadata()[HopsKey])
	if err != nil {
		return 0 // it comes from outside
	}
	return n
}

// causation names the input as the cause of a command.
func (in *input) causation() string {
	if in.event != nil {
		return in.event.ID.String()
	}
	return in.ref
}

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

// route calls the key function. What it cannot read is an error.
func (h *eventHandler) safeRoute(ev eventstore.Recorded) (payload any, keys []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	payload, keys, err = h.route(ev)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := eventstore.CheckName("saga key", key); err != nil {
			return nil, nil, err
		}
	}
	return payload, keys, nil
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
	silent := in.kind == kindEvent && in.position <= i.b.silent
	stack, err := i.stack()
	if err != nil {
		return err
	}
	var journal strings.Builder
	bound := -1 // the undo that the commands of this step belong to
	undos := false
	for n, ef := range c.effects {
		if journal.Len() > 0 {
			journal.WriteByte(' ')
		}
		switch ef.kind {
		case effectSend:
			journal.WriteString("send:" + ef.name)
			if silent {
				journal.WriteString("(suppressed)")
				continue
			}
			cmd := w.command(i, in, n, ef)
			if bound >= 0 {
				stack[bound].Actions = append(stack[bound].Actions, cmd.sequence)
			}
			if err := w.insert(cmd); err != nil {
				return err
			}
		case effectUndo:
			journal.WriteString("undo:" + ef.undo)
			stack = push(stack, undo{Name: ef.undo, Type: ef.name, Data: ef.data, ID: commandID(in.root, i.b.name, i.key, in.ref, n)})
			bound, undos = len(stack)-1, true
		case effectTimer:
			journal.WriteString("timer:" + ef.name)
			hops := 0
			if ef.due <= c.clock {
				hops = in.chain() + 1 // no time passes
			}
			w.timers[timerKey{i.id, ef.name}] = &timer{due: ef.due, ref: fingerprint(i.b.name, i.key, in.ref, n), root: in.root, hops: hops}
		case effectCancel:
			journal.WriteString("cancel:" + ef.name)
			w.timers[timerKey{i.id, ef.name}] = nil
		case effectAlias:
			journal.WriteString("alias:" + ef.name)
			if err := w.alias(i, ef.name); err != nil {
				return err
			}
		}
	}
	if undos {
		for n := range stack {
			stack[n].Always = stack[n].Always || len(stack[n].Actions) == 0
		}
		if err := i.setStack(stack); err != nil {
			return err
		}
	}
	if c.ending != endingNone {
		journal.WriteString(" " + string(c.ending))
	}
	if err := w.note(i, in.kind, in.ref, in.name, strings.TrimSpace(journal.String())); err != nil {
		return err
	}
	switch c.ending {
	case endingComplete:
		return w.finish(i, Completed, c.reason)
	case endingFail:
		return w.finish(i, Failed, c.reason)
	case endingCompensate:
		w.compensate(i, c.reason, in.root, in.chain()+1, max(w.now, in.at))
		if silent {
			return w.finish(i, Compensated, c.reason)
		}
		return w.unwind(i)
	}
	return nil
}

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

// command returns the command of an effect.
func (w *work) command(i *instance, in *input, ordinal int, ef effect) *command {
	i.sequence++
	hops := in.chain() + 1
	return &command{
		instance: i.id, sequence: i.sequence, saga: i.b.name, key: i.key,
		id: commandID(in.root, i.b.name, i.key, in.ref, ordinal), typ: ef.name, data: ef.data,
		meta: w.metadata(i, in.causation(), hops, in.event), root: in.root, hops: hops, at: max(w.now, in.at), ready: true,
	}
}

// metadata returns what the events of a command are stamped with.
func (w *work) metadata(i *instance, causation string, hops int, ev *eventInput) string {
	m := eventstore.Metadata{
		eventstore.CorrelationID: i.correlation,
		eventstore.CausationID:   causation,
		HopsKey:                  strconv.Itoa(hops),
	}
	if ev != nil {
		for _, k := range [...]string{eventstore.TraceParent, eventstore.TraceState} {
			if v, ok := ev.metadata()[k]; ok {
				m[k] = v
			}
		}
	}
	return string(m.Encode())
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
