package saga

import (
	"time"

	"github.com/leat-go/leat/internal/crash"
)

// Retention is looked at with the first transaction, and then with the next
// after sweepEvery instances have finished, or sweepAfter has passed by the
// engine's clock; it clears sweepPage of each saga at once.
const (
	sweepEvery = 1000
	sweepAfter = time.Minute
	sweepPage  = 2000
)

// sweepDue tells whether this transaction looks at retention.
func (w *work) sweepDue() bool {
	return w.e.sweep >= sweepEvery || w.now-w.e.swept >= int64(sweepAfter)
}

// sweep clears what was kept of instances that finished long enough ago. Their
// rows stay: they are the tombstones of their keys.
func (w *work) sweep() error {
	w.e.sweep, w.e.swept = 0, w.now
	for _, b := range w.e.bindings {
		if b.retention == 0 {
			continue
		}
		before := time.Unix(0, w.now).Add(-b.retention).UnixNano()
		ids, err := w.finishedBefore(b.id, before)
		if err != nil {
			return err
		}
		for _, id := range ids {
			w.e.cache.forget(id)
			if _, err := w.tx.Exec(`
				DELETE FROM journal
				WHERE id IN (`+entriesOf+` SELECT id FROM entries)`, id); err != nil {
				return err
			}
			if _, err := w.tx.Exec(`
				UPDATE instance
				SET state = '{}', reason = '', journal_last = 0, swept = 1
				WHERE id = ?`, id); err != nil {
				return err
			}
			crash.At(crash.SagaSwept)
		}
	}
	return nil
}

// finishedBefore returns instances that have no command left.
func (w *work) finishedBefore(saga, before int64) (ids []int64, err error) {
	rows, err := w.tx.Query(`
		SELECT id
		FROM instance
		WHERE saga = ? AND completed > 0 AND completed < ? AND swept = 0
			AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.instance = instance.id)
		ORDER BY completed
		LIMIT ?`, saga, before, sweepPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
