package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// MaxDifferences is how many instances with a difference one Replay reports.
const MaxDifferences = 1000

// Difference is the first effect of an instance that present code would not
// have had.
type Difference struct {
	Saga, Key string
	// Sequence is that of the journal's entry; Kind, Name and Ref say which
	// input it is, as those of an Entry.
	Sequence        int64
	Kind, Name, Ref string
	// Version is the state version of the code that ran then.
	Version int
	// Recorded is the effect in the journal, and Now that of present code, as
	// in an Entry, a command with its JSON; "nothing" where one has none. A #
	// stands before a checksum of what differs where the names do not.
	Recorded, Now string
}

func (d Difference) String() string {
	return fmt.Sprintf("saga %q key %q, entry %d, %s %q (%s): recorded %s, now %s", d.Saga, d.Key, d.Sequence, d.Kind, d.Name, d.Ref, d.Recorded, d.Now)
}

// Replayed is what a Replay has looked at.
type Replayed struct {
	// Instances and Entries are those whose handlers were run again.
	Instances, Entries int
	// Old are instances with an entry of a program that did not journal enough
	// of timers and rejections: what follows it was not run.
	Old int
	// Differences are at most one for each instance, in the order in which those
	// began; nil where nothing differs. Cut says that there are more.
	Differences []Difference
	Cut         bool
}

