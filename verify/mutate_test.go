package verify_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
)

// Layout of SQLite's files.
const (
	pageSize    = 4096
	walHeader   = 32
	frameHeader = 24
	frameSize   = frameHeader + pageSize
)

// mutation is damage to one store. It changes s, and then, where there are
// statements, a database by them.
type mutation struct {
	what       string
	file       string
	s          snap
	statements []string
	// older says that log and witness were put back together: what the witness
	// remembers is all that can be asked for.
	older bool
}

// mutate damages a copy of the image in one way.
func mutate(rnd *rand.Rand, i *image, others []*image) *mutation {
	m := &mutation{s: snap{}}
	for name, data := range i.now {
		m.s[name] = bytes.Clone(data)
	}
	m.file = pick(rnd, m.s)
	kinds := []func(*rand.Rand, *mutation, *image) string{
		flip, flip, flip, flipSome, flipSome, zero, scramble, truncate, extend, swapPages, copyPage, olderPage, olderPage,
		frames, frames, header, remove, olderFile, edit, edit, edit, editSchema,
	}
	for m.what == "" {
		if rnd.IntN(30) == 0 {
			m.what = foreignFile(rnd, m, others)
			continue
		}
		m.what = kinds[rnd.IntN(len(kinds))](rnd, m, i)
	}
	return m
}

func (m *mutation) String() string {
	return m.file + ": " + m.what + " " + strings.Join(m.statements, "; ")
}

// pick chooses a file, the log's more often than others.
func pick(rnd *rand.Rand, s snap) string {
	names := s.names()
	var all []string
	for _, name := range names {
		n := 1
		switch name {
		case "log.db", "log.db-wal":
			n = 8
		case "witness":
			n = 3
		case "lock":
			n = 0
		}
		if len(s[name]) == 0 {
			n = 0
		}
		all = append(all, slices.Repeat([]string{name}, n)...)
	}
	return all[rnd.IntN(len(all))]
}

// place chooses a byte, those of headers more often than others.
func place(rnd *rand.Rand, file string, n int) int {
	switch {
	case rnd.IntN(10) == 0:
		return rnd.IntN(min(n, 100))
	case strings.HasSuffix(file, "-wal") && rnd.IntN(4) == 0 && n > walHeader+frameSize:
		frame := rnd.IntN((n - walHeader) / frameSize)
		return walHeader + frame*frameSize + rnd.IntN(frameHeader)
	}
	return rnd.IntN(n)
}

func flip(rnd *rand.Rand, m *mutation, _ *image) string {
	data := m.s[m.file]
	at, bit := place(rnd, m.file, len(data)), rnd.IntN(8)
	data[at] ^= 1 << bit
	return fmt.Sprintf("bit %d of byte %d flipped", bit, at)
}

func flipSome(rnd *rand.Rand, m *mutation, _ *image) string {
	data := m.s[m.file]
	n := 2 + rnd.IntN(7)
	for range n {
		data[place(rnd, m.file, len(data))] = byte(rnd.Uint32())
	}
	return fmt.Sprintf("%d bytes set", n)
}

// span chooses a range.
func span(rnd *rand.Rand, n int) (from, to int) {
	from = rnd.IntN(n)
	return from, min(n, from+1+rnd.IntN(1<<(1+rnd.IntN(13))))
}

func zero(rnd *rand.Rand, m *mutation, _ *image) string {
	from, to := span(rnd, len(m.s[m.file]))
	clear(m.s[m.file][from:to])
	return fmt.Sprintf("bytes %d to %d zeroed", from, to)
}

func scramble(rnd *rand.Rand, m *mutation, _ *image) string {
	from, to := span(rnd, len(m.s[m.file]))
	for i := from; i < to; i++ {
		m.s[m.file][i] = byte(rnd.Uint32())
	}
	return fmt.Sprintf("bytes %d to %d scrambled", from, to)
}

func truncate(rnd *rand.Rand, m *mutation, _ *image) string {
	to := rnd.IntN(len(m.s[m.file]))
	if rnd.IntN(2) == 0 {
		to -= to % pageSize
	}
	m.s[m.file] = m.s[m.file][:to]
	return fmt.Sprintf("truncated to %d bytes", to)
}

