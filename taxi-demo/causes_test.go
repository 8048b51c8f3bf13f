package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// TestACauseIsSaidOnce: a disk in trouble stops everybody, and is one trouble.
func TestACauseIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := terminal{err: &out}.logger()
		full := errors.New("disk full")
		lost := &eventstore.CorruptError{Where: "log.db", Reason: "it is gone"}
		said := func() int { defer out.Reset(); return strings.Count(out.String(), "\n") }

		log.Error("stopped", "cause", error(lost))
		require.Equal(t, 1, said())
		for i := range 5 {
			log.Error("handler", "message", i, "err", &eventstore.OutcomeUnknownError{BatchID: fmt.Sprint(i), Err: lost})
			log.With("consumer", "c").Warn("backs off", "attempt", i, "err", fmt.Errorf("%w: commit: %w", eventstore.ErrBusy, full))
		}
		require.Equal(t, 1, said(), "the second cause")
		log.Warn("command backs off", "saga", "s", "key", "1", "err", errors.Join(errors.New("commit"), full))
		require.Zero(t, said(), "a cause of many, met by one")

		for range 3 {
			log.Error("parked", "saga", "s", "key", "1", "err", errors.New("refused"))
			log.Error("parked", "saga", "s", "key", "2", "err", errors.New("refused"))
		}
		require.Equal(t, 2, said(), "each of them that is alone with it")
		log.Warn("no cause")
		log.Warn("no cause")
		require.Equal(t, 2, said())

		log.Warn("not read", "err", fmt.Errorf("read: %w", context.Canceled))
		require.Zero(t, said(), "that it was told to stop is no trouble")

		for i := range 300 {
			log.Warn("the store does not take inputs", "error", fmt.Sprintf("trip %d: disk full", i))
			time.Sleep(forgotten / 100)
		}
		require.Equal(t, 1, said(), "a state that lasts, met by each input")

		time.Sleep(forgotten)
		log.Warn("backs off", "err", full)
		log.Warn("backs off", "err", full)
		require.Equal(t, 1, said(), "once more after a while")
		for i := range 3 * mostCauses {
			log.Warn("another", "err", fmt.Errorf("cause %d", i))
		}
		require.Equal(t, 3*mostCauses, said())
	})
}
