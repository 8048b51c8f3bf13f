package eventstore

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

const (
	// iterPage is how many events the iterators read at a time.
	iterPage = 500
	// iterAhead is how many pages of the log are read at once, ahead of the
	// loop: one reader cannot keep up with the disk's cache.
	iterAhead = 2
)

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

// EventAt returns the event at a position of the log, 1 or more. Errors are
// those of ReadLog: ErrRewound where the log ends before it.
func EventAt(ctx context.Context, r LogReader, position int64) (Recorded, error) {
	page, err := r.ReadLog(ctx, position-1, 1, Filter{})
	if err != nil {
		return Recorded{}, err
	}
	if len(page.Events) == 0 || page.Events[0].Position != position {
		return Recorded{}, fmt.Errorf("%w: the log has no event at position %d", ErrRewound, position)
	}
	return page.Events[0], nil
}

// Log iterates over the events after a position that the filter matches, to
// the head read at the start. An error ends the sequence and is its last
// element. The loop's body runs with nothing open, so it may read and append.
// After the first 500 events the next are read while the body runs, 1,000 at
// most, by goroutines that end with the loop.
func Log(ctx context.Context, r LogReader, after int64, f Filter) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		head, err := r.Head(ctx)
		if err != nil {
			yield(Recorded{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		pages := ahead{ctx: ctx, log: r, filter: f, head: head, short: !f.All()}
		defer pages.running.Wait()
		defer cancel()
		for after < head {
			page, err := pages.read(after)
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

// ahead reads pages of the log up to a head before they are asked for. What is
// at or below the head never changes, so it does not matter when it is read.
type ahead struct {
	ctx     context.Context
	log     LogReader
	filter  Filter
	head    int64
	begun   bool
	short   bool         // a page ended before its time: where they end is not known
	pages   []*pageAhead // in the order of the log
	running sync.WaitGroup
}

type pageAhead struct {
	after int64
	page  Page
	err   error
	done  chan struct{}
}

// read returns the page after a position, and has the next ones read, unless
// it is the first: many loops end there.
func (a *ahead) read(after int64) (page Page, err error) {
	if len(a.pages) > 0 && a.pages[0].after == after {
		<-a.pages[0].done
		page, err = a.pages[0].page, a.pages[0].err
		a.pages = a.pages[1:]
	} else {
		page, err = a.log.ReadLog(a.ctx, after, iterPage, a.filter)
	}
	through := page.Through.Position
	if through < min(after+iterPage, a.head) {
		a.short = true
	}
	if err == nil && a.begun {
		a.begin(through)
	}
	a.begun = true
	return page, err
}

// begin begins to read the pages after a position: the next one and, as long
// as every page has ended where it must without a filter and with events of
// ordinary size, the one after that.
func (a *ahead) begin(next int64) {
	if len(a.pages) > 0 && a.pages[0].after != next {
		a.pages = nil
	}
	next += int64(len(a.pages)) * iterPage
	for next < a.head && len(a.pages) < iterAhead && !(a.short && len(a.pages) > 0) {
		p := &pageAhead{after: next, done: make(chan struct{})}
		a.pages = append(a.pages, p)
		a.running.Go(func() {
			defer close(p.done)
			p.page, p.err = a.log.ReadLog(a.ctx, p.after, iterPage, a.filter)
		})
		next += iterPage
	}
}
