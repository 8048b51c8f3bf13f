package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

// Report is what Verify found.
type Report struct {
	// Events and Batches were looked at.
	Events, Batches int64
	// Head is the end of the log that was verified.
	Head eventstore.Anchor
	// Findings are what is not as it was written, MaxFindings at most. The log
	// is sound where there are none.
	Findings []eventstore.Finding
}

// OK tells whether nothing was found.
func (r Report) OK() bool { return len(r.Findings) == 0 }

// FindingOf returns what an error of this package, such as one of OpenReadOnly,
// found in dir, the directory of the store by its absolute path.
func FindingOf(dir string, damage *eventstore.CorruptError) eventstore.Finding {
	f := eventstore.Finding{File: logName, Place: damage.Where, Reason: damage.Reason, Remedy: restoreStore}
	if name, ok := strings.CutPrefix(damage.Where, dir+string(filepath.Separator)); ok {
		f.File, f.Place, _ = strings.Cut(name, ", ")
	}
	if reason, ok := strings.CutSuffix(f.Reason, ": "+remake); ok {
		f.Reason, f.Remedy = reason, remake
	}
	// An error says in its reason what to do.
	for _, remedy := range []string{": restore it from a backup", "; restore it from a backup", ": " + restoreStore} {
		f.Reason = strings.TrimSuffix(f.Reason, remedy)
	}
	return f
}

const restoreStore = "restore the store from a backup"

// verifyPage is how many rows Verify reads at a time.
const verifyPage = 1000

// Verify reads the whole log up to the head and reports every changed,
// missing, reordered or doubled event and batch ID, and what SQLite's own
// check finds. It may run beside appends, which it does not hold up, and takes
// about two seconds a million events. An error means that it could not look;
// what it finds is in the report.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	v := &verification{store: s}
	err := v.run(ctx, v.ends, v.events, v.batches, v.epochs, v.relations, v.versions, v.snapshots, v.witness, v.integrity)
	return v.report, err
}

// verifyLog is Verify without what is not the log: snapshots and witness.
func (s *Store) verifyLog(ctx context.Context) (Report, error) {
	v := &verification{store: s}
	err := v.run(ctx, v.ends, v.events, v.batches, v.epochs, v.relations, v.versions, v.integrity)
	return v.report, err
}

// run takes the steps until one has found enough. Without the first, which
// looks up to where to verify, there are no others.
func (v *verification) run(ctx context.Context, steps ...func(context.Context) error) error {
	var damage *eventstore.CorruptError
	for i, step := range steps {
		switch err := step(ctx); {
		case err == nil:
		case errors.Is(err, errEnough):
			return nil
		case errors.As(err, &damage):
			if v.add(FindingOf(v.store.dir, damage)) != nil || i == 0 {
				return nil
			}
		default:
			return err
		}
	}
	return nil
}

// errEnough ends a verification that has found more than anybody will read.
var errEnough = errors.New("enough findings")

type verification struct {
	store  *Store
	report Report
	chain  chain
	// head and batch are the ends of what is verified; theirs are the hashes
	// that the owner holds of them, nil where there is no owner.
	head, batch int64
	theirs      *tip
}

// found adds a finding about the log, at this place in it.
func (v *verification) found(place, reason string, args ...any) error {
	return v.add(eventstore.Finding{File: logName, Place: place, Reason: fmt.Sprintf(reason, args...), Remedy: restoreStore})
}

func (v *verification) add(f eventstore.Finding) error {
	v.report.Findings = append(v.report.Findings, f)
	if len(v.report.Findings) >= MaxFindings {
		return errEnough
	}
	return nil
}

const selectEnds = `
	SELECT (SELECT COALESCE(MAX(position), 0) FROM events), (SELECT COALESCE(MAX(number), 0) FROM batches),
	       (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'events'),
	       (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'batches')`