func extend(rnd *rand.Rand, m *mutation, _ *image) string {
	more := make([]byte, 1+rnd.IntN(3*pageSize))
	if rnd.IntN(2) == 0 {
		for i := range more {
			more[i] = byte(rnd.Uint32())
		}
	}
	m.s[m.file] = append(m.s[m.file], more...)
	return fmt.Sprintf("extended by %d bytes", len(more))
}

// page returns the n-th page of a database or the n-th frame's of a WAL.
func page(file string, data []byte, n int) []byte {
	if strings.HasSuffix(file, "-wal") {
		return data[walHeader+n*frameSize+frameHeader:][:pageSize]
	}
	return data[n*pageSize:][:pageSize]
}

func pages(file string, data []byte) int {
	if strings.HasSuffix(file, "-wal") {
		return max(0, (len(data)-walHeader)/frameSize)
	}
	return len(data) / pageSize
}

func swapPages(rnd *rand.Rand, m *mutation, _ *image) string {
	data := m.s[m.file]
	n := pages(m.file, data)
	if n < 2 {
		return ""
	}
	a, b := rnd.IntN(n), rnd.IntN(n)
	x, y := page(m.file, data, a), page(m.file, data, b)
	if bytes.Equal(x, y) {
		return ""
	}
	keep := bytes.Clone(x)
	copy(x, y)
	copy(y, keep)
	return fmt.Sprintf("pages %d and %d swapped", a, b)
}

func copyPage(rnd *rand.Rand, m *mutation, _ *image) string {
	data := m.s[m.file]
	n := pages(m.file, data)
	if n < 2 {
		return ""
	}
	a, b := rnd.IntN(n), rnd.IntN(n)
	if bytes.Equal(page(m.file, data, a), page(m.file, data, b)) {
		return ""
	}
	copy(page(m.file, data, a), page(m.file, data, b))
	return fmt.Sprintf("page %d copied over page %d", b, a)
}

// olderPage puts a page, or some, back to what they were: a lost write.
func olderPage(rnd *rand.Rand, m *mutation, i *image) string {
	data, old := m.s[m.file], i.older[rnd.IntN(len(i.older))][m.file]
	var differ []int
	for n := range min(pages(m.file, data), pages(m.file, old)) {
		if !bytes.Equal(page(m.file, data, n), page(m.file, old, n)) {
			differ = append(differ, n)
		}
	}
	if len(differ) == 0 {
		return ""
	}
	rnd.Shuffle(len(differ), func(a, b int) { differ[a], differ[b] = differ[b], differ[a] })
	differ = differ[:1+rnd.IntN(min(3, len(differ)))]
	for _, n := range differ {
		copy(page(m.file, data, n), page(m.file, old, n))
	}
	return fmt.Sprintf("pages %v put back", differ)
}

// frames drops, doubles or reorders frames of a WAL.
func frames(rnd *rand.Rand, m *mutation, _ *image) string {
	if !strings.HasSuffix(m.file, "-wal") {
		return ""
	}
	data := m.s[m.file]
	n := pages(m.file, data)
	if n < 2 {
		return ""
	}
	frame := func(i int) []byte { return data[walHeader+i*frameSize:][:frameSize] }
	a, b := rnd.IntN(n), rnd.IntN(n)
	switch rnd.IntN(5) {
	case 0:
		m.s[m.file] = data[:walHeader+a*frameSize]
		return fmt.Sprintf("the frames from %d of %d on dropped", a, n)
	case 1:
		m.s[m.file] = slices.Delete(data, walHeader+a*frameSize, walHeader+(a+1)*frameSize)
		return fmt.Sprintf("frame %d of %d dropped", a, n)
	case 2:
		m.s[m.file] = append(data[:walHeader+n*frameSize], frame(a)...)
		return fmt.Sprintf("frame %d of %d repeated at the end", a, n)
	case 3:
		// A commit mark where none was: frames are whole, the transaction is not.
		binary.BigEndian.PutUint32(frame(a)[4:], uint32(1+rnd.IntN(n)))
		return fmt.Sprintf("frame %d of %d says that it commits", a, n)
	}
	keep := bytes.Clone(frame(a))
	copy(frame(a), frame(b))
	copy(frame(b), keep)
	return fmt.Sprintf("frames %d and %d of %d exchanged", a, b, n)
}

