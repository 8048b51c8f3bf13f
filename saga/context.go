package saga

import (
	"fmt"
	"math"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// MaxEffects is how many commands, undos, timers and aliases one step may
// have. A step with more parks its instance.
const MaxEffects = 1000

// MaxState is the size of an instance's state as JSON, in bytes. A step that
// makes it larger parks its instance.
const MaxState = 1 << 20

// Context is what a handler acts through. Whatever it asks for takes effect
// with the step, in one transaction, and not at all where the handler returns
// an error or panics. It is of no use after the handler has returned, and not
// safe for concurrent use.
type Context struct {
	key       string
	now       int64 // the input's time
	clock     int64 // the clock at the step
	position  int64
	effects   []effect
	ending    ending
	reason    string
	err       error // the first misuse
	knowTimer func(string) bool
}

type effectKind uint8

const (
	effectSend effectKind = iota
	effectUndo
	effectTimer
	effectCancel
	effectAlias
)

type effect struct {
	kind effectKind
	name string // of the command type, timer, or the alias
	data string // of the command
	undo string // the undo's name
	due  int64
}

type ending string

const (
	endingNone       ending = ""
	endingComplete   ending = "complete"
	endingFail       ending = "fail"
	endingCompensate ending = "compensate"
)

// Key returns the instance's key.
func (c *Context) Key() string { return c.key }

// Now returns the input's time: when the event was recorded, when the timer
// was due, the clock at the step for a rejection.
func (c *Context) Now() time.Time { return time.Unix(0, c.now).UTC() }

// Position returns how far of the log the saga has seen: the event's position,
// or for timers and rejections that of the last event before them.
func (c *Context) Position() int64 { return c.position }

// Send has the command carried out after the step has committed, once as far
// as the log is concerned. Commands of an instance leave in the order they
// were sent, the next after the one before is done or rejected.
func (c *Context) Send(cmd Command) {
	name, data, err := encodeCommand(cmd)
	if err != nil {
		c.misuse(err)
		return
	}
	c.add(effect{kind: effectSend, name: name, data: data})
}

// Undo pushes the command that undoes what the commands sent after it do, up
// to the next Undo of this step. Push before you act. It is dropped where all
// those commands are rejected; without any it always runs. A name that is on
// the stack is replaced, and on top again.
func (c *Context) Undo(name string, cmd Command) {
	typ, data, err := encodeCommand(cmd)
	if err == nil {
		err = eventstore.CheckName("undo name", name)
	}
	if err != nil {
		c.misuse(err)
		return
	}
	c.add(effect{kind: effectUndo, name: typ, data: data, undo: name})
}

// After sets the timer, or moves it, to d after the clock at the step. For an
// event that was there before the saga was (see FromOrigin) it counts from when
// the event was recorded.
func (c *Context) After(name string, d time.Duration) {
	d = max(d, 0)
	if int64(d) > math.MaxInt64-c.clock {
		c.misuse(fmt.Errorf("timer %q: %v from now is too far", name, d))
		return
	}
	c.timer(name, c.clock+int64(d))
}

// At sets the timer, or moves it, to t. A t that has passed fires at once, be
// it the zero time; one after the year 2262 parks the instance.
func (c *Context) At(name string, t time.Time) {
	if t.After(time.Unix(0, math.MaxInt64)) {
		c.misuse(fmt.Errorf("timer %q: %v is after 2262: give a time before, or set no timer", name, t))
		return
	}
	due := int64(firstDue)
	if t.After(time.Unix(0, firstDue)) { // Unix nanoseconds go back to 1678 alone
		due = t.UnixNano()
	}
	c.timer(name, due)
}

// firstDue is the earliest time at which a timer can be due, in Unix
// nanoseconds: 0 says that there is none.
const firstDue = 1

func (c *Context) timer(name string, due int64) {
	if !c.knowTimer(name) {
		c.misuse(fmt.Errorf("timer %q is not defined: add saga.Timer", name))
		return
	}
	c.add(effect{kind: effectTimer, name: name, due: max(due, firstDue)})
}

// Cancel removes the timer. It does nothing where there is none.
func (c *Context) Cancel(name string) {
	if !c.knowTimer(name) {
		c.misuse(fmt.Errorf("timer %q is not defined: add saga.Timer", name))
		return
	}
	c.add(effect{kind: effectCancel, name: name})
}

// Alias gives the instance a further key. One that another instance has parks
// this one. Events that waited for the key (see Waits) follow the step in the
// order of the log, one for several keys of the instance once; a step that ends
// the instance passes over them.
func (c *Context) Alias(key string) {
	if err := eventstore.CheckName("alias", key); err != nil {
		c.misuse(err)
		return
	}
	c.add(effect{kind: effectAlias, name: key})
}

// Complete ends the instance well: timers and undos are dropped, commands sent
// before still leave, later inputs are passed over. While the instance
// compensates it does nothing.
func (c *Context) Complete() { c.end(endingComplete, "") }

// Fail ends the instance as Complete does, as failed.
func (c *Context) Fail(reason string) { c.end(endingFail, reason) }

// Compensate has the undos carried out in reverse, one at a time, after every
// command sent before is done or rejected. From then on timers are dropped and
// inputs passed over, and with the last undo the instance ends as compensated.
// An undo that is rejected parks the instance.
func (c *Context) Compensate(reason string) { c.end(endingCompensate, reason) }

func (c *Context) end(e ending, reason string) {
	if c.ending != endingNone && c.ending != e {
		c.misuse(fmt.Errorf("a step can %s or %s, not both", c.ending, e))
		return
	}
	c.ending, c.reason = e, reason
}

func (c *Context) add(e effect) {
	if len(c.effects) == MaxEffects {
		c.misuse(fmt.Errorf("a step has more than %d effects", MaxEffects))
		return
	}
	c.effects = append(c.effects, e)
}

func (c *Context) misuse(err error) {
	if c.err == nil {
		c.err = &permanentError{err}
	}
}
