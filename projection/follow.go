package projection

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// followPage is how many events are looked at in one query.
const followPage = 500

// aside is an event that a file has set aside.
type aside struct {
	position int64
	state    FailureState // Parked of one that waits, too
}

// follow has a file that served before do what was done since then about events
// that it has set aside: those that the live file has applied are applied, and
// those that were discarded are discarded. In a stream they come in order. One
// that fails ends it with a bus.BlockedError. Nothing changes of these events in
// the live file meanwhile, because nothing is settled while a file is built.
func (p *Projection) follow(ctx context.Context, v *view) error {
	live, _, err := p.pin()
	if err != nil || live == nil {
		return err
	}
	defer p.unpin(live)
	for after := int64(0); ; {
		page, err := v.asidePage(ctx, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, a := range page {
			err := inTurn(ctx, true, func() error { return p.followOne(ctx, live.view, v, a) })
			if err != nil {
				return err
			}
			after = a.position
		}
	}
}

// asidePage lists events that the file has set aside, by position.
func (v *view) asidePage(ctx context.Context, after int64) (page []aside, err error) {
	rows, err := v.db.Reader().QueryContext(ctx, `
		SELECT position, 'parked' AS state FROM leat_parked WHERE position > ?1
		UNION ALL
		SELECT position, 'dead letter' FROM leat_dead_letter WHERE position > ?1
		UNION ALL
		SELECT position, 'discarded' FROM leat_discarded WHERE position > ?1
		ORDER BY position
		LIMIT ?2`, after, followPage)
	if err != nil {
		return nil, v.wrap(err)
	}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var a aside
		err := rows.Scan(&a.position, &a.state)
		page = append(page, a)
		return err
	})
	return page, err
}

// followOne does with an event what was done with it in the live file.
func (p *Projection) followOne(ctx context.Context, live, v *view, a aside) error {
	now, err := readFailure(live.db.Reader().QueryRow, a.position)
	applied := errors.Is(err, ErrNoFailure)
	if err != nil && !applied {
		return live.wrap(err)
	}
	given := now.State == Discarded && a.state != Discarded
	if !applied && !given {
		if a.state == Parked {
			return v.write(ctx, func(s *step) error { return s.parkedAs(a.position, now) })
		}
		return nil
	}
	e, err := eventstore.EventAt(ctx, p.log, a.position)
	if err != nil {
		return fmt.Errorf("projection %s: read the log: %w", p.def.name, err)
	}
	if given {
		return v.write(ctx, func(s *step) error {
			return s.giveUp(&e, a.state, discarded{now.Attempts, now.At, now.Err, now.Reason})
		})
	}
	err = v.write(ctx, func(s *step) error {
		if err := s.handle(ctx, &e); err != nil {
			if err := s.excuse(ctx, err); err != nil {
				return err
			}
			return &failure{err: err}
		}
		if a.state == Parked {
			return s.unpark(&e)
		}
		return s.forget(&e)
	})
	failed, ended := errors.AsType[*failure](err)
	if ended {
		err = failed.err
	}
	if ended || refusedCommit(err) {
		reason := fmt.Errorf("the live file has it applied, the one before set it aside, and it fails there again: %w", err)
		return &bus.BlockedError{Position: e.Position, Err: p.def.eventError(&e, reason)}
	}
	return err
}

// parkedAs has a parked event have the attempts that it has had elsewhere, where
// it is parked too.
func (s *step) parkedAs(position int64, now Failure) error {
	if now.State != Parked && now.State != Waiting {
		return nil
	}
	_, err := s.count(`
		UPDATE leat_parked
		SET attempts = ?, since = ?, error = ?
		WHERE position = ?`, now.Attempts, now.At.UnixNano(), now.Err, position)
	return err
}
