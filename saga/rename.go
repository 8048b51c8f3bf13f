package saga

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// Was says that the saga had these names before, the oldest first. The first
// program that opens sagas.db with it takes over the instances of the former
// name with all that belongs to them, and the place in the log. sagas.db keeps
// the names that were given up: a program that has a saga of such a name, and
// does not say Was of the present one, is refused at its start, even where
// every instance has finished. So they are free for no other saga.
//
// The ids of commands are made of the name that the saga began with. Steps that
// are repeated because an older sagas.db was restored have the ids that they
// had, also where it was renamed in between.
//
// Keep Was until no store is left that knows the former name, and no backup that
// you would restore.
func Was(names ...string) func(*Definition) {
	return func(d *Definition) {
		for _, name := range names {
			if err := eventstore.CheckName("former saga name", name); err != nil {
				d.fail("%w", err)
			}
			if name == d.name {
				d.fail("Was(%q): it is the name that it has", name)
			}
			d.was = append(d.was, name)
		}
	}
}

// TimerWas says that the timer of this name had another one before: those that
// are set, and those that wait for a parked instance, go on under the new name.
// It changes nothing in a program that still has the former one.
func TimerWas(name string, former ...string) func(*Definition) {
	return func(d *Definition) {
		for _, f := range former {
			rename(d, d.timerWas, "TimerWas", name, f)
		}
	}
}

// CommandWas says that the command type C had another name before: commands
// that are not done, undos and refusals that wait go on as C, of which their
// JSON must be one. They keep their ids, so that what was carried out under
// the former name is not carried out again.
//
// An event type is not renamed: the log holds what was recorded. Keep the old
// event beside the new one, and bind both.
func CommandWas[C Command](former ...string) func(*Definition) {
	return func(d *Definition) {
		name, err := commandType(reflect.TypeFor[C]())
		if err != nil {
			d.fail("%w", err)
			return
		}
		for _, f := range former {
			rename(d, d.commandWas, "CommandWas", name, f)
		}
	}
}

func rename(d *Definition, was map[string]string, what, name, former string) {
	switch err := eventstore.CheckName(what, former); {
	case err != nil:
		d.fail("%w", err)
	case former == name:
		d.fail("%s: %q is the name that it has", what, name)
	case was[former] != "":
		d.fail("%s: %q became both %q and %q", what, former, was[former], name)
	default:
		was[former] = name
	}
}

// checkNames says what is wrong between the names of the table and former ones.
func (d *Definition) checkNames() {
	for former, name := range d.timerWas {
		if d.timers[name] == nil {
			d.fail("TimerWas(%q): there is no saga.Timer of that name", name)
		}
		if d.timers[former] != nil {
			d.fail("TimerWas: %q is still the name of a timer", former)
		}
	}
}

// timerNow and commandNow return the present names of what is stored.
func (d *Definition) timerNow(name string) string   { return now(d.timerWas, name) }
func (d *Definition) commandNow(name string) string { return now(d.commandWas, name) }

func now(was map[string]string, name string) string {
	if present, ok := was[name]; ok {
		return present
	}
	return name
}

// names returns the present name and then the former ones.
func (d *Definition) names() []string { return append([]string{d.name}, d.was...) }

// identity returns what the ids of a saga's commands are made of where it
// begins now.
func (d *Definition) identity() string {
	if len(d.was) > 0 {
		return d.was[0]
	}
	return d.name
}

// takeOver has the rows of a saga's former names, and what is stored under
// former names of its timers and commands, go under the present ones. What
// stands in the way was found by check.
func takeOver(tx *sqlite.Tx, d *Definition) error {
	for _, former := range d.was {
		if err := takeOverSaga(tx, d.name, former); err != nil {
			return fmt.Errorf("take over saga %q from %q: %w", d.name, former, err)
		}
	}
	if _, err := tx.Exec(`
		DELETE FROM former
		WHERE name = ?`, d.name); err != nil { // it has the name of before again
		return fmt.Errorf("take over saga %q: %w", d.name, err)
	}
	for former, name := range d.timerWas {
		for _, statement := range []string{`
			UPDATE timer
			SET name = ?1
			WHERE name = ?2 AND instance IN (SELECT i.id FROM instance i JOIN saga s ON s.id = i.saga WHERE s.name = ?3)`, `
			UPDATE instance
			SET timers = (SELECT json_group_object(iif(key = ?2, ?1, key), value) FROM json_each(timers))
			WHERE saga = (SELECT id FROM saga WHERE name = ?3) AND timers <> '' AND EXISTS (SELECT 1 FROM json_each(timers) WHERE key = ?2)`, `
			UPDATE waiting
			SET data = json_set(data, '$.name', ?1)
			WHERE kind = 'timer' AND json_extract(data, '$.name') = ?2
				AND instance IN (SELECT i.id FROM instance i JOIN saga s ON s.id = i.saga WHERE s.name = ?3)`} {
			if _, err := tx.Exec(statement, name, former, d.name); err != nil {
				return fmt.Errorf("rename timer %q of saga %q to %q: %w", former, d.name, name, err)
			}
		}
	}
	for former, name := range d.commandWas {
		if err := renameCommands(tx, d.name, former, name); err != nil {
			return fmt.Errorf("rename command %q of saga %q to %q: %w", former, d.name, name, err)
		}
	}
	return nil
}

