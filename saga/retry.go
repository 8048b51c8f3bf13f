package saga

import (
	"context"
	"time"
)

// retry gives failing instances and commands another try when their wait is
// over, until ctx ends.
func (e *Engine) retry(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for failures := 0; ctx.Err() == nil; {
		first, _ := e.nextRetry()
		wait := time.Hour
		if first != 0 {
			wait = time.Until(time.Unix(0, first))
		}
		timer.Reset(max(wait, 0))
		select {
		case <-ctx.Done():
			return
		case <-e.retryWake:
			continue
		case <-timer.C:
		}
		if err := e.retryDue(ctx); err != nil {
			failures++
			e.warn(ctx, "failed inputs cannot be tried again yet", err)
			pause(ctx, e.opts.backoff(failures))
			continue
		}
		failures = 0
	}
}

// nextRetry returns the wall time of the next attempt, of an instance or a
// command, 0 for none, and why it waits.
func (e *Engine) nextRetry() (int64, string) {
	first, reason := e.outbox.retryAt()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.failing {
		if first == 0 || f.until < first {
			first, reason = f.until, f.reason
		}
	}
	return first, reason
}

// retryDue tries again what is due, a transaction for each instance.
func (e *Engine) retryDue(ctx context.Context) error {
	now := time.Now().UnixNano()
	e.outbox.retryDue(now)
	var due []int64
	e.mu.Lock()
	for id, f := range e.failing {
		if f.until <= now {
			due = append(due, id)
		}
	}
	e.mu.Unlock()
	for _, id := range due {
		if err := e.retryInstance(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) retryInstance(ctx context.Context, id int64) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	return e.transact(ctx, func(w *work) error {
		i, err := w.load(id)
		if err != nil || i.nextAttempt == 0 || i.nextAttempt > w.wall {
			return err
		}
		return w.resume(i)
	})
}
