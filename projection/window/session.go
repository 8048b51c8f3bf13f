package window

// span is a session as its row has it.
type span struct {
	start, end int64
	final      bool
}

// putSession puts an item into its session, which it may begin, extend to either
// side, or make of two.
//
// Sessions of a key never overlap, so the two that start last before the end of
// what the item alone would be are the only ones it can touch. One that is final
// cannot change: an item that touches it is too late, and so is one that would
// begin a session that has ended.
func (w *Window[T]) putSession(p *put[T]) (missed int64, err error) {
	touched, err := w.touched(p)
	if err != nil {
		return 0, err
	}
	start, end := p.at, p.at+w.size
	late := len(touched) == 0 && p.closed != none && end <= p.closed
	for _, s := range touched {
		late = late || s.final
		start, end = min(start, s.start), max(end, s.end)
	}
	if late {
		return 1, nil
	}
	if err := w.keep(p); err != nil {
		return 0, err
	}
	merged, err := w.gather(p, touched, start)
	if err != nil {
		return 0, err
	}
	if err := w.upsertRow(p, start, end); err != nil {
		return 0, err
	}
	if len(w.any)+len(w.ordered) == 0 {
		return 0, nil
	}
	return 0, w.fold(p, start, end, merged)
}

// touched returns the sessions less than a gap from the item, by start.
func (w *Window[T]) touched(p *put[T]) (all []span, err error) {
	err = each(p.tx, func(scan func(...any) error) error {
		var s span
		if err := scan(&s.start, &s.end, &s.final); err != nil || s.end <= p.at {
			return err
		}
		all = append([]span{s}, all...)
		return nil
	}, w.selectNear, p.key, p.at+w.size)
	return all, err
}

// gather moves the sessions to one row, that of start, and returns the folds
// they had; nil where nothing moves.
func (w *Window[T]) gather(p *put[T], touched []span, start int64) (merged [][][]byte, err error) {
	if len(touched) == 0 || len(touched) == 1 && touched[0].start == start {
		return nil, nil
	}
	for _, s := range touched {
		if len(w.any)+len(w.ordered) > 0 {
			states, err := w.states(p, s.start)
			if err != nil {
				return nil, err
			}
			merged = append(merged, states)
		}
		if s.start == start {
			continue
		}
		if _, err := p.tx.Exec(w.moveRow, start, p.key, s.start); err != nil {
			return nil, err
		}
		if _, err := p.tx.Exec(w.deleteRow, p.key, s.start); err != nil {
			return nil, err
		}
		for _, c := range w.buckets {
			if _, err := p.tx.Exec(c.moveBuckets, start, p.key, s.start); err != nil {
				return nil, err
			}
			if _, err := p.tx.Exec(c.deleteBuckets, p.key, s.start); err != nil {
				return nil, err
			}
		}
	}
	return merged, nil
}
