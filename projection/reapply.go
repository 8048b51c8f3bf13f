package projection

import (
	"context"
	"errors"

	"github.com/leat-go/leat/eventstore"
)

// sequel says what follows where an event that was set aside is applied: done
// where it is taken, again where it fails once more, which returns why.
type sequel struct {
	done  func(*step, *eventstore.Recorded) error
	again func(*step, *eventstore.Recorded, error) (failed, err error)
}

var (
	wasParked  = sequel{(*step).unpark, (*step).parkedAgain}
	wasGivenUp = sequel{(*step).forget, (*step).deadAgain}
)

// reapply applies an event that was set aside. It returns, as failed, why it
// stays so.
func (s *step) reapply(ctx context.Context, e *eventstore.Recorded, was sequel) (failed, err error) {
	var fault error
	undone := s.tx.Savepoint(func() error { fault = s.handle(ctx, e); return fault })
	if fault == nil {
		if undone != nil {
			return nil, s.v.wrap(undone)
		}
		return nil, was.done(s, e)
	}
	if err := s.excuse(ctx, fault); err != nil {
		return nil, err
	}
	if s.tx.Ended() {
		return nil, &failure{err: fault}
	}
	return was.again(s, e, fault)
}

// reapplyAlone is reapply in a transaction, and in another where the event ended
// that or had its commit refused.
func (v *view) reapplyAlone(ctx context.Context, e *eventstore.Recorded, was sequel) (failed, err error) {
	err = v.write(ctx, func(s *step) (err error) {
		failed, err = s.reapply(ctx, e, was)
		return err
	})
	bad, ended := errors.AsType[*failure](err)
	if !ended && !refusedCommit(err) {
		return failed, err
	}
	cause := err
	if ended {
		cause = bad.err
	}
	err = v.write(ctx, func(s *step) (err error) {
		failed, err = was.again(s, e, cause)
		return err
	})
	return failed, err
}
