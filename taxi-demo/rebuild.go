package main

import (
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
)

// rebuildAll rebuilds these read models. One of them that turns out to be
// damaged is removed, once, and built from the log.
func rebuildAll(ctx context.Context, t terminal, dir string, names []string, asJSON bool) error {
	replaced := map[string]string{}
	lines := []rebuiltLine{}
	for {
		err := withStore(ctx, t, dir, func(ctx context.Context, a *app) error {
			for _, name := range names[len(lines):] {
				l, err := a.rebuild(ctx, t, name)
				if err != nil {
					return err
				}
				l.Replaced = replaced[name]
				lines = append(lines, l)
				if !asJSON {
					t.rebuilt(l)
				}
			}
			return nil
		})
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
		fmt.Fprintf(t.out, "%-12s %s, built from the log, serves now; %s, which differs, is kept until the next rebuild: 'taxi-demo verify' tells whether the log is sound\n",
			"", cell(l.Serves), cell(l.Kept))
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

// rebuild brings a read model to the head, since a rebuild ends where the live
// one is and nothing else moves it, and rebuilds it.
func (a *app) rebuild(ctx context.Context, t terminal, name string) (rebuiltLine, error) {
	head, err := a.store.Head(ctx)
	if err != nil {
		return rebuiltLine{}, err
	}
	p, err := a.models[name].Projection()
	if err != nil {
		return rebuiltLine{}, err
	}
	if err := a.feed(ctx, p, head); err != nil {
		return rebuiltLine{}, fmt.Errorf("rebuild %s: bring it from position %d to the end of the log at %d: %w", name, p.Position(), head, err)
	}
	var said time.Time
	res, err := p.Rebuild(ctx, func(p projection.Progress) {
		if time.Since(said) < t.interval() {
			return
		}
		said = time.Now()
		t.status(fmt.Sprintf("%-12s %s %d/%d · %.0f/s · %s left", name, bar(p.Done, p.Total), p.Done, p.Total, p.Rate, p.ETA.Round(time.Second)))
	})
	t.clear()
	if err != nil {
		return rebuiltLine{}, fmt.Errorf("rebuild %s: %w", name, err)
	}
	l := rebuiltLine{
		Name: name, Events: res.Events, Position: res.Position, Seconds: res.Seconds,
		Identical: res.Identical, Difference: res.Difference,
	}
	if !l.Identical {
		err = l.files(a.store.Dir())
	}
	return l, err
}
