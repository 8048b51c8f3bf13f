package invariant

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
)

// Instance is an instance of a saga, as sagas.db has it.
type Instance struct {
	Saga, Key string
	// Status is as saga.Status spells it.
	Status string
	// State is the JSON of the state; of one that was swept it is empty.
	State json.RawMessage
	// Swept says that state and journal were cleared.
	Swept bool
	// Commands and Timers are how many of both are pending.
	Commands, Timers int

	id       int64
	begun    string            // the name that the saga began with
	sequence int               // commands, as used
	journal  []entry           // in order
	outbox   map[string]bool   // ids of commands
	timers   map[string]string // references by name
	waiting  []string          // rejections that wait, their JSON
}

// entry is a line of a journal.
type entry struct{ kind, ref, name, effects string }

// sagas reads sagas.db and compares its rows with the journal and the log (I6).
func (c *check) sagas(ctx context.Context) error {
	path := filepath.Join(c.dir, "sagas.db")
	if there, err := c.has(ctx, path, "instance"); !there || err != nil {
		return err
	}
	all, err := c.readSagas(ctx, path)
	if err != nil {
		return err
	}
	effects := c.carriedOut()
	for _, i := range all {
		if err := c.instance(i, effects); err != nil {
			return err
		}
		i.Commands, i.Timers = len(i.outbox), len(i.timers)
		c.state.Instances = append(c.state.Instances, *i)
	}
	return nil
}

func (c *check) readSagas(ctx context.Context, path string) ([]*Instance, error) {
	var order []*Instance
	byID := map[int64]*Instance{}
	err := c.each(ctx, path, `
		SELECT i.id, s.name, s.identity, i.key, i.status, i.state, i.swept, i.sequence
		FROM instance i
		JOIN saga s ON s.id = i.saga
		WHERE i.stray = 0
		ORDER BY i.id`, func(rows *sql.Rows) error {
		i := &Instance{outbox: map[string]bool{}, timers: map[string]string{}}
		var state string
		err := rows.Scan(&i.id, &i.Saga, &i.begun, &i.Key, &i.Status, &state, &i.Swept, &i.sequence)
		i.State = json.RawMessage(state)
		order, byID[i.id] = append(order, i), i
		return err
	})
	if err != nil {
		return nil, err
	}
	// Each of these is about an instance, named by its first column.
	about := func(query string, fn func(i *Instance, v [4]string)) {
		if err != nil {
			return
		}
		err = c.each(ctx, path, query, func(rows *sql.Rows) error {
			var id int64
			var v [4]string
			if err := rows.Scan(&id, &v[0], &v[1], &v[2], &v[3]); err != nil {
				return err
			}
			if byID[id] == nil {
				return c.found("I6", "%q %q belongs to instance %d, which is not there", v[0], v[1], id)
			}
			fn(byID[id], v)
			return nil
		})
	}
	about(`SELECT instance, id, type, '', '' FROM outbox`, func(i *Instance, v [4]string) { i.outbox[v[0]] = true })
	about(`SELECT instance, name, ref, '', '' FROM timer`, func(i *Instance, v [4]string) { i.timers[v[0]] = v[1] })
	about(`SELECT instance, data, '', '', '' FROM waiting WHERE kind = 'rejection'`, func(i *Instance, v [4]string) { i.waiting = append(i.waiting, v[0]) })
	about(`SELECT instance, kind, ref, name, effects FROM journal ORDER BY id`, func(i *Instance, v [4]string) {
		i.journal = append(i.journal, entry{v[0], v[1], v[2], v[3]})
	})
	return order, err
}

// carriedOut returns, by the fingerprint of the command, how many batches of
// the log a saga has caused.
func (c *check) carriedOut() map[string]int {
	effects := map[string]int{}
	for name, l := range c.labels {
		if f, ok := fingerprintOf(name); ok && l.id {
			effects[f]++
		}
	}
	return effects
}

// A command's id is the position of its root cause in digits, a dash and the
// fingerprint of the effect that asked for it.
const (
	rootDigits       = 19
	fingerprintBytes = 16
)

func fingerprintOf(id string) (string, bool) {
	root, f, ok := strings.Cut(id, "-")
	return f, ok && len(root) == rootDigits && len(f) == 2*fingerprintBytes
}

// fingerprint is what DESIGN says a command's id is made of, and a timer's
// reference is: a hash of the saga's first name, the instance, the reference of
// the input and the effect's place in its step. It is said here once more on
// purpose.
func fingerprint(saga, key, ref string, ordinal int) string {
	h := sha256.New()
	var n [8]byte
	for _, s := range []string{saga, key, ref} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(n[:], uint64(ordinal))
	h.Write(n[:])
	return hex.EncodeToString(h.Sum(nil)[:fingerprintBytes])
}

// account is what the journal of an instance says it asked for.
type account struct {
	sent        []string        // fingerprints, in order
	undo        map[string]bool // those that take something back
	refused     map[string]bool
	armed       map[string]string // references of timers by name
	compensates bool
	operated    bool   // an operator had a hand in it
	twice       string // an event that it was given more than once
}

