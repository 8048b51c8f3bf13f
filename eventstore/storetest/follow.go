package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/leat-go/leat/eventstore"
)

var following = chapter{"following", []clause{
	{says: "Wait returns at once where the head is past", check: waitPast},
	{says: "an append wakes everyone who waits", check: waitWakes},
	{says: "two who wait for one another take turns without losing a wake", check: waitTurns},
	{says: "a cancelled wait returns the context's error", check: waitCancelled},
	{says: "a batch without events wakes nobody", check: waitEmpty},
}}

func waitPast(f *fixture) {
	f.append(to("s", events(3)...))
	for after := range int64(3) {
		head, err := f.Wait(f.patient(), after)
		if err != nil || head != 3 {
			f.Fatalf("wait after %d: got %d, %v, want 3", after, head, err)
		}
	}
}

func waitWakes(f *fixture) {
	const waiters = 20
	type answer struct {
		head int64
		err  error
	}
	ctx := f.patient()
	for round := range 10 {
		head := f.head()
		ready, answers := make(chan struct{}, waiters), make(chan answer, waiters)
		for range waiters {
			go func() {
				ready <- struct{}{}
				head, err := f.Wait(ctx, head)
				answers <- answer{head, err}
			}()
		}
		for range waiters {
			<-ready
		}
		c := f.append(to("s", events(2)...))
		for range waiters {
			if a := <-answers; a.err != nil || a.head != c.Last {
				f.Fatalf("round %d: a waiter got head %d, %v, want %d", round, a.head, a.err, c.Last)
			}
		}
	}
}

func waitTurns(f *fixture) {
	const turns = 100
	ctx := f.patient()
	done := make(chan error, 2)
	player := func(mine int64) error {
		for position := mine; position <= turns; position += 2 {
			if position > 1 {
				head, err := f.Wait(ctx, position-2)
				if err != nil || head != position-1 {
					return fmt.Errorf("turn %d: got head %d, %w", position, head, err)
				}
			}
			if _, err := f.Append(ctx, to("ball", events(1)...)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, mine := range []int64{1, 2} {
		go func() { done <- player(mine) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			f.Fatal(err)
		}
	}
	equal(f.T, "head", f.head(), turns)
}

func waitCancelled(f *fixture) {
	f.append(to("s", events(1)...))
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan error, 2)
	for _, after := range []int64{1, 100} {
		go func() {
			_, err := f.Wait(ctx, after)
			done <- err
		}()
	}
	cancel()
	for range 2 {
		wantErr(f.T, "a cancelled wait", <-done, context.Canceled)
	}
	late, stop := context.WithTimeout(f.Context(), time.Millisecond)
	defer stop()
	_, err := f.Wait(late, 1)
	wantErr(f.T, "a wait past its deadline", err, context.DeadlineExceeded)
}

func waitEmpty(f *fixture) {
	f.append(to("s", events(1)...))
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan error, 1)
	go func() {
		head, err := f.Wait(ctx, 1)
		if err == nil {
			err = fmt.Errorf("woken with head %d", head)
		}
		done <- err
	}()
	f.append(eventstore.Batch{ID: "nothing"})
	cancel()
	wantErr(f.T, "a waiter at the head", <-done, context.Canceled)
}

var anchoring = chapter{"anchors", []clause{
	{says: "the anchor of the start is the zero value", check: anchorStart},
	{says: "an anchor lies on its log however far that has grown", check: anchorStays},
	{says: "a position past the head is rewound", check: anchorPast},
	{says: "an anchor with another hash or epoch is rewound", check: anchorChanged},
	{says: "an anchor of another log is rewound", check: anchorElsewhere},
	{says: "an anchor names the epoch in which its event was written", check: anchorEpoch},
}}

func anchorStart(f *fixture) {
	equal(f.T, "anchor", f.anchor(0), eventstore.Anchor{})
	f.append(to("s", events(1)...))
	equal(f.T, "anchor", f.anchor(0), eventstore.Anchor{})
	equal(f.T, "check of the zero anchor", eventstore.CheckAnchor(f.Context(), f, eventstore.Anchor{}), nil)
	_, err := f.Anchor(f.Context(), -1)
	wantErr(f.T, "anchor of -1", err, eventstore.ErrInvalid)
}

func anchorStays(f *fixture) {
	var anchors []eventstore.Anchor
	seen := map[[32]byte]bool{}
	for range 10 {
		c := f.append(to("s", event("t", "the same"), event("t", "the same")))
		for p := c.First; p <= c.Last; p++ {
			a := f.anchor(p)
			equal(f.T, "position", a.Position, p)
			equal(f.T, "the hash was another position's", seen[a.Hash], false)
			seen[a.Hash] = true
			anchors = append(anchors, a)
		}
	}
	for _, a := range anchors {
		equal(f.T, "anchor", f.anchor(a.Position), a)
		equal(f.T, "check", eventstore.CheckAnchor(f.Context(), f, a), nil)
		equal(f.T, "epoch", a.Epoch, anchors[0].Epoch)
	}
}

func anchorPast(f *fixture) {
	for range 2 {
		_, err := f.Anchor(f.Context(), f.head()+1)
		wantErr(f.T, "anchor past the head", err, eventstore.ErrRewound)
		err = eventstore.CheckAnchor(f.Context(), f, eventstore.Anchor{Position: f.head() + 1})
		wantErr(f.T, "check of an anchor past the head", err, eventstore.ErrRewound)
		f.append(to("s", events(1)...))
	}
}

func anchorChanged(f *fixture) {
	f.append(to("s", events(3)...))
	a := f.anchor(2)
	hash, epoch, position := a, a, a
	hash.Hash[31] ^= 1
	epoch.Epoch += "x"
	position.Position++
	for what, bad := range map[string]eventstore.Anchor{"hash": hash, "epoch": epoch, "position": position} {
		wantErr(f.T, "an anchor with another "+what, eventstore.CheckAnchor(f.Context(), f, bad), eventstore.ErrRewound)
	}
}

func anchorElsewhere(f *fixture) {
	other := newFixture(f.T, f.engine, f.options)
	for _, s := range []*fixture{f, other} {
		s.append(withID("same", to("s", events(3)...)))
	}
	wantErr(f.T, "an anchor of another log", eventstore.CheckAnchor(f.Context(), f, other.anchor(3)), eventstore.ErrRewound)
}

// anchorEpoch is for engines that tell their epochs; how an engine comes to
// more than one it tests itself.
func anchorEpoch(f *fixture) {
	log, ok := f.Store.(eventstore.Epochs)
	if !ok {
		f.Skip("this engine has one epoch")
	}
	for range 2 {
		f.append(to("s", events(3)...))
		epochs := log.Epochs()
		equal(f.T, "the first epoch begins after", epochs[0].After, 0)
		for p := int64(1); p <= f.head(); p++ {
			want := ""
			for _, e := range epochs {
				if e.After < p {
					want = e.Name
				}
			}
			equal(f.T, fmt.Sprintf("epoch of position %d", p), f.anchor(p).Epoch, want)
			page := f.page(p-1, 1, eventstore.Filter{})
			equal(f.T, "the anchor of a page", page.Through, f.anchor(p))
		}
		f.reopen()
		log = f.Store.(eventstore.Epochs)
	}
}
