package saga

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// armed is a timer that an instance has in the file. With the instance's id,
// and whether its timers are held, it is the key of the timer's row.
type armed struct {
	name string
	due  int64
}

// armedAt returns where the timer of that name is in the list, -1 for nowhere.
func (i *instance) armedAt(name string) int {
	return slices.IndexFunc(i.armed, func(a armed) bool { return a.name == name })
}

// arm follows a timer that was written.
func (i *instance) arm(name string, due int64) {
	if n := i.armedAt(name); n >= 0 {
		i.armed[n].due = due
		return
	}
	i.armed = append(i.armed, armed{name, due})
}

// disarm follows a timer that was deleted.
func (i *instance) disarm(name string) {
	i.armed = slices.DeleteFunc(i.armed, func(a armed) bool { return a.name == name })
}

// armedText returns the list as the file has it.
func (i *instance) armedText() (string, error) {
	if len(i.armed) == 0 {
		return "", nil
	}
	b := make([]byte, 0, 64)
	for n, a := range i.armed {
		b = append(b, "{,"[min(n, 1)])
		if plain(a.name) {
			b = append(append(append(b, '"'), a.name...), '"', ':')
		} else {
			name, err := json.Marshal(a.name)
			if err != nil {
				return "", fmt.Errorf("encode the name of a timer: %w", err)
			}
			b = append(append(b, name...), ':')
		}
		b = strconv.AppendInt(b, a.due, 10)
	}
	return string(append(b, '}')), nil
}

// readArmed reads what armedText wrote, in the order of the names.
func readArmed(text string) (list []armed, err error) {
	if text == "" {
		return nil, nil
	}
	var due map[string]int64
	if err := json.Unmarshal([]byte(text), &due); err != nil {
		return nil, fmt.Errorf("the list of its timers cannot be read: %w: %s", err, remedy)
	}
	for name, at := range due {
		list = append(list, armed{name, at})
	}
	slices.SortFunc(list, func(a, b armed) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// plain tells whether the text is the same in JSON.
func plain(s string) bool {
	for n := range len(s) {
		if c := s[n]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// saveTimers writes the timers that were changed, and holds or releases those
// of instances that block now, or no more. The rows of the instances, which
// name them, are written after this.
func (w *work) saveTimers() error {
	for _, i := range w.wiped {
		w.touch(i) // its row names its timers
		for _, a := range i.armed {
			if err := w.deleteTimer(i, a); err != nil {
				return err
			}
		}
		i.armed = nil
	}
	for k, t := range w.timers {
		if err := w.saveTimer(k, t); err != nil {
			return err
		}
	}
	for _, i := range w.changed {
		if i.blocking() == i.blocked {
			continue
		}
		w.dueLost = true
		for _, a := range i.armed {
			if _, err := w.tx.Exec(`
				UPDATE timer
				SET held = ?
				WHERE held = ? AND due = ? AND instance = ? AND name = ?`, i.blocking(), i.blocked, a.due, i.id, a.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *work) saveTimer(k timerKey, t *timer) error {
	i := w.instances[k.instance]
	n := i.armedAt(k.name)
	if i.wiped || t == nil && n < 0 {
		return nil
	}
	w.touch(i)
	if t == nil {
		if err := w.deleteTimer(i, i.armed[n]); err != nil {
			return err
		}
		i.disarm(k.name)
		return nil
	}
	if !i.blocking() && (w.dueNew == 0 || t.due < w.dueNew) {
		w.dueNew = t.due
	}
	if n >= 0 {
		result, err := w.tx.Exec(`
			UPDATE timer
			SET due = ?, ref = ?, root = ?, hops = ?
			WHERE held = ? AND due = ? AND instance = ? AND name = ?`, t.due, t.ref, t.root, t.hops, i.blocked, i.armed[n].due, k.instance, k.name)
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if changed > 0 {
			i.arm(k.name, t.due)
			w.dueLost = true
			return nil
		}
	}
	i.arm(k.name, t.due)
	w.timerCount++
	_, err := w.tx.Exec(`
		INSERT INTO timer (held, due, instance, name, ref, root, hops)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, i.blocked, t.due, k.instance, k.name, t.ref, t.root, t.hops)
	return err
}

func (w *work) deleteTimer(i *instance, a armed) error {
	result, err := w.tx.Exec(`
		DELETE FROM timer
		WHERE held = ? AND due = ? AND instance = ? AND name = ?`, i.blocked, a.due, i.id, a.name)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	w.timerCount -= int(n)
	w.dueLost = w.dueLost || n > 0
	return nil
}

// timer returns the instance's timer of that name, nil where there is none.
func (w *work) timer(i *instance, name string) (*timer, error) {
	if i.wiped {
		return nil, nil
	}
	if t, ok := w.timers[timerKey{i.id, name}]; ok {
		return t, nil
	}
	if t, ok := w.known[timerKey{i.id, name}]; ok {
		return t, nil
	}
	n := i.armedAt(name)
	if n < 0 {
		return nil, nil
	}
	t := &timer{due: i.armed[n].due}
	err := w.tx.QueryRow(`
		SELECT ref, root, hops
		FROM timer
		WHERE held = ? AND due = ? AND instance = ? AND name = ?`, i.blocked, t.due, i.id, name).Scan(&t.ref, &t.root, &t.hops)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return t, err
}

// wipe drops the instance's timers.
func (w *work) wipe(i *instance) {
	if !i.wiped {
		i.wiped = true
		w.wiped = append(w.wiped, i)
	}
}
