package main

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
)

const (
	countTable = `CREATE TABLE count (id TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID`
	countEvent = `INSERT INTO count (id, n) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1`
)

// counting is a read model with one upsert for each event.
func counting(name string) *projection.Definition {
	return projection.Define(name, 1, countTable, projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[rideRequested]) error {
		_, err := tx.Exec(countEvent, e.Stream)
		return err
	}))
}

// quiet is a logger for what is none of the measured's business.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// readModels are open projections that a Watermill router carries the log to.
type readModels struct {
	all   []*projection.Projection
	stop  context.CancelFunc
	ended chan error
}

// follow opens n read models in dir and has a router carry the log to them.
func follow(ctx context.Context, dir string, log eventstore.LogReader, n int) (_ *readModels, err error) {
	m := &readModels{stop: func() {}, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			m.ended <- err
			err = m.close()
		}
	}()
	router, err := bus.NewRouter(log, &bus.RouterOptions{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	for i := range n {
		p, err := projection.Open(ctx, dir, log, counting(fmt.Sprint("counting-", i)), nil)
		if err != nil {
			return nil, err
		}
		m.all = append(m.all, p)
		if err := router.Add(p); err != nil {
			return nil, err
		}
	}
	ctx, m.stop = context.WithCancel(ctx)
	go func() { m.ended <- router.Run(ctx) }()
	return m, nil
}

// waitFor returns when every model has applied the position.
func (m *readModels) waitFor(ctx context.Context, position int64) error {
	for _, p := range m.all {
		if err := p.WaitFor(ctx, position); err != nil {
			return err
		}
	}
	return nil
}

// check waits until every model has applied the position, and says where one
// has not each event of each stream.
func (m *readModels) check(ctx context.Context, position int64, versions map[string]int64) error {
	for _, p := range m.all {
		got, err := counts(ctx, p, position)
		if err == nil {
			err = sameCounts(got, versions)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name(), err)
		}
	}
	return nil
}

func (m *readModels) close() error {
	m.stop()
	err := <-m.ended
	for _, p := range m.all {
		err = errors.Join(err, p.Close())
	}
	return err
}

// counts returns the rows, with everything at or below the position applied.
func counts(ctx context.Context, p *projection.Projection, position int64) (map[string]int64, error) {
	got := map[string]int64{}
	err := p.Read(ctx, position, func(r *projection.Reader) error {
		rows, err := r.Query(`SELECT id, n FROM count`)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // rows.Err says it
		for rows.Next() {
			var id string
			var n int64
			if err := rows.Scan(&id, &n); err != nil {
				return err
			}
			got[id] = n
		}
		return rows.Err()
	})
	return got, err
}

// sameCounts says how a read model differs from the versions of the streams.
func sameCounts(got, want map[string]int64) error {
	for stream, version := range want {
		if got[stream] != version {
			return fmt.Errorf("the read model has %d events of stream %s, which has %d", got[stream], stream, version)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("the read model has %d streams, the log %d", len(got), len(want))
	}
	return nil
}

// projecting is the whole log through the router into a read model, beside a
// loop that reads rows and has its statements prepared.
func projecting() []contender {
	settings := fmt.Sprintf("own file, WAL NORMAL, one upsert per event, %d events per transaction", bus.DefaultPageSize)
	return []contender{
		{name: "leat", kept: true, settings: settings + "; log, Watermill router, typed handler with the payload decoded, checkpoint", begin: beginProjecting},
		{name: "raw", kept: true, settings: settings + "; driver rows, prepared driver statements, checkpoint, nothing decoded", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginRawProjecting(ctx, dir, s, false)
		}},
		{name: "raw+decode", kept: true, settings: settings + "; the same, each payload decoded by encoding/json", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginRawProjecting(ctx, dir, s, true)
		}},
	}
}

type projectBout struct {
	log     *leatStore
	dir     string
	streams map[string]int64
}

func beginProjecting(ctx context.Context, dir string, s scale) (bout, error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	b := &projectBout{log: &leatStore{store}, dir: filepath.Join(dir, "models")}
	if b.streams, err = history(ctx, b.log, s); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return b, nil
}