// Replay runs the handlers of definitions once more on all inputs that the
// journal of dir/sagas.db has for their instances, from the first on, and
// compares what they ask for: commands and undos with their payload, timers
// with their time, aliases and endings. Where everything is the same, and one
// version of the state made it all, the states are compared as well. Nothing is
// sent or stored.
//
// It takes the inputs of the journal as they are. So it does not tell of
// events that present code would handle in addition, nor of inputs that failed
// and were skipped, nor of what an operator did. Instances whose journal was
// removed (see Retention) and sagas that are not among the definitions are
// passed over.
//
// dir is a private copy, which nobody else has open: a file of an older program
// is migrated. log is the log that belongs to it. An error means that it could
// not look.
func Replay(ctx context.Context, dir string, log eventstore.LogReader, defs []*Definition) (r Replayed, err error) {
	if err := checkDefinitions(defs); err != nil {
		return r, err
	}
	sub, err := fs.Sub(migrations, "migration")
	if err != nil {
		return r, fmt.Errorf("saga: %w", err)
	}
	db, err := sqlite.OpenFormat(ctx, filepath.Join(dir, FileName), sqlite.Format{ApplicationID: applicationID, Migrations: sub}, sqlite.Options{Durability: sqlite.Normal})
	if err != nil {
		return r, fmt.Errorf("saga: replay: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p := &replay{ctx: ctx, db: db, log: log, byName: map[string]*Definition{}, Replayed: &r}
	for _, d := range defs {
		for _, name := range d.names() {
			p.byName[name] = d
		}
	}
	if err := p.all(); err != nil {
		return r, fmt.Errorf("saga: replay: %w", err)
	}
	return r, nil
}

type replay struct {
	ctx    context.Context
	db     *sqlite.DB
	log    eventstore.LogReader
	byName map[string]*Definition
	*Replayed
}

// replayPage is how many instances are read at once.
const replayPage = 500

// replayed is an instance that is run again.
type replayed struct {
	d       *Definition
	id      int64
	saga    string // the name under which it is stored
	begun   string // the name that the saga began with
	silent  int64  // up to there it was the past when the saga began
	key     string
	state   []byte
	stored  string // the state in the file
	version int    // of that
	keys    map[string]bool
	sent    map[string]rejection // commands by the fingerprint in their ids
	same    bool                 // every entry was of the present version
}

func (p *replay) all() error {
	for after := int64(0); ; {
		var page []*replayed
		err := each(p.ctx, p.db.Reader(), func(rows *sql.Rows) error {
			i := &replayed{state: []byte("{}"), keys: map[string]bool{}, sent: map[string]rejection{}, same: true}
			err := rows.Scan(&i.id, &i.saga, &i.begun, &i.silent, &i.key, &i.stored, &i.version)
			i.d = p.byName[i.saga]
			page = append(page, i)
			return err
		}, `
			SELECT i.id, s.name, s.identity, s.silent, i.key, i.state, i.state_version
			FROM instance i
			JOIN saga s ON s.id = i.saga
			WHERE i.id > ? AND i.stray = 0 AND i.swept = 0
			ORDER BY i.id
			LIMIT ?`, after, replayPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, i := range page {
			after = i.id
			if i.d == nil {
				continue
			}
			d, err := p.instance(i)
			if err != nil {
				return fmt.Errorf("saga %q key %q: %w", i.saga, i.key, err)
			}
			if d == nil {
				continue
			}
			if len(p.Differences) == MaxDifferences {
				p.Cut = true
				return nil
			}
			p.Differences = append(p.Differences, *d)
		}
	}
}

// recorded is an entry of the journal, as it is run again.
type recorded struct {
	entry
	at int64
	in entryInput
}

func (p *replay) instance(i *replayed) (*Difference, error) {
	i.keys[i.key] = true
	if err := each(p.ctx, p.db.Reader(), func(rows *sql.Rows) error {
		var key string
		err := rows.Scan(&key)
		i.keys[key] = true
		return err
	}, `
		SELECT key
		FROM alias
		WHERE instance = ?`, i.id); err != nil {
		return nil, err
	}
	var entries []recorded
	if err := each(p.ctx, p.db.Reader(), func(rows *sql.Rows) error {
		var en recorded
		if err := rows.Scan(&en.sequence, &en.kind, &en.ref, &en.name, &en.effects, &en.version, &en.at, &en.input, &en.digest); err != nil {
			return err
		}
		var err error
		en.in, err = readEntryInput(en.input)
		entries = append(entries, en)
		return err
	}, entriesOf+`
		SELECT sequence, kind, ref, name, effects, version, at, input, digest
		FROM journal
		WHERE id IN (SELECT id FROM entries)
		ORDER BY id`, i.id); err != nil {
		return nil, err
	}
	p.Instances++
	for n := range entries {
		en := &entries[n]
		if !en.ran() {
			continue
		}
		if en.kind != kindEvent && en.input == "" {
			p.Old++
			return nil, nil
		}
		p.Entries++
		d, err := p.entry(i, en)
		if d != nil || err != nil {
			return d, err
		}
	}
	return i.states(entries), nil
}

// ran tells whether a handler made the entry.
func (en *recorded) ran() bool {
	switch en.kind {
	case kindEvent, kindTimer, kindRejection:
		return len(en.effects) < len(passedOver) || en.effects[:len(passedOver)] != passedOver
	}
	return false
}

// passedOver begins what the journal says of an input that reached no handler.
const passedOver = "passed over: "

// states compares what the instance has come to, both as present code writes
// it: a field that was added is not there in what was stored, and has its zero
// value.
func (i *replayed) states(entries []recorded) *Difference {
	if !i.same || i.version != i.d.version || len(entries) == 0 {
		return nil
	}
	var was, is any
	if json.Unmarshal([]byte(i.present()), &was) == nil && json.Unmarshal(i.state, &is) == nil && reflect.DeepEqual(was, is) {
		return nil
	}
	last := entries[len(entries)-1]
	return i.difference(&last, "the state "+i.stored, "the state "+string(i.state))
}

// present returns the state in the file as present code would write it; as it
// is where that cannot read it, or would forget a part.
func (i *replayed) present() (text string) {
	text = i.stored
	defer func() {
		if recover() != nil { // a type that reads itself, and not this
			text = i.stored
		}
	}()
	forgets := false
	i.d.shape.forgets(i.stored, func(string) { forgets = true })
	if forgets {
		return text
	}
	value, err := i.d.decodeState([]byte(i.stored), i.version)
	if err != nil {
		return text
	}
	if raw, err := json.Marshal(value); err == nil {
		text = string(raw)
	}
	return text
}

func (i *replayed) difference(en *recorded, was, is string) *Difference {
	return &Difference{Saga: i.saga, Key: i.key, Sequence: en.sequence, Kind: en.kind, Name: en.name, Ref: en.ref, Version: en.version, Recorded: was, Now: is}
}
