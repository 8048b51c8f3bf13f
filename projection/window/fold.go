package window

import (
	"bytes"
	"strings"
)

// eventSchema keeps the items of windows that are not final.
const eventSchema = `
-- Items of windows that are not final, for folds in the order of event time.
CREATE TABLE {w}_event (
  key      TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  position INTEGER NOT NULL,
  item     TEXT    NOT NULL,
  PRIMARY KEY (key, at, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX {w}_event_at ON {w}_event (at);
`

// folds are the columns that Go folds: those in any order first.
func (w *Window[T]) folds() []*column[T] {
	return append(append([]*column[T](nil), w.any...), w.ordered...)
}

func (w *Window[T]) buildFolds(s *statements) {
	var names, sets []string
	for _, c := range w.folds() {
		names = append(names, c.column())
		sets = append(sets, c.column()+" = ?")
	}
	if len(names) == 0 {
		return
	}
	s.selectFolds = "SELECT " + strings.Join(names, ", ") + w.fill(" FROM {w} WHERE key = ? AND starts = ?")
	s.updateFolds = w.fill("UPDATE {w} SET ") + strings.Join(sets, ", ") + " WHERE key = ? AND starts = ?"
	s.insertEvent = w.fill(`
		INSERT INTO {w}_event (key, at, position, item)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (key, at, position) DO UPDATE SET item = item || char(10) || excluded.item`)
	s.laterEvent = w.fill(`
		SELECT 1
		FROM {w}_event
		WHERE key = ? AND at < ? AND (at, position) > (?, ?)
		LIMIT 1`)
	s.selectEvents = w.fill(`
		SELECT at, position, item
		FROM {w}_event
		WHERE key = ? AND at < ? AND (at, position) > (?, ?)
		ORDER BY at, position
		LIMIT ?`)
	s.forgetEvents = w.fill(`DELETE FROM {w}_event WHERE at < ?`)
	s.forgetSession = w.fill(`DELETE FROM {w}_event WHERE key = ? AND at >= ? AND at < ?`)
}

// keep stores the item for the folds that need it in order, and has them see
// what JSON keeps of it. Items of one event, key and time share a row, a line
// each: JSON as it is encoded has no line breaks.
func (w *Window[T]) keep(p *put[T]) (err error) {
	if len(w.ordered) == 0 {
		return nil
	}
	if p.json, err = encode(p.item); err != nil {
		return err
	}
	_, err = p.tx.Exec(w.insertEvent, p.key, p.at, p.r.Position, string(p.json))
	return err
}

// fold adds the item to the folds of one window. merged, where not nil, are the
// folds of the sessions that became this one, each as states returns them.
func (w *Window[T]) fold(p *put[T], start, end int64, merged [][][]byte) error {
	states, err := w.states(p, start)
	if err != nil {
		return err
	}
	for i, c := range w.any {
		for j, m := range merged {
			if j == 0 {
				states[i] = m[i]
			} else if states[i], err = c.join(states[i], m[i]); err != nil {
				return err
			}
		}
		if states[i], err = c.add(states[i], p.item); err != nil {
			return err
		}
	}
	if len(w.ordered) > 0 {
		if err := w.foldOrdered(p, states[len(w.any):], start, end, len(merged) > 0); err != nil {
			return err
		}
	}
	args := make([]any, 0, len(states)+2)
	for _, s := range states {
		args = append(args, string(s))
	}
	_, err = p.tx.Exec(w.updateFolds, append(args, p.key, start)...)
	return err
}

// states reads the folds of a window, nil for one that is new.
func (w *Window[T]) states(p *put[T], start int64) ([][]byte, error) {
	states := make([][]byte, len(w.any)+len(w.ordered))
	dest := make([]any, len(states))
	for i := range states {
		dest[i] = &states[i]
	}
	err := each(p.tx, func(scan func(...any) error) error { return scan(dest...) }, w.selectFolds, p.key, start)
	return states, err
}

// foldOrdered brings the folds in order up to date: by the item alone where it
// is the last of the window, else from the first item.
func (w *Window[T]) foldOrdered(p *put[T], states [][]byte, start, end int64, anew bool) error {
	if !anew {
		err := each(p.tx, func(func(...any) error) error { anew = true; return nil }, w.laterEvent, p.key, end, p.at, p.r.Position)
		if err != nil {
			return err
		}
	}
	if !anew {
		return w.addOrdered(states, p.json)
	}
	clear(states)
	type kept struct {
		at, position int64
		item         []byte
	}
	at, position := start, int64(0)
	for {
		var items []kept
		err := each(p.tx, func(scan func(...any) error) error {
			var k kept
			err := scan(&k.at, &k.position, &k.item)
			items = append(items, k)
			return err
		}, w.selectEvents, p.key, end, at, position, foldPage)
		if err != nil {
			return err
		}
		for _, k := range items {
			for item := range bytes.SplitSeq(k.item, []byte{'\n'}) {
				if err := w.addOrdered(states, item); err != nil {
					return err
				}
			}
			at, position = k.at, k.position
		}
		if len(items) < foldPage {
			return nil
		}
	}
}

func (w *Window[T]) addOrdered(states [][]byte, item []byte) error {
	for i, c := range w.ordered {
		it, err := decode[T](item) // of its own for each: a fold may change it
		if err != nil {
			return err
		}
		if states[i], err = c.add(states[i], it); err != nil {
			return err
		}
	}
	return nil
}
