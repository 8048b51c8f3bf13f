package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// reachable is the mode of what is made on the way to a subject's directory: the
// user of a server must reach its own.
const reachable = 0o711

// postgres starts a server of its own in dir, where its programs are
// installed.
func postgres() subject {
	return subject{
		name: "postgres", settings: "synchronous_commit=on, 64 connections over a Unix socket, one INSERT per event, pipelined in one transaction per call, COPY from 100 events on; versions by a unique index",
		open: openPostgres, slow: true,
		cannot: map[string]string{"append-64x1-full": "not part of the comparison"},
	}
}

type postgresStore struct {
	pool *pgxpool.Pool
	stop func() error
}

// unprivileged runs a program as the server must run: not as root.
func unprivileged(cmd *exec.Cmd, dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("%w: the server does not run as root, and there is no user postgres", errUnavailable)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Dir = dir
	return os.Chown(dir, uid, gid)
}

// openPostgres starts a server in dir, which its user must be able to reach.
func openPostgres(ctx context.Context, dir string) (instance, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%w: no PostgreSQL is installed", errUnavailable)
	}
	bin := filepath.Dir(found[len(found)-1])
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		if err := unprivileged(cmd, dir); err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	if err := run("initdb", "--version"); errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: its user cannot reach %s: give another -dir", errUnavailable, dir)
	}
	if err := run("initdb", "-D", data, "-A", "trust", "-U", "leat", "--no-locale", "-E", "UTF8"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	options := "-c listen_addresses='' -c unix_socket_directories=" + dir + " -c synchronous_commit=on -c fsync=on -c max_connections=100 -c shared_buffers=512MB -c max_wal_size=4GB"
	if err := run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", options, "start"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &postgresStore{stop: func() error {
		cmd := exec.Command(filepath.Join(bin, "pg_ctl"), "-D", data, "-m", "fast", "-w", "stop")
		return errors.Join(unprivileged(cmd, dir), cmd.Run(), os.RemoveAll(dir))
	}}
	config, err := pgxpool.ParseConfig(fmt.Sprintf("host=%s user=leat dbname=postgres pool_max_conns=64", dir))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	_, err = s.pool.Exec(ctx, `CREATE TABLE events (
		position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream TEXT NOT NULL, version BIGINT NOT NULL, type TEXT NOT NULL,
		recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(), event_id UUID NOT NULL DEFAULT gen_random_uuid(), metadata JSONB, data JSONB NOT NULL,
		UNIQUE (stream, version))`)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// copyFrom is the size of a batch from which on COPY is faster than INSERTs.
const copyFrom = 100

const insertPostgres = `INSERT INTO events (stream, version, type, metadata, data) VALUES ($1, $2, $3, $4, $5)`

func (s *postgresStore) append(ctx context.Context, stream string, version int64, events []event) error {
	if len(events) == 1 {
		_, err := s.pool.Exec(ctx, insertPostgres, stream, version+1, events[0].typ, events[0].metadata, events[0].data)
		return err
	}
	if len(events) >= copyFrom {
		_, err := s.pool.CopyFrom(ctx, pgx.Identifier{"events"}, []string{"stream", "version", "type", "metadata", "data"}, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
			return []any{stream, version + int64(i) + 1, events[i].typ, events[i].metadata, events[i].data}, nil
		}))
		return err
	}
	b := &pgx.Batch{}
	for i, e := range events {
		b.Queue(insertPostgres, stream, version+int64(i)+1, e.typ, e.metadata, e.data)
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() })
}

func (s *postgresStore) rows(ctx context.Context, fn func(place) error, query string, args ...any) error {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		raw := rows.RawValues()
		var version int64
		for _, b := range raw[1] { // binary, big-endian
			version = version<<8 | int64(b)
		}
		if err := fn(place{string(raw[0]), version}); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *postgresStore) all(ctx context.Context, fn func(place) error) error {
	return s.rows(ctx, fn, `SELECT stream, version, position, type, recorded_at, event_id, metadata, data FROM events ORDER BY position`)
}

func (s *postgresStore) load(ctx context.Context, stream string) (n int, err error) {
	err = s.rows(ctx, func(place) error { n++; return nil },
		`SELECT stream, version, position, type, recorded_at, event_id, metadata, data FROM events WHERE stream = $1 ORDER BY version`, stream)
	return n, err
}

func (s *postgresStore) close() error {
	s.pool.Close()
	return s.stop()
}