// ends finds out up to where to verify.
func (v *verification) ends(ctx context.Context) error {
	v.theirs = v.store.tip.Load()
	var position, batch int64
	err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
		return query(c, selectEnds, 4, func(r *row) error {
			v.head, v.batch, position, batch = r.int(0), r.int(1), r.int(2), r.int(3)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if v.head != position {
		if err := v.found("", "it ends at position %d, but %d was given to an event", v.head, position); err != nil {
			return err
		}
	}
	if v.batch != batch {
		if err := v.found("batches", "they end at number %d, but %d was given to one", v.batch, batch); err != nil {
			return err
		}
	}
	if v.theirs != nil {
		v.head, v.batch = v.theirs.position, v.theirs.batch
	}
	return nil
}

const selectEventsToVerify = `
	SELECT e.position, s.name, e.version, t.name, e.schema_version, e.recorded_at, e.batch, b.id, e.event_id, e.metadata, e.data, e.hash
	FROM events AS e NOT INDEXED
	LEFT JOIN streams AS s ON s.id = e.stream_id
	LEFT JOIN types AS t ON t.id = e.type_id
	LEFT JOIN batches AS b ON b.number = e.batch
	WHERE e.position > ? AND e.position <= ?
	ORDER BY e.position
	LIMIT ?`

// events follows the chain of events. After a finding it goes on from what is
// stored, so that one change gives one finding.
func (v *verification) events(ctx context.Context) error {
	var last, time int64
	var previous [32]byte
	for {
		rows := 0
		err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
			return query(c, selectEventsToVerify, 12, func(r *row) error {
				rows++
				e, hash, damage := v.event(r)
				where := fmt.Sprintf("position %d", e.Position)
				gap := e.Position != last+1
				if gap {
					damage = fmt.Sprintf("the events after position %d are missing", last)
				} else if damage == "" && v.chain.event(previous, &e) != hash {
					damage = "the event is not what was written: its hash does not follow"
				} else if damage == "" && e.Time < time {
					damage = "it was recorded before the event at the position before it"
				}
				last, time, previous = e.Position, max(time, e.Time), hash
				v.report.Events++
				if damage != "" {
					return v.found(where, "%s", damage)
				}
				return nil
			}, last, v.head, int64(verifyPage))
		})
		if err != nil {
			return err
		}
		if rows < verifyPage {
			break
		}
	}
	if last > 0 {
		v.report.Head = eventstore.Anchor{Epoch: v.store.epochs.at(last), Position: last, Hash: previous}
	}
	if v.theirs != nil && (last != v.theirs.position || previous != v.theirs.hash) {
		return v.found(fmt.Sprintf("position %d", v.theirs.position), "the log does not end as its owner wrote it")
	}
	return nil
}

func (v *verification) event(r *row) (e eventstore.Recorded, hash [32]byte, damage string) {
	e = eventstore.Recorded{Position: r.int(0), Version: r.int(2), SchemaVersion: int(r.int(4)), Time: r.int(5), Data: r.blob(10)}
	if id := r.blob(8); len(id) != len(e.ID) || copy(e.ID[:], id) != len(id) {
		r.unexpected(8)
	}
	hash = r.hash(11)
	if !r.null(9) {
		e.Meta = r.blob(9)
	}
	for i, part := range []struct {
		column int
		what   string
		to     *string
	}{{1, "stream", &e.Stream}, {3, "type", &e.Type}, {7, "batch", &e.BatchID}} {
		switch {
		case !r.null(part.column):
			*part.to = r.text(part.column)
		case i < 2 || !r.null(6):
			damage = fmt.Sprintf("its %s is missing", part.what)
		}
	}
	if r.err != nil {
		damage, r.err = r.err.Error(), nil
	}
	return e, hash, damage
}

const selectBatchesToVerify = `
	SELECT number, id, content, first, last, recorded_at, hash
	FROM batches
	WHERE number > ? AND number <= ?
	ORDER BY number
	LIMIT ?`

// batches follows the chain of batches.
func (v *verification) batches(ctx context.Context) error {
	var last int64
	var previous [32]byte
	for {
		rows := 0
		err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
			return query(c, selectBatchesToVerify, 7, func(r *row) error {
				rows++
				b := batchRow{number: r.int(0), id: r.text(1), content: r.hash(2), first: r.int(3), last: r.int(4), time: r.int(5)}
				hash := r.hash(6)
				damage := ""
				switch {
				case r.err != nil:
					damage, r.err = r.err.Error(), nil
				case b.number != last+1:
					damage = fmt.Sprintf("the batches after number %d are missing", last)
				case v.chain.batch(previous, b) != hash:
					damage = "the batch is not what was written: its hash does not follow"
				}
				last, previous = b.number, hash
				v.report.Batches++
				if damage != "" {
					return v.found(fmt.Sprintf("batch %d (%q)", b.number, b.id), "%s", damage)
				}
				return nil
			}, last, v.batch, int64(verifyPage))
		})
		if err != nil {
			return err
		}
		if rows < verifyPage {
			break
		}
	}
	if v.theirs != nil && (last != v.theirs.batch || previous != v.theirs.batchHash) {
		return v.found(fmt.Sprintf("batch %d", v.theirs.batch), "the batches do not end as their owner wrote them")
	}
	return nil
}

