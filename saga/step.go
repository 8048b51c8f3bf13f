package saga

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/leat-go/leat/bus"
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
// be read strands its stream, and so does one that there is no room for.
func (w *work) event(b *binding, ev *eventInput) error {
	r, err := b.route(ev)
	if err == nil {
		var full error
		if full, err = w.full(b, r); err != nil {
			return err
		}
		err = full
	}
	if err != nil {
		return w.strand(b, ev, err)
	}
	return w.give(b, ev, r)
}

// routed is what the key function says of an event.
type routed struct {
	handler *eventHandler
	payload any
	keys    []string // each once
}

func (b *binding) route(ev *eventInput) (r routed, err error) {
	r.handler = b.events[ev.Type]
	var keys []string
	r.payload, keys, err = r.handler.safeRoute(ev.Recorded)
	if len(keys) == 1 && keys[0] != "" {
		r.keys = keys // as nearly always
		return r, err
	}
	for _, key := range keys {
		if key != "" && !slices.Contains(r.keys, key) {
			r.keys = append(r.keys, key)
		}
	}
	return r, err
}

// give gives a routed event to the instances of its keys, to each once.
func (w *work) give(b *binding, ev *eventInput, r routed) error {
	var given []*instance
	for _, key := range r.keys {
		i, err := w.find(b, key)
		if err != nil {
			return err
		}
		in := r.input(ev)
		switch {
		case i != nil && slices.Contains(given, i):
			continue // two of its keys
		case i != nil:
			err = w.deliver(i, in)
		case r.handler.starts:
			in.begins = true
			i = w.create(b, key, false, ev.correlation())
			err = w.deliver(i, in)
		case r.handler.waits:
			err = w.keepEarly(b, key, ev)
		}
		if err != nil {
			return err
		}
		if len(r.keys) > 1 {
			given = append(given, i)
		}
	}
	return nil
}

func (r routed) input(ev *eventInput) *input {
	return &input{
		kind: kindEvent, name: ev.Type, ref: strconv.FormatInt(ev.Position, 10), root: ev.Position,
		at: ev.Time, position: ev.Position, event: ev, handler: r.handler, payload: r.payload,
	}
}

// deliver gives the instance an input that it was not given before, and then
// what the step has admitted.
func (w *work) deliver(i *instance, in *input) error {
	if in.kind == kindEvent {
		// What its stream held back comes after events that followed it in the log.
		if in.position <= i.cursor && !in.event.released {
			return nil // a duplicate
		}
		if !i.status.finished() {
			i.cursor = max(i.cursor, in.position)
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
	waited := i.waited
	ok, err := w.attempt(i, in)
	switch {
	case err != nil:
		return err
	case ok && (i.waited == waited || i.status.finished()):
		return nil
	case ok:
		return w.resume(i)
	}
	if err := w.wait(i, in); err != nil || !in.begins {
		return err
	}
	return w.admitEarly(i, []string{i.key})
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
			err = bus.Recovered(v)
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
		key: i.key, now: in.at, clock: w.clockAt(b, in), position: position,
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

// apply takes over what the handler did. What the step admits waits behind it:
// whoever made the attempt goes on with that.
func (w *work) apply(i *instance, in *input, c *Context, state string) error {
	w.touch(i)
	i.state, i.stateVersion = state, i.b.version
	if in.kind == kindTimer {
		w.timers[timerKey{i.id, in.name}] = nil
	}
	a := &applying{w: w, i: i, in: in, clock: c.clock, silent: i.b.past(in), bound: -1}
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
	if err := w.end(i, in, c, a.silent); err != nil {
		return err
	}
	if in.begins && w.e.early[i.saga] {
		a.aliases = append(a.aliases, i.key)
	}
	return w.admitEarly(i, a.aliases)
}

// end ends the instance, or has it compensate, where the handler asked for it.
func (w *work) end(i *instance, in *input, c *Context, silent bool) error {
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

// applying is a step whose effects are being taken over.
type applying struct {
	w       *work
	i       *instance
	in      *input
	clock   int64
	silent  bool // commands are not sent
	stack   []undo
	bound   int      // the undo that the next commands belong to; -1
	aliases []string // keys that it has from now on
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
		a.aliases = append(a.aliases, ef.name)
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