// round builds a read model from nothing and compares it with the log.
func (b *projectBout) round(ctx context.Context) (measure, error) {
	dir, err := freshDir(b.dir)
	if err != nil {
		return measure{}, err
	}
	head, err := b.log.Head(ctx)
	if err != nil {
		return measure{}, err
	}
	began := time.Now()
	m, err := follow(ctx, dir, b.log.Store, 1)
	if err != nil {
		return measure{}, err
	}
	err = m.waitFor(ctx, head)
	took := time.Since(began)
	if err == nil {
		err = m.check(ctx, head, b.streams)
	}
	return measure{value: float64(head) / took.Seconds()}, errors.Join(err, m.close())
}

func (b *projectBout) check(ctx context.Context) error { return checkStore(ctx, b.log, b.streams) }
func (b *projectBout) close() error                    { return b.log.close() }

// freshDir makes an empty directory.
func freshDir(dir string) (string, error) {
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

type rawProjectBout struct {
	log     *rawStore
	dir     string
	decode  bool
	streams map[string]int64
}

func beginRawProjecting(ctx context.Context, dir string, s scale, decode bool) (bout, error) {
	log, err := openRaw(dir, false)
	if err != nil {
		return nil, err
	}
	b := &rawProjectBout{log: log, dir: filepath.Join(dir, "models"), decode: decode}
	if b.streams, err = history(ctx, log, s); err != nil {
		return nil, errors.Join(err, log.close())
	}
	return b, nil
}

func (b *rawProjectBout) round(ctx context.Context) (m measure, err error) {
	dir, err := freshDir(b.dir)
	if err != nil {
		return m, err
	}
	began := time.Now()
	model, err := openRawModel(filepath.Join(dir, "model.db"))
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, model.close()) }()
	n := 0
	err = b.log.rows(ctx, func(values []driver.Value) error {
		if b.decode {
			var e rideRequested
			if err := json.Unmarshal(values[8].([]byte), &e); err != nil {
				return err
			}
		}
		n++
		return model.apply(values[0].(int64), values[1].(string))
	})
	if err = errors.Join(err, model.flush()); err != nil {
		return m, err
	}
	m.value = float64(n) / time.Since(began).Seconds()
	got, err := model.counts()
	if err != nil {
		return m, err
	}
	return m, sameCounts(got, b.streams)
}

func (b *rawProjectBout) check(ctx context.Context) error { return checkStore(ctx, b.log, b.streams) }
func (b *rawProjectBout) close() error                    { return b.log.close() }

// rawModel is a read model by hand.
type rawModel struct {
	conn                          *sqlite3.SQLiteConn
	begin, commit, count, through driver.Stmt
	open                          int // events in the transaction
	position                      int64
}

func openRawModel(path string) (*rawModel, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open("file:" + path + "?_journal_mode=WAL&_synchronous=NORMAL")
	if err != nil {
		return nil, err
	}
	m := &rawModel{conn: c.(*sqlite3.SQLiteConn)}
	_, err = m.conn.Exec(countTable+"; CREATE TABLE checkpoint (position INTEGER NOT NULL) STRICT; INSERT INTO checkpoint VALUES (0)", nil)
	for text, to := range map[string]*driver.Stmt{
		"BEGIN IMMEDIATE": &m.begin, "COMMIT": &m.commit, countEvent: &m.count,
		"UPDATE checkpoint SET position = ?": &m.through,
	} {
		if err == nil {
			*to, err = m.conn.Prepare(text)
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.conn.Close())
	}
	return m, nil
}

func (m *rawModel) apply(position int64, stream string) error {
	if m.open == 0 {
		if err := do(m.begin); err != nil {
			return err
		}
	}
	m.open++
	m.position = position
	if err := do(m.count, stream); err != nil {
		return err
	}
	if m.open == bus.DefaultPageSize {
		return m.flush()
	}
	return nil
}

// flush commits what is open, with its checkpoint.
func (m *rawModel) flush() error {
	if m.open == 0 {
		return nil
	}
	m.open = 0
	if err := do(m.through, m.position); err != nil {
		return err
	}
	return do(m.commit)
}

func (m *rawModel) counts() (map[string]int64, error) {
	rows, err := m.conn.Query(`SELECT id, n FROM count`, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // it was only read
	got := map[string]int64{}
	values := make([]driver.Value, 2)
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return got, nil
		case err != nil:
			return nil, err
		}
		got[values[0].(string)] = values[1].(int64)
	}
}

func (m *rawModel) close() error {
	return errors.Join(m.begin.Close(), m.commit.Close(), m.count.Close(), m.through.Close(), m.conn.Close())
}