const (
	selectStrays = `
		SELECT 'position ' || e.position, 'its batch does not reach over it'
		FROM events AS e NOT INDEXED
		LEFT JOIN batches AS b ON b.number = e.batch
		WHERE e.position <= ? AND e.batch IS NOT NULL AND NOT (e.position BETWEEN b.first AND b.last)
		LIMIT ?`
	selectTornBatches = `
		SELECT 'batch ' || b.number, 'not all of its events are there'
		FROM batches AS b
		WHERE b.last <= ?
		  AND (SELECT COUNT(*) FROM events AS e NOT INDEXED WHERE e.position BETWEEN b.first AND b.last AND e.batch = b.number) <> b.last - b.first + 1
		LIMIT ?`
	selectOrphans = `
		SELECT 'stream "' || name || '"', 'it has no events'
		FROM streams AS s
		WHERE ? >= 0 AND NOT EXISTS (SELECT 1 FROM stream_index WHERE stream_id = s.id)
		  AND id NOT IN (SELECT stream_id FROM events NOT INDEXED WHERE position > (SELECT indexed FROM meta))
		LIMIT ?`
	// SQLite checks no CHECK of a file that is opened read-only.
	selectMisfiled = `
		SELECT 'stream "' || name || '"', 'its category is given as "' || COALESCE(category, '') || '"'
		FROM streams
		WHERE ? >= 0 AND category IS NOT substr(name, 1, instr(name || '-', '-') - 1)
		LIMIT ?`
)

// relations checks what the chains do not say by themselves.
func (v *verification) relations(ctx context.Context) error {
	if err := v.index(ctx); err != nil {
		return err
	}
	for _, text := range []string{selectStrays, selectTornBatches, selectOrphans, selectMisfiled} {
		err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
			return longQuery(ctx, c, text, 2, func(r *row) error {
				return v.found(r.text(0), "%s", r.text(1))
			}, v.head, int64(MaxFindings))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// epochs checks that the log bears out where its epochs began.
func (v *verification) epochs(ctx context.Context) error {
	last := v.store.epochs.last()
	if last.after > v.head || last.batch > v.batch {
		if err := v.found(fmt.Sprintf("epoch %d", last.number), "it (%s) began after position %d and batch %d, but the log ends at %d and %d", last.name, last.after, last.batch, v.head, v.batch); err != nil {
			return err
		}
	}
	return v.store.checkEpochs(ctx, v.found)
}

const selectSnapshots = `
	SELECT stream, fold, version, state, checksum
	FROM snapshots`

// snapshots finds those that loading passes over.
func (v *verification) snapshots(ctx context.Context) error {
	return v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
		return longQuery(ctx, c, selectSnapshots, 5, func(r *row) error {
			s, sound := readSnapshot(r)
			if sound {
				return nil
			}
			return v.add(eventstore.Finding{
				File: logName, Place: fmt.Sprintf("snapshot of stream %q by %q", s.Stream, s.Fold), Reason: "it is not what was saved",
				Remedy: "none is needed for this alone: it is not used, and is replaced by the next",
			})
		})
	})
}

// witness compares the log with the witness file.
func (v *verification) witness(ctx context.Context) error {
	err := (&witness{store: v.store}).compare(ctx)
	var damage *eventstore.CorruptError
	if errors.As(err, &damage) {
		return v.add(FindingOf(v.store.dir, damage))
	}
	return err
}

// selectThroughIndexes looks for what is nowhere, since SQLite's own check
// finds nothing wrong with an index that is empty and no index.
const selectThroughIndexes = `
	SELECT (SELECT COUNT(*) FROM events WHERE event_id = X''), (SELECT COUNT(*) FROM stream_index WHERE stream_id = 0 AND version = 0),
	       (SELECT COUNT(*) FROM batches WHERE id = ''), (SELECT COUNT(*) FROM streams WHERE name = ''),
	       (SELECT COUNT(*) FROM types WHERE name = ''), (SELECT COUNT(*) FROM epochs WHERE name = ''),
	       (SELECT COUNT(*) FROM snapshots WHERE stream = '' AND fold = '')`

// integrity has SQLite check its trees and indexes.
func (v *verification) integrity(ctx context.Context) error {
	return v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
		err := longQuery(ctx, c, fmt.Sprintf("PRAGMA integrity_check(%d)", MaxFindings), 1, func(r *row) error {
			if line := r.text(0); line != "ok" {
				return v.found("", "%s", line)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return query(c, selectThroughIndexes, 7, func(*row) error { return nil })
	})
}
