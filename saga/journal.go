package saga

import (
	"strings"
)

// entry is a line of the journal.
type entry struct {
	id, instance, sequence, prev int64
	kind, ref, name, effects     string
	version                      int
	input, digest                string // see entryInput and digestOf
}

// note writes a line of the instance's journal.
func (w *work) note(i *instance, kind, ref, name, effects string) error {
	return w.noteEntry(i, entry{kind: kind, ref: ref, name: name, effects: effects})
}

func (w *work) noteEntry(i *instance, en entry) error {
	w.e.nextEntry++
	en.id, en.instance, en.sequence, en.prev = w.e.nextEntry, i.id, i.journal+1, i.journalLast
	if i.b != nil {
		en.version = i.b.version
	}
	i.journal, i.journalLast = en.sequence, en.id
	w.touch(i)
	w.entries = append(w.entries, en)
	if len(w.entries) == entryBatch {
		return w.saveEntries()
	}
	return nil
}

// entryBatch is how many lines of the journal are written by one statement.
const entryBatch = 16

const insertEntry = `
	INSERT INTO journal (id, instance, sequence, prev, kind, ref, name, effects, version, at, input, digest)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

var insertEntries = insertEntry + strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", entryBatch-1)

// saveEntries writes the lines noted so far.
func (w *work) saveEntries() error {
	values := func(args []any, en entry) []any {
		return append(args, en.id, en.instance, en.sequence, en.prev, en.kind, en.ref, en.name, en.effects, en.version, w.now, en.input, en.digest)
	}
	if len(w.entries) == entryBatch {
		args := make([]any, 0, 12*entryBatch)
		for _, en := range w.entries {
			args = values(args, en)
		}
		w.entries = w.entries[:0]
		_, err := w.tx.Exec(insertEntries, args...)
		return err
	}
	for _, en := range w.entries {
		if _, err := w.tx.Exec(insertEntry, values(nil, en)...); err != nil {
			return err
		}
	}
	w.entries = w.entries[:0]
	return nil
}