// holds tells of a saga's row how much there is that is not seen again when the
// log is read from an earlier place.
const holds = `
	SELECT s.id, (SELECT COUNT(*) FROM instance i WHERE i.saga = s.id)
	FROM saga s
	WHERE s.name = ?`

func takeOverSaga(tx *sqlite.Tx, name, former string) error {
	var id, other int64
	var n, others int
	err := tx.QueryRow(holds, former).Scan(&id, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.QueryRow(holds, name).Scan(&other, &others); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	gone := other // of a program that did not say Was: nothing has started there
	if others > 0 {
		gone, id = id, other
	}
	for _, statement := range []string{`
		DELETE FROM early
		WHERE saga = ?1`, `
		DELETE FROM saga
		WHERE id = ?1`, `
		UPDATE former
		SET saga = ?2
		WHERE saga = ?1`} {
		if _, err := tx.Exec(statement, gone, id); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`
		UPDATE saga
		SET name = ?
		WHERE id = ?`, name, id)
	return err
}

// giveUp keeps the former names of a saga.
func giveUp(tx *sqlite.Tx, d *Definition, saga int64) error {
	for _, former := range d.was {
		if _, err := tx.Exec(`
			INSERT INTO former (name, saga)
			VALUES (?, ?)
			ON CONFLICT DO NOTHING`, former, saga); err != nil {
			return fmt.Errorf("keep the former name %q of saga %q: %w", former, d.name, err)
		}
	}
	return nil
}

func renameCommands(tx *sqlite.Tx, saga, former, name string) error {
	for _, statement := range []string{`
		UPDATE outbox
		SET type = ?1
		WHERE type = ?2 AND instance IN (SELECT i.id FROM instance i JOIN saga s ON s.id = i.saga WHERE s.name = ?3)`, `
		UPDATE waiting
		SET data = json_set(data, '$.type', ?1)
		WHERE kind = 'rejection' AND json_extract(data, '$.type') = ?2
			AND instance IN (SELECT i.id FROM instance i JOIN saga s ON s.id = i.saga WHERE s.name = ?3)`} {
		if _, err := tx.Exec(statement, name, former, saga); err != nil {
			return err
		}
	}
	stacks, err := stacksWith(tx, saga, former)
	if err != nil {
		return err
	}
	for id, text := range stacks {
		var stack []undo
		if err := json.Unmarshal([]byte(text), &stack); err != nil {
			return fmt.Errorf("decode the undos of instance %d: %w", id, err)
		}
		for n := range stack {
			if stack[n].Type == former {
				stack[n].Type = name
			}
		}
		i := &instance{}
		if err := i.setStack(stack); err != nil {
			return err
		}
		if _, err := tx.Exec(`
			UPDATE instance
			SET undo = ?
			WHERE id = ?`, i.undos, id); err != nil {
			return err
		}
	}
	return nil
}

// stacksWith returns the undo stacks that name the command type.
func stacksWith(tx *sqlite.Tx, saga, typ string) (stacks map[int64]string, err error) {
	rows, err := tx.Query(`
		SELECT i.id, i.undo
		FROM instance i
		JOIN saga s ON s.id = i.saga
		WHERE s.name = ?1 AND i.undo <> '' AND EXISTS (SELECT 1 FROM json_each(i.undo) u WHERE json_extract(u.value, '$.type') = ?2)`, saga, typ)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	stacks = map[int64]string{}
	for rows.Next() {
		var id int64
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, err
		}
		stacks[id] = text
	}
	return stacks, rows.Err()
}
