package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// rebuildAll rebuilds these read models, all from one reading of the log. One
// that turns out to be damaged is removed, once, and built from the log.
func rebuildAll(ctx context.Context, t terminal, dir string, names []string, asJSON bool) error {
	replaced := map[string]string{}
	done := map[string]rebuiltLine{}
	for {
		left := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := done[name]; return ok })
		err := withStore(ctx, t, dir, func(ctx context.Context, a *app) error { return a.rebuild(ctx, t, left, done) })
		if err == nil {
			break
		}
		damaged, ok := errors.AsType[*projection.DamagedError](err)
		if !ok || !slices.Contains(names, damaged.Projection) || replaced[damaged.Projection] != "" {
			return err
		}
		if err := removeModel(dir, damaged.Projection); err != nil {
			return err
		}
		replaced[damaged.Projection] = fmt.Sprintf("%s: %v", damaged.File, damaged.Err)
	}
	lines := []rebuiltLine{}
	for _, name := range names {
		l := done[name]
		l.Replaced = replaced[name]
		lines = append(lines, l)
		if !asJSON {
			t.rebuilt(l)
		}
	}
	if asJSON {
		if err := t.json(lines); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(lines, func(l rebuiltLine) bool { return !l.Identical }) {
		return errCheckFailed
	}
	return nil
}

// removeModel removes a read model from a store that nobody owns.
func removeModel(dir, name string) (err error) {
	release, err := sqlite.Hold(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return projection.Remove(dir, name)
}

// rebuilt prints the outcome of one rebuild.
func (t terminal) rebuilt(l rebuiltLine) {
	if l.Replaced != "" {
		fmt.Fprintf(t.out, "%-12s was damaged (%s): removed, with its dead letters and parked events, and built from the log\n", l.Name, cell(l.Replaced))
	}
	verdict := "identical"
	if !l.Identical {
		verdict = "DIFFERENT: " + cell(l.Difference)
	}
	fmt.Fprintf(t.out, "%-12s %d events to position %d in %.2f s, %s\n", l.Name, l.Events, l.Position, l.Seconds, verdict)
	if !l.Identical {
		for _, d := range l.Differences[min(1, len(l.Differences)):] {
			fmt.Fprintf(t.out, "%-12s %s\n", "", cell(d))
		}
		fmt.Fprintf(t.out, "%-12s %s, built from the log, serves now; %s, which differs, is kept until the next rebuild: 'taxi-demo verify' tells whether the log is sound, 'taxi-demo projections back %s' has the other serve\n",
			"", cell(l.Serves), cell(l.Kept), l.Name)
	}
}

// files reads which file of a read model serves, and which did before.
func (l *rebuiltLine) files(dir string) error {
	path := filepath.Join(dir, "views", l.Name+".live")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var pointer struct{ Live, Previous string }
	if err := json.Unmarshal(data, &pointer); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l.Serves, l.Kept = "views/"+pointer.Live, "views/"+pointer.Previous
	return nil
}

// rebuild brings read models to the head, since a rebuild ends where the live
// one is and nothing else moves it, and rebuilds them together. done gets those
// that were; the error is that of the first that was not.
func (a *app) rebuild(ctx context.Context, t terminal, names []string, done map[string]rebuiltLine) error {
	head, err := a.store.Head(ctx)
	if err != nil {
		return err
	}
	models := make([]*serverless.Model, len(names))
	for i, name := range names {
		models[i] = a.models[name]
		p, err := models[i].Projection()
		if err != nil {
			return err
		}
		if err := a.feed(ctx, p, head); err != nil {
			return fmt.Errorf("rebuild %s: bring it from position %d to the end of the log at %d: %w", name, p.Position(), head, err)
		}
	}
	outcomes, err := serverless.RebuildAll(ctx, models, t.rebuilding())
	t.clear()
	for _, o := range outcomes {
		if o.Err != nil {
			err = cmp.Or(err, fmt.Errorf("rebuild %s: %w", o.Projection, o.Err))
		}
		if o.Err != nil && o.Position == 0 {
			continue // else the new file serves, and the disk failed after
		}
		l := rebuiltLine{
			Name: o.Projection, Events: o.Events, Position: o.Position, Seconds: o.Seconds,
			Identical: o.Identical, Difference: o.Difference,
		}
		for _, d := range o.Differences {
			l.Differences = append(l.Differences, d.String())
		}
		if !l.Identical {
			if err := l.files(a.store.Dir()); err != nil {
				return err
			}
		}
		done[l.Name] = l
	}
	return err
}

// rebuilding returns what shows the progress of several rebuilds as one.
func (t terminal) rebuilding() func(name string, p projection.Progress) {
	var said time.Time
	all := map[string]projection.Progress{}
	return func(name string, p projection.Progress) {
		if all[name] = p; time.Since(said) < t.interval() {
			return
		}
		said = time.Now()
		var sum projection.Progress
		for _, p := range all {
			sum.Done, sum.Total, sum.Rate, sum.ETA = sum.Done+p.Done, sum.Total+p.Total, sum.Rate+p.Rate, max(sum.ETA, p.ETA)
		}
		if len(all) > 1 {
			name = fmt.Sprintf("%d models", len(all))
		}
		t.status(fmt.Sprintf("%-12s %s %d/%d · %.0f/s · %s left", name, bar(sum.Done, sum.Total), sum.Done, sum.Total, sum.Rate, sum.ETA.Round(time.Second)))
	}
}
