package saga

import (
	"errors"
	"fmt"
	"slices"
)

// Events that come before the start of their instance, and the further keys by
// which an instance is found later than its start.

// keepEarly keeps a continuation for the start of its instance.
func (w *work) keepEarly(b *binding, key string, ev *eventInput) error {
	w.e.early[b.id] = true
	_, err := w.tx.Exec(`
		INSERT INTO early (saga, key, position)
		VALUES (?, ?, ?)
		ON CONFLICT DO NOTHING`, b.id, key, ev.Position)
	return err
}

// full says why the event cannot be given to all that it is for: then nobody is
// given it, and its stream is parked. What an operator releases of that stream
// has its place already.
func (w *work) full(b *binding, r routed) (reason, err error) {
	if !r.handler.waits || r.handler.starts || !w.e.early[b.id] {
		return nil, nil
	}
	for _, key := range r.keys {
		i, err := w.find(b, key)
		if err != nil {
			return nil, err
		}
		if i != nil {
			continue
		}
		var n int
		if err := w.tx.QueryRow(`
			SELECT COUNT(*)
			FROM early
			WHERE saga = ? AND key = ?`, b.id, key).Scan(&n); err != nil {
			return nil, err
		}
		if n >= MaxEarly {
			return fmt.Errorf("%d events wait for the start of %q already: Retry keeps those of this stream as well", n, key), nil
		}
	}
	return nil, nil
}

// admitEarly has the continuations that waited for these keys wait for their
// instance, in the order of the log, each once. One that has ended passes over
// them.
func (w *work) admitEarly(i *instance, keys []string) error {
	if len(keys) == 0 || !w.e.early[i.saga] {
		return nil
	}
	var positions []int64
	for _, key := range keys {
		rows, err := w.tx.Query(`
			DELETE FROM early
			WHERE saga = ? AND key = ?
			RETURNING position`, i.saga, key)
		if err != nil {
			return err
		}
		for rows.Next() {
			var p int64
			if err := rows.Scan(&p); err != nil {
				return errors.Join(err, rows.Close())
			}
			positions = append(positions, p)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	if i.status.finished() || i.undoing {
		return nil
	}
	slices.Sort(positions)
	for _, p := range slices.Compact(positions) {
		had, err := w.had(i, p, keys)
		if err != nil {
			return err
		}
		if had {
			continue
		}
		if err := w.keep(i, kindEvent, p, ""); err != nil {
			return err
		}
	}
	return nil
}

// had tells whether the instance was given the event by another key than these,
// which are new.
func (w *work) had(i *instance, position int64, keys []string) (bool, error) {
	ev, err := w.read(position)
	if err != nil {
		return false, err
	}
	if i.b.events[ev.Type] == nil {
		return false, nil // that is said when its turn comes
	}
	r, err := i.b.route(&eventInput{Recorded: ev})
	if err != nil {
		return false, nil //nolint:nilerror // its turn comes, and parks the instance
	}
	for _, key := range r.keys {
		if slices.Contains(keys, key) {
			continue
		}
		if other, err := w.find(i.b, key); err != nil || other == i {
			return err == nil, err
		}
	}
	return false, nil
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

// alias gives the instance a further key.
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
	return nil
}