// header changes a number in the header of a database or a WAL.
func header(rnd *rand.Rand, m *mutation, _ *image) string {
	data := m.s[m.file]
	size := 100
	if strings.HasSuffix(m.file, "-wal") {
		size = walHeader
	}
	if m.file == "witness" || strings.HasSuffix(m.file, ".live") || len(data) < size {
		return ""
	}
	at := 4 * rnd.IntN(size/4)
	old := binary.BigEndian.Uint32(data[at:])
	now := []uint32{0, 1, 2, old + 1, old - 1, 1 << 31, rnd.Uint32()}[rnd.IntN(7)]
	binary.BigEndian.PutUint32(data[at:], now)
	return fmt.Sprintf("the number at byte %d of the header set from %d to %d", at, old, now)
}

func remove(_ *rand.Rand, m *mutation, _ *image) string {
	delete(m.s, m.file)
	return "removed"
}

// olderFile puts a file back, or several that belong together.
func olderFile(rnd *rand.Rand, m *mutation, i *image) string {
	old := i.older[rnd.IntN(len(i.older))]
	back := func(names ...string) {
		for _, name := range names {
			if data, ok := old[name]; ok {
				m.s[name] = bytes.Clone(data)
			} else {
				delete(m.s, name)
			}
		}
	}
	switch rnd.IntN(4) {
	case 0:
		m.file = "log.db, log.db-wal"
		back("log.db", "log.db-wal")
	case 1:
		m.file, m.older = "log.db, log.db-wal, witness", true
		back("log.db", "log.db-wal", "witness")
	case 2:
		if old["log.db-wal"] == nil {
			return ""
		}
		m.file = "log.db-wal"
		back(m.file)
	default:
		if old[m.file] == nil || bytes.Equal(old[m.file], m.s[m.file]) {
			return ""
		}
		back(m.file)
	}
	return "put back to an older state"
}

// foreignFile puts the file of another store in the place of one.
func foreignFile(rnd *rand.Rand, m *mutation, others []*image) string {
	o := others[rnd.IntN(len(others))]
	if o.now[m.file] == nil || bytes.Equal(o.now[m.file], m.s[m.file]) {
		return ""
	}
	m.s[m.file] = bytes.Clone(o.now[m.file])
	return "replaced by that of the store " + o.name
}

