package saga

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// entry runs the handler of an entry of the journal, and compares.
func (p *replay) entry(i *replayed, en *recorded) (*Difference, error) {
	i.same = i.same && en.version == i.d.version
	c, state, err := p.run(i, en, false)
	if err == nil && i.past(en) && i.compare(en, c) != nil {
		// A program of before counted from the clock there as well.
		if was, after, err := p.run(i, en, true); err == nil && i.compare(en, was) == nil {
			c, state = was, after
		}
	}
	if _, infra := err.(*infraError); infra { //nolint:errorlint // it is not wrapped
		return nil, err
	}
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return i.difference(en, effectsOr(en.effects), "the error: "+text), nil
	}
	if d := i.compare(en, c); d != nil {
		return d, nil
	}
	i.state = state
	for n, ef := range c.effects {
		switch ef.kind {
		case effectSend:
			cmd := rejection{Type: ef.name, Data: ef.data}
			for _, name := range append(i.d.names(), i.begun) { // the ids of a program of before have the name of their time
				i.sent[fingerprint(name, i.key, en.ref, n)] = cmd
			}
		case effectAlias:
			i.keys[ef.name] = true
		}
	}
	return nil, nil
}

// past tells whether the entry is of an event of before the saga began.
func (i *replayed) past(en *recorded) bool {
	position, err := strconv.ParseInt(en.ref, 10, 64)
	return en.kind == kindEvent && err == nil && position <= i.silent
}

// run calls the handler, byClock with the clock at the step for what After
// counts from, also in the past. An error is the handler's unless it is an
// infraError.
func (p *replay) run(i *replayed, en *recorded, byClock bool) (c *Context, state []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = bus.Recovered(v)
		}
	}()
	d := i.d
	c = &Context{key: i.key, now: en.at, clock: en.at, position: en.in.Position, knowTimer: func(name string) bool { return d.timers[name] != nil }}
	value := d.newState()
	if err := json.Unmarshal(i.state, value); err != nil {
		return nil, nil, fmt.Errorf("decode state: %w", err)
	}
	switch en.kind {
	case kindEvent:
		err = p.event(i, en, c, value, byClock)
	case kindTimer:
		c.now = en.in.Due
		c.clock = max(en.at, c.now)
		fn := d.timers[d.timerNow(en.name)]
		if fn == nil {
			return nil, nil, fmt.Errorf("the timer %q has no handler", en.name)
		}
		err = fn(value, c)
	case kindRejection:
		err = i.rejected(en, c, value)
	}
	if err == nil {
		err = c.err
	}
	if err != nil {
		return nil, nil, err
	}
	if state, err = json.Marshal(value); err != nil {
		return nil, nil, fmt.Errorf("encode state: %w", err)
	}
	return c, state, nil
}

func (p *replay) event(i *replayed, en *recorded, c *Context, state any, byClock bool) error {
	position, err := strconv.ParseInt(en.ref, 10, 64)
	if err != nil {
		return &infraError{fmt.Errorf("entry %d names no position: %w", en.sequence, err)}
	}
	page, err := p.log.ReadLog(p.ctx, position-1, 1, eventstore.Filter{})
	if err != nil {
		return &infraError{fmt.Errorf("read log: %w", err)}
	}
	if len(page.Events) == 0 || page.Events[0].Position != position || page.Events[0].Type != en.name {
		return &infraError{&eventstore.CorruptError{Where: fmt.Sprintf("position %d", position), Reason: fmt.Sprintf("entry %d has the event %q there, and the log does not: it is another log", en.sequence, en.name)}}
	}
	ev := page.Events[0]
	h := i.d.events[ev.Type]
	if h == nil {
		return fmt.Errorf("the event %q has no handler", ev.Type)
	}
	payload, keys, err := h.safeRoute(ev)
	if err != nil {
		return err
	}
	mine := false
	for _, key := range keys {
		mine = mine || i.keys[key]
	}
	if !mine {
		return fmt.Errorf("the event is for the keys %q", keys)
	}
	c.now, c.position = ev.Time, position
	if c.clock = max(en.at, ev.Time); i.past(en) && !byClock {
		c.clock = ev.Time
	}
	return h.handle(state, c, payload)
}

func (i *replayed) rejected(en *recorded, c *Context, state any) error {
	name := i.d.commandNow(en.name)
	h := i.d.rejections[name]
	if h == nil {
		return fmt.Errorf("the rejection of %q has no handler", name)
	}
	_, print, _ := strings.Cut(en.ref, "-")
	cmd, known := i.sent[print]
	if !known {
		return fmt.Errorf("the command %s was not sent", en.ref)
	}
	if h.handle == nil {
		return nil
	}
	cmd.ID, cmd.Code, cmd.Reason = en.ref, en.in.Code, en.in.Reason
	return h.handle(state, c, cmd)
}

// compare returns the first effect that differs, nil where none does.
func (i *replayed) compare(en *recorded, c *Context) *Difference {
	left := strings.ReplaceAll(en.effects, "(suppressed)", "")
	for n := range c.effects {
		ef := &c.effects[n]
		rest, ok := "", false
		for _, token := range i.tokens(ef) {
			if rest, ok = cutToken(left, token); ok {
				break
			}
		}
		if !ok {
			return i.difference(en, effectsOr(left), ef.show())
		}
		if len(en.digest) >= (n+1)*digestLength {
			was := en.digest[n*digestLength : (n+1)*digestLength]
			if !i.sums(ef, was) {
				token, _, _ := strings.Cut(left, " ")
				return i.difference(en, token+" #"+was, ef.show()+" #"+digestOf(c.effects[n:n+1]))
			}
		}
		left = rest
	}
	if left == string(c.ending) {
		return nil
	}
	return i.difference(en, effectsOr(left), effectsOr(string(c.ending)))
}

// tokens are how the journal names an effect: as it does now, and by former
// names.
func (i *replayed) tokens(ef *effect) []string {
	list := []string{ef.token(ef.name)}
	was := i.d.commandWas
	if ef.kind == effectTimer || ef.kind == effectCancel {
		was = i.d.timerWas
	}
	for former, name := range was {
		if name == ef.name {
			list = append(list, ef.token(former))
		}
	}
	return list
}

// sums tells whether the effect has the checksum, be it under a former name.
func (i *replayed) sums(ef *effect, was string) bool {
	if digestOf([]effect{*ef}) == was {
		return true
	}
	for former, name := range i.d.commandWas {
		other := *ef
		if other.name = former; name == ef.name && digestOf([]effect{other}) == was {
			return true
		}
	}
	return false
}

// token is the effect in the journal, with this name.
func (ef *effect) token(name string) string {
	switch ef.kind {
	case effectSend:
		return "send:" + name
	case effectUndo:
		return "undo:" + ef.undo
	case effectTimer:
		return "timer:" + name
	case effectCancel:
		return "cancel:" + name
	default:
		return "alias:" + name
	}
}

// show is the effect for people.
func (ef *effect) show() string {
	switch ef.kind {
	case effectSend:
		return ef.token(ef.name) + " " + ef.data
	case effectUndo:
		return ef.token("") + " " + ef.name + " " + ef.data
	case effectTimer:
		return ef.token(ef.name) + " due " + instant(ef.due).Format("2006-01-02T15:04:05.999999999Z")
	default:
		return ef.token(ef.name)
	}
}

func cutToken(text, token string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, token)
	if !ok || rest == "" {
		return rest, ok
	}
	return strings.CutPrefix(rest, " ")
}

func effectsOr(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}
