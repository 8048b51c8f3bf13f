package sagatest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leat-go/leat/saga"
)

// TimerSet checks that the timer is set and due d from now.
func (s *Script) TimerSet(name string, d time.Duration) *Script {
	s.t.Helper()
	i := s.instance()
	var others []string
	for _, t := range s.timers() {
		if t.Key != i.Key {
			continue
		}
		if t.Name == name {
			if got := t.Due.Sub(s.clock.Now()); got != d {
				s.t.Errorf("timer %q: due in %v, want %v", name, got, d)
			}
			return s
		}
		others = append(others, fmt.Sprintf("%s in %v", t.Name, t.Due.Sub(s.clock.Now())))
	}
	s.t.Errorf("timer %q is not set; set are:%s", name, list(others))
	return s
}

// TimerNotSet checks that the timer is not set.
func (s *Script) TimerNotSet(name string) *Script {
	s.t.Helper()
	i := s.instance()
	for _, t := range s.timers() {
		if t.Key == i.Key && t.Name == name {
			s.t.Errorf("timer %q is set, due in %v", name, t.Due.Sub(s.clock.Now()))
		}
	}
	return s
}

func (s *Script) timers() []saga.PendingTimer {
	s.t.Helper()
	list, err := s.engine.Timers(s.t.Context(), maxPending)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// Running checks that the instance waits for what comes next.
func (s *Script) Running() *Script { s.t.Helper(); return s.status(saga.Running) }

// Completed checks that the instance has completed.
func (s *Script) Completed() *Script { s.t.Helper(); return s.status(saga.Completed) }

// Compensating checks that the instance's undos are not all done.
func (s *Script) Compensating() *Script { s.t.Helper(); return s.status(saga.Compensating) }

// Compensated checks that the instance's undos are done.
func (s *Script) Compensated() *Script { s.t.Helper(); return s.status(saga.Compensated) }

// Failed checks that the instance has failed.
func (s *Script) Failed() *Script { s.t.Helper(); return s.status(saga.Failed) }

// Parked checks that the instance is parked, for a reason that contains the
// text.
func (s *Script) Parked(text string) *Script {
	s.t.Helper()
	s.status(saga.Parked)
	if i := s.find(); !strings.Contains(i.Reason, text) {
		s.t.Errorf("parked because of %q, want %q", i.Reason, text)
	}
	return s
}

func (s *Script) status(want saga.Status) *Script {
	s.t.Helper()
	if i := s.find(); i.Status != want {
		s.t.Errorf("instance %q is %s, want %s%s", i.Key, i.Status, want, because(i.Reason))
	}
	return s
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// NotStarted checks that no instance has been started.
func (s *Script) NotStarted() *Script {
	s.t.Helper()
	for _, i := range s.instances() {
		s.t.Errorf("instance %q was started", i.Key)
	}
	return s
}

// State returns the state of the script's instance.
func State[S any](s *Script) S {
	s.t.Helper()
	var state S
	if err := json.Unmarshal(s.instance().State, &state); err != nil {
		s.t.Fatalf("state: %v", err)
	}
	return state
}

// instance returns the instance; one that is parked fails the test.
func (s *Script) instance() saga.Instance {
	s.t.Helper()
	i := s.find()
	if i.Status == saga.Parked {
		s.t.Fatalf("instance %q is parked: %s", i.Key, i.Reason)
	}
	return i
}

func (s *Script) find() saga.Instance {
	s.t.Helper()
	if s.key != "" {
		i, err := s.engine.Instance(s.t.Context(), s.name, s.key)
		if err != nil {
			s.t.Fatal(err)
		}
		return i
	}
	all := s.instances()
	if len(all) != 1 {
		s.t.Fatalf("there are %d instances: say which with Instance", len(all))
	}
	return all[0]
}

func (s *Script) instances() []saga.Instance {
	s.t.Helper()
	all, err := s.engine.Instances(s.t.Context(), saga.Query{})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// same compares two lists.
func (s *Script) same(what string, got, want []string) {
	s.t.Helper()
	if strings.Join(got, "\n") == strings.Join(want, "\n") {
		return
	}
	why := ""
	for _, i := range s.instances() {
		if i.Status == saga.Parked {
			why += fmt.Sprintf("\n\tinstance %q is parked: %s", i.Key, i.Reason)
		}
	}
	s.t.Errorf("%s:\ngot:%s\nwant:%s%s", what, list(got), list(want), why)
}

func commands(t testing.TB, cmds []saga.Command) []string {
	t.Helper()
	var lines []string
	for _, c := range cmds {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("command %T: %v", c, err)
		}
		lines = append(lines, c.CommandType()+" "+string(data))
	}
	return lines
}

func list(lines []string) string {
	if len(lines) == 0 {
		return "\n\t(nothing)"
	}
	return "\n\t" + strings.Join(lines, "\n\t")
}
