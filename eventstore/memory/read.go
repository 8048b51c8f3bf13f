package memory

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/leat-go/leat/eventstore"
)

// head returns the last position.
func (s *Store) head() int64 { return int64(len(s.events)) }

// hash returns the chain hash at a position: that of the start is zero.
func (s *Store) hash(position int64) [32]byte {
	if position == 0 {
		return [32]byte{}
	}
	return s.events[position-1].hash
}

func (s *Store) anchor(position int64) eventstore.Anchor {
	if position == 0 {
		return eventstore.Anchor{}
	}
	return eventstore.Anchor{Epoch: s.epoch, Position: position, Hash: s.hash(position)}
}

// ReadStream implements eventstore.StreamReader.
func (s *Store) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Recorded, error) {
	if err := eventstore.CheckPage(limit); err != nil {
		return nil, err
	}
	if from < 1 {
		return nil, &eventstore.InvalidError{Field: "version", Value: fmt.Sprint(from), Reason: "a stream is read from version 1 or later"}
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	positions := s.streams[stream]
	if from > int64(len(positions)) {
		return nil, nil
	}
	positions = positions[from-1:]
	positions = positions[:min(limit, len(positions))]
	events := make([]eventstore.Recorded, len(positions))
	for i, p := range positions {
		events[i] = s.events[p-1].Recorded
	}
	return events, nil
}

// ReadLog implements eventstore.LogReader. It returns ErrRewound for an after
// past the head.
func (s *Store) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	if err := eventstore.CheckPage(limit); err != nil {
		return eventstore.Page{}, err
	}
	if err := f.Check(); err != nil {
		return eventstore.Page{}, err
	}
	if err := s.enter(ctx); err != nil {
		return eventstore.Page{}, err
	}
	defer s.mu.Unlock()
	if err := s.checkPosition(after); err != nil {
		return eventstore.Page{}, err
	}
	var events []eventstore.Recorded
	through := after
	for through < s.head() && len(events) < limit && through-after < eventstore.MaxScan {
		e := s.events[through].Recorded
		through++
		if f.Match(e.Stream, e.Type) {
			events = append(events, e)
		}
	}
	return eventstore.Page{Events: events, Through: s.anchor(through)}, nil
}

func (s *Store) checkPosition(position int64) error {
	switch {
	case position < 0:
		return &eventstore.InvalidError{Field: "position", Value: fmt.Sprint(position), Reason: "is 0 or more"}
	case position > s.head():
		return fmt.Errorf("%w: position %d is past the head %d", eventstore.ErrRewound, position, s.head())
	}
	return nil
}

// Head implements eventstore.LogReader.
func (s *Store) Head(ctx context.Context) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.head(), nil
}

// Wait implements eventstore.LogReader. It returns ErrClosed when the store is
// closed meanwhile.
func (s *Store) Wait(ctx context.Context, after int64) (int64, error) {
	for {
		if err := s.enter(ctx); err != nil {
			return 0, err
		}
		head, grown := s.head(), s.grown
		s.mu.Unlock()
		if head > after {
			return head, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Anchor implements eventstore.LogReader.
func (s *Store) Anchor(ctx context.Context, position int64) (eventstore.Anchor, error) {
	if err := s.enter(ctx); err != nil {
		return eventstore.Anchor{}, err
	}
	defer s.mu.Unlock()
	if err := s.checkPosition(position); err != nil {
		return eventstore.Anchor{}, err
	}
	return s.anchor(position), nil
}

// link returns the chain hash after r: SHA-256 over the one before it and all
// that is stored of r.
func link(before [32]byte, r eventstore.Recorded) [32]byte {
	h := sha256.New()
	h.Write(before[:])
	for _, n := range []int64{r.Position, r.Version, int64(r.SchemaVersion), r.Time} {
		number(h, n)
	}
	for _, f := range [][]byte{[]byte(r.Stream), []byte(r.Type), r.ID[:], r.Data, r.Meta, []byte(r.BatchID)} {
		number(h, int64(len(f)))
		h.Write(f)
	}
	return [32]byte(h.Sum(nil))
}

func number(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}
