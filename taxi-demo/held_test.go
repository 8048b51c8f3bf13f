package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/serverless"
)

func TestAHostThatWaitsSaysForWhat(t *testing.T) {
	now := time.Now()
	st := serverless.Status{Inputs: []serverless.Inputs{{}}, Consumers: []serverless.Consumer{{Name: "sagas"}}}
	require.Empty(t, heldBy(st, now))
	st.Consumers[0].Attempt, st.Consumers[0].Error = 2, "saga step: commit: database or disk is full"
	require.Equal(t, "WAITS: sagas is tried again (database or disk is full)", heldBy(st, now))
	st.Inputs[0] = serverless.Inputs{Attempts: 3, Error: "trip 1: append: database or disk is full", Since: now.Add(-15 * time.Second)}
	require.Equal(t, "WAITS for 15s: the store does not take inputs (database or disk is full)", heldBy(st, now))
	st.Store = serverless.StoreStatus{Stopped: true, Cause: "gone", Since: now.Add(-time.Minute)}
	require.Equal(t, "WAITS for 1m0s: the store has stopped (gone)", heldBy(st, now))
}

func TestARunThatEndsBeforeItsRidesSaysSo(t *testing.T) {
	require.Equal(t, "drained: nothing more is due, but only 2 of 5 rides have ended: the check says what stands still", drainedEarly(2, 5))
}
