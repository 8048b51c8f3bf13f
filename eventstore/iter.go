package eventstore

import (
	"context"
	"iter"
)

// iterPage is how many events the iterators read at a time.
const iterPage = 500

// Stream iterates over a stream from version from (1 or more) to its end. An
// error ends the sequence and is its last element. The loop's body runs with
// nothing open, so it may read and append.
func Stream(ctx context.Context, r StreamReader, stream string, from int64) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		for {
			events, err := r.ReadStream(ctx, stream, from, iterPage)
			if err != nil {
				yield(Recorded{}, err)
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if len(events) < iterPage {
				return
			}
			from = events[len(events)-1].Version + 1
		}
	}
}

// Log iterates over the events after a position that the filter matches, to
// the head read at the start. An error ends the sequence and is its last
// element. The loop's body runs with nothing open, so it may read and append.
func Log(ctx context.Context, r LogReader, after int64, f Filter) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		head, err := r.Head(ctx)
		if err != nil {
			yield(Recorded{}, err)
			return
		}
		for after < head {
			page, err := r.ReadLog(ctx, after, iterPage, f)
			if err != nil {
				yield(Recorded{}, err)
				return
			}
			for _, e := range page.Events {
				if e.Position > head || !yield(e, nil) {
					return
				}
			}
			after = page.Through.Position
		}
	}
}