// read folds the journal. Every effect of a step stands in it, in the order of
// the step, as kind:name.
func (i *Instance) read() account {
	a := account{undo: map[string]bool{}, refused: map[string]bool{}, armed: map[string]string{}}
	for _, data := range i.waiting {
		var r struct{ ID string }
		if json.Unmarshal([]byte(data), &r) == nil {
			f, _ := fingerprintOf(r.ID)
			a.refused[f] = true
		}
	}
	given := map[string]bool{}
	for _, e := range i.journal {
		switch e.kind {
		case "event":
			if given[e.ref] {
				a.twice = e.ref
			}
			given[e.ref] = true
		case "admin":
			a.operated = true
			continue
		case "undo":
			f, _ := fingerprintOf(e.ref)
			a.sent, a.undo[f] = append(a.sent, f), true
			continue
		case "rejection":
			f, _ := fingerprintOf(e.ref)
			a.refused[f] = true
		case "timer":
			delete(a.armed, e.name)
		}
		if strings.HasPrefix(e.effects, "passed over") {
			continue
		}
		a.step(i, e)
	}
	return a
}

func (a *account) step(i *Instance, e entry) {
	for n, effect := range strings.Fields(e.effects) {
		kind, name, _ := strings.Cut(effect, ":")
		switch kind {
		case "send":
			if !strings.HasSuffix(name, "(suppressed)") {
				a.sent = append(a.sent, fingerprint(i.begun, i.Key, e.ref, n))
			}
		case "timer":
			a.armed[name] = fingerprint(i.begun, i.Key, e.ref, n)
		case "cancel":
			delete(a.armed, name)
		case "complete", "fail", "compensate":
			clear(a.armed)
			a.compensates = a.compensates || kind == "compensate"
		}
	}
}

// instance compares what an instance asked for with the outbox, the timers and
// the log.
func (c *check) instance(i *Instance, effects map[string]int) error {
	for id := range i.outbox {
		f, ok := fingerprintOf(id)
		if !ok {
			return c.found("I6", "the outbox of %s %q has the command id %q", i.Saga, i.Key, id)
		}
		delete(i.outbox, id)
		i.outbox[f] = true
	}
	if i.Swept {
		if len(i.outbox)+len(i.timers) > 0 {
			return c.found("I6", "%s %q is cleared, and has %d commands and %d timers", i.Saga, i.Key, len(i.outbox), len(i.timers))
		}
		return nil
	}
	a := i.read()
	if a.operated {
		return nil
	}
	if a.twice != "" {
		return c.found("I6", "%s %q was given the event at position %s more than once", i.Saga, i.Key, a.twice)
	}
	if len(a.sent) != i.sequence {
		return c.found("I6", "%s %q has sent %d commands, its journal has %d", i.Saga, i.Key, i.sequence, len(a.sent))
	}
	asked := map[string]bool{}
	for _, f := range a.sent {
		asked[f] = true
		if err := c.command(i, &a, f, effects[f]); err != nil {
			return err
		}
	}
	for f := range i.outbox {
		if !asked[f] {
			if err := c.found("I6", "%s %q has the command %s in its outbox, and no step asked for it", i.Saga, i.Key, f); err != nil {
				return err
			}
		}
	}
	return c.timers(i, &a)
}

// command sees that a command is in the outbox, or took effect once, or was
// refused. A refusal that comes while an instance compensates leaves no trace.
func (c *check) command(i *Instance, a *account, f string, effects int) error {
	c.report.Commands++
	silent := a.compensates && !a.undo[f]
	switch {
	case effects > 1:
		return c.found("I6", "the command %s of %s %q took effect %d times", f, i.Saga, i.Key, effects)
	case effects == 1 && a.refused[f]:
		return c.found("I6", "the command %s of %s %q was refused, and took effect", f, i.Saga, i.Key)
	case effects == 0 && !a.refused[f] && !i.outbox[f] && !silent:
		return c.found("I6", "the command %s of %s %q (%s) is neither in the outbox nor in the log, and was not refused", f, i.Saga, i.Key, i.Status)
	case a.refused[f] && i.outbox[f]:
		return c.found("I6", "the command %s of %s %q was refused, and is in the outbox", f, i.Saga, i.Key)
	}
	return nil
}

func (c *check) timers(i *Instance, a *account) error {
	for name, ref := range a.armed {
		c.report.Timers++
		if got := i.timers[name]; got != ref {
			if err := c.found("I6", "the timer %q of %s %q (%s) was set, and is gone or another: %s, not %s", name, i.Saga, i.Key, i.Status, strconv.Quote(got), ref); err != nil {
				return err
			}
		}
	}
	for name := range i.timers {
		if a.armed[name] == "" {
			if err := c.found("I6", "the timer %q of %s %q (%s) is there, though it fired or was cancelled", name, i.Saga, i.Key, i.Status); err != nil {
				return err
			}
		}
	}
	return nil
}
