package serverless_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// Bugs of peers that a host could have: docs/peers.md lists them all.

// There: a reader whose log did not begin at 1 passed over the first event that
// was there.
// Here: functions that begin where the log was when they were deployed.
func TestMarten715_TheFirstEventAfterTheStartIsDelivered(t *testing.T) {
	dir, one, many := t.TempDir(), &calls{}, &calls{}
	b := newBank(t, dir, serverless.Options{})
	for range 3 {
		b.deposit(t, "old", 1)
	}
	register := []func(*bank){one.register(), func(b *bank) {
		serverless.OnEvent(b.Host, "many", many.handle, serverless.Concurrency(4))
	}}
	b = reopen(t, b, dir, serverless.Options{}, register...)
	require.NoError(t, b.Open(t.Context())) // here they begin
	b = reopen(t, b, dir, serverless.Options{}, register...)
	want := []string{}
	for n := range 8 { // each of the partitions has a first
		b.deposit(t, fmt.Sprint(n), 1)
		want = append(want, fmt.Sprintf("%d:1", n))
	}
	b.drain(t)
	require.Equal(t, want, one.take())
	require.ElementsMatch(t, want, many.take())
}

// There: projections that were registered to run with each append were never
// called.
// Here: a host that is drained, run, and asked to register too late or twice.
func TestGoMink_WhatIsRegisteredIsCalled(t *testing.T) {
	dir := t.TempDir()
	b := newBank(t, dir, serverless.Options{})
	b.deposit(t, "1", 5)
	b.drain(t)
	require.EqualValues(t, 5, b.balance(t, "1"))
	r := b.deposit(t, "1", 2)
	stop := b.running(t)
	var cents int64
	require.NoError(t, b.balances.Read(t.Context(), r.Position, func(r *projection.Reader) error {
		return r.QueryRow(`SELECT cents FROM balance WHERE account = '1'`).Scan(&cents)
	}))
	require.EqualValues(t, 7, cents)
	stop()

	b = reopen(t, b, dir, serverless.Options{})
	require.NoError(t, b.Open(context.Background()))
	require.Panics(t, func() { b.Project(defineBalances(2)) }, "it would never be called")
	twice := serverless.New(b.store, nil)
	twice.Project(defineBalances(1))
	twice.Project(defineBalances(1))
	require.ErrorIs(t, twice.Open(t.Context()), serverless.ErrRegistration)
	require.NoError(t, twice.Close())
}
