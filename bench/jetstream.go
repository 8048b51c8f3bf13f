package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jet is NATS JetStream in this process, made to sync before it answers, which
// it does not do by itself.
func jet() subject {
	return subject{
		name: "jetstream", settings: "v2.15.2 in process, file storage, sync always; versions by the expected last sequence per subject, held in memory; one message per event",
		open: openJet, slow: true,
		cannot: map[string]string{
			"append-1x10":      "one message per event",
			"append-1x1000":    "one message per event",
			"append-64x1-full": "not part of the comparison",
		},
	}
}

type jetStore struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	last   sync.Map // the sequence of the last message, by stream: what stands for a version
}

const readyWithin = 10 * time.Second

func openJet(ctx context.Context, dir string) (instance, error) {
	ns, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	ns.Start()
	s := &jetStore{server: ns}
	if !ns.ReadyForConnections(readyWithin) {
		return nil, errors.Join(errors.New("the server is not ready"), s.close())
	}
	if s.conn, err = nats.Connect("", nats.InProcessServer(ns)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.stream, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: "LOG", Subjects: []string{"log.>"}, Storage: jetstream.FileStorage})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *jetStore) append(ctx context.Context, stream string, version int64, events []event) error {
	if len(events) != 1 {
		return errors.New("one message at a time")
	}
	m := nats.NewMsg("log." + stream)
	m.Data = events[0].data
	m.Header.Set("type", events[0].typ)
	m.Header.Set("metadata", string(events[0].metadata))
	m.Header.Set("version", strconv.FormatInt(version+1, 10))
	last := uint64(0) // of a new stream
	if v, ok := s.last.Load(stream); ok && version > 0 {
		last = v.(uint64)
	}
	ack, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last))
	if err != nil {
		return err
	}
	s.last.Store(stream, ack.Sequence)
	return nil
}

func (s *jetStore) read(ctx context.Context, filter string, fn func(place) error) (err error) {
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return err
	}
	left := uint64(0)
	for _, n := range info.State.Subjects {
		left += n
	}
	if left == 0 {
		return nil
	}
	c, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		return err
	}
	it, err := c.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	defer func() {
		it.Stop()
		err = errors.Join(err, s.stream.DeleteConsumer(ctx, c.CachedInfo().Name)) // it would stay for minutes
	}()
	for ; left > 0; left-- {
		m, err := it.Next()
		if err != nil {
			return err
		}
		version, err := strconv.ParseInt(m.Headers().Get("version"), 10, 64)
		if err != nil {
			return fmt.Errorf("version of a message: %w", err)
		}
		if err := fn(place{m.Subject()[len("log."):], version}); err != nil {
			return err
		}
	}
	return nil
}

func (s *jetStore) all(ctx context.Context, fn func(place) error) error {
	return s.read(ctx, "log.>", fn)
}

func (s *jetStore) load(ctx context.Context, stream string) (n int, err error) {
	err = s.read(ctx, "log."+stream, func(place) error { n++; return nil })
	return n, err
}

func (s *jetStore) close() error {
	if s.conn != nil {
		s.conn.Close()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return nil
}