// edits change rows by SQL; %d is a random number of a small table.
var edits = map[string][]string{
	"log.db": {
		"UPDATE events SET data = randomblob(20) WHERE position = %d", "UPDATE events SET data = data || X'20' WHERE position = %d",
		"UPDATE events SET metadata = NULL WHERE position = %d", "UPDATE events SET metadata = X'7B7D' WHERE position = %d",
		"UPDATE events SET recorded_at = recorded_at + 1 WHERE position = %d", "UPDATE events SET schema_version = schema_version + 1 WHERE position = %d",
		"UPDATE events SET type_id = 1 + type_id %% 3 WHERE position = %d", "UPDATE events SET batch = batch + 1 WHERE position = %d",
		"UPDATE events SET batch = NULL WHERE position = %d", "UPDATE events SET event_id = randomblob(16) WHERE position = %d",
		"UPDATE events SET hash = randomblob(32) WHERE position = %d", "UPDATE events SET stream_id = stream_id + 1000 WHERE position = %d",
		"UPDATE events SET version = version + 1000 WHERE position = %d",
		"DELETE FROM events WHERE position = %d", "DELETE FROM events WHERE position > %d",
		"DELETE FROM events WHERE position > %[1]d; UPDATE sqlite_sequence SET seq = %[1]d WHERE name = 'events'",
		"UPDATE batches SET id = id || 'x' WHERE number = %d", "UPDATE batches SET content = randomblob(32) WHERE number = %d",
		"UPDATE batches SET first = first + 1 WHERE number = %d", "UPDATE batches SET last = last + 1 WHERE number = %d",
		"UPDATE batches SET recorded_at = 0 WHERE number = %d", "DELETE FROM batches WHERE number = %d", "DELETE FROM batches WHERE number > %d",
		"DELETE FROM batches WHERE number > %[1]d; UPDATE sqlite_sequence SET seq = %[1]d WHERE name = 'batches'",
		"UPDATE streams SET name = name || 'x' WHERE id = %d", "DELETE FROM streams WHERE id = %d", "INSERT INTO streams VALUES (1000 + %d, 'ghost-1', 'ghost')",
		"PRAGMA ignore_check_constraints = 1; UPDATE streams SET category = 'x' WHERE id = %d", "UPDATE streams SET id = id + 1000 WHERE id = %d",
		"UPDATE types SET name = name || 'x' WHERE id = 1 + %d %% 3", "DELETE FROM types WHERE id = 1 + %d %% 3",
		"UPDATE sqlite_sequence SET seq = %d", "DELETE FROM sqlite_sequence WHERE %d", "UPDATE meta SET store_id = store_id || '%d'", "DELETE FROM meta WHERE %d > -1",
		"DELETE FROM epochs WHERE %d > -1", "UPDATE epochs SET name = name || '%d'", "UPDATE epochs SET began_after = began_after + 1 + %d",
		"UPDATE snapshots SET state = randomblob(%d)", "UPDATE snapshots SET version = version + 1 + %d", "UPDATE snapshots SET stream = 'ride-%d'", "DELETE FROM snapshots WHERE %d > -1",
		"PRAGMA application_id = %d", "PRAGMA user_version = %d", "REINDEX; VACUUM; SELECT %d",
	},
	"sagas.db": {
		"DELETE FROM instance WHERE id = 1 + %d %% 9", "DELETE FROM timer WHERE instance = %d", "UPDATE saga SET position = position + 1 + %d", "DELETE FROM journal WHERE id = %d",
		"DELETE FROM saga WHERE %d > -1", "UPDATE outbox SET instance = instance + 1 + %d",
	},
	"consumers.db": {"UPDATE checkpoint SET position = position + 1 + %d", "UPDATE checkpoint SET hash = randomblob(32) WHERE %d > -1", "DELETE FROM checkpoint WHERE %d > -1"},
}

func edit(rnd *rand.Rand, m *mutation, _ *image) string {
	list := edits[m.file]
	if list == nil {
		return ""
	}
	n := rnd.IntN(40)
	if rnd.IntN(3) == 0 {
		n = 60 + rnd.IntN(60)
	}
	m.statements = strings.Split(fmt.Sprintf(list[rnd.IntN(len(list))], n), "; ")
	return "edited"
}

var schemaEdits = []string{
	"DROP TABLE IF EXISTS snapshots", "DROP TRIGGER IF EXISTS events_are_not_deleted", "CREATE TRIGGER more AFTER INSERT ON events BEGIN DELETE FROM snapshots; END",
	"CREATE VIEW more AS SELECT 1", "CREATE TABLE more (x)", "CREATE INDEX more ON events (type_id)", "ALTER TABLE streams ADD COLUMN more TEXT",
	"PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (position > 0)', '') WHERE name = 'events'",
	"PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_batches_1'",
	"PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = rootpage + 1 WHERE name = 'batches'",
	"PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'types') WHERE name = 'streams'",
	"ALTER TABLE batches RENAME TO other",
}

func editSchema(rnd *rand.Rand, m *mutation, _ *image) string {
	if m.file != "log.db" {
		return ""
	}
	m.statements = append([]string{"-- schema"}, strings.Split(schemaEdits[rnd.IntN(len(schemaEdits))], "; ")...)
	return "edited"
}

// apply makes dir what the mutation left. A database that SQL cannot edit is
// left as it is.
func (m *mutation) apply(dir string) error {
	if err := m.s.put(dir); err != nil {
		return err
	}
	if len(m.statements) == 0 {
		return nil
	}
	path := filepath.Join(dir, m.file)
	if m.statements[0] == "-- schema" {
		return editRaw(path, m.statements[1:]...)
	}
	return change(path, m.statements...)
}
