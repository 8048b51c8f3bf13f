package projection

import (
	"context"
	"fmt"
	"sort"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/background"
)

// pull reads the next page of the log, cut off at to, and applies it. It
// returns how many events it held.
func (p *Projection) pull(ctx context.Context, log eventstore.LogReader, v *view, limit int, to eventstore.Anchor) (int, error) {
	page, err := p.readPage(ctx, log, v.through.Position, limit, to)
	if err != nil {
		return 0, err
	}
	return len(page.Events), v.apply(ctx, page)
}

// readPage reads the page after a position, cut off at to, which lies past it.
func (p *Projection) readPage(ctx context.Context, log eventstore.LogReader, after int64, limit int, to eventstore.Anchor) (bus.Page, error) {
	read, err := log.ReadLog(ctx, after, limit, p.def.filter())
	if err != nil {
		return bus.Page{}, fmt.Errorf("projection %s: read the log: %w", p.def.name, err)
	}
	page := bus.Page{After: after, Events: read.Events, Through: read.Through}
	if page.Through.Position > to.Position {
		page.Through = to
		page.Events = page.Events[:sort.Search(len(page.Events), func(i int) bool { return page.Events[i].Position > to.Position })]
	}
	if page.Through.Position <= after {
		return bus.Page{}, fmt.Errorf("projection %s: %w: the log ends at position %d, and is to be applied through %d", p.def.name, eventstore.ErrRewound, after, to.Position)
	}
	return page, nil
}

// fold applies the log to v through to, in pages of RebuildPage. While one is
// applied the next is read, and decoded for as long as that takes: see ahead.
// report is called after every page with how many events it held. A fold that
// gives way to others is one of background.Do, so is its reading ahead, and
// both take turns with each other and with other such folds; where there is one
// turn alone it does not read ahead. Its log is to be a wayGiver, or to read
// from one.
func (p *Projection) fold(ctx context.Context, log eventstore.LogReader, v *view, to eventstore.Anchor, givesWay bool, report func(events int) error) error {
	if to.Position <= v.through.Position {
		return nil
	}
	if givesWay && background.Turns() == 1 {
		return p.foldAlone(ctx, log, v, to, report)
	}
	ctx, cancel := context.WithCancel(ctx)
	pages := p.foresee(ctx, log, v.through.Position, to, givesWay)
	defer pages.end()
	defer cancel()
	for v.through.Position < to.Position {
		page, err := pages.take()
		if err != nil {
			return err
		}
		v.ahead, _ = page.Prepared.(*ahead)
		err = inTurn(ctx, givesWay, func() error { return v.apply(ctx, page) })
		v.ahead = nil
		if err != nil {
			return err
		}
		if err := report(len(page.Events)); err != nil {
			return err
		}
	}
	return nil
}

// foldAlone is a fold that gives way and does not read ahead: passing the only
// turn from thread to thread costs more than it gains.
func (p *Projection) foldAlone(ctx context.Context, log eventstore.LogReader, v *view, to eventstore.Anchor, report func(events int) error) error {
	for v.through.Position < to.Position {
		page, err := p.readPage(ctx, log, v.through.Position, RebuildPage, to)
		if err != nil {
			return err
		}
		if err := background.Turn(ctx, func() error { return v.apply(ctx, page) }); err != nil {
			return err
		}
		if err := report(len(page.Events)); err != nil {
			return err
		}
	}
	return nil
}

func inTurn(ctx context.Context, givesWay bool, fn func() error) error {
	if !givesWay {
		return fn()
	}
	return background.Turn(ctx, fn)
}

// wayGiver is a log whose pages are read in turns of background.Turn. A reader
// that waits for others, as that of a shared log, must not do so in its turn.
type wayGiver struct{ eventstore.LogReader }

func (g wayGiver) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (page eventstore.Page, err error) {
	err = background.Turn(ctx, func() error {
		page, err = g.LogReader.ReadLog(ctx, after, limit, f)
		return err
	})
	return page, err
}

// foreseen reads pages one ahead of who takes them. It is used by one
// goroutine.
type foreseen struct {
	to    int64
	turn  chan struct{}      // closed when the page that is under way is wanted
	turns chan chan struct{} // of the pages to read
	pages chan foreseenPage
	ended chan struct{}
}

type foreseenPage struct {
	page bus.Page
	err  error
}

func (p *Projection) foresee(ctx context.Context, log eventstore.LogReader, after int64, to eventstore.Anchor, givesWay bool) *foreseen {
	f := &foreseen{to: to.Position, turns: make(chan chan struct{}, 1), pages: make(chan foreseenPage, 1), ended: make(chan struct{})}
	read := func() error {
		for turn := range f.turns {
			page, err := p.readPage(ctx, log, after, RebuildPage, to)
			if err == nil {
				after = page.Through.Position
				err = inTurn(ctx, givesWay, func() error {
					page.Prepared = p.Prepare(page, turn)
					return nil
				})
			}
			f.pages <- foreseenPage{page, err}
		}
		return nil // an error goes with its page
	}
	go func() {
		defer close(f.ended)
		if givesWay {
			_ = background.Do(read)
		} else {
			_ = read()
		}
	}()
	f.begin()
	return f
}

func (f *foreseen) begin() {
	f.turn = make(chan struct{})
	f.turns <- f.turn
}

// take returns the next page and has the one after it read, where there is one.
func (f *foreseen) take() (bus.Page, error) {
	close(f.turn)
	f.turn = nil
	next := <-f.pages
	if next.err == nil && next.page.Through.Position < f.to {
		f.begin()
	}
	return next.page, next.err
}

// end waits until nothing is read any more.
func (f *foreseen) end() {
	if f.turn != nil {
		close(f.turn)
	}
	close(f.turns)
	<-f.ended
}
