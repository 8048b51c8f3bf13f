package serverless_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

type withChannel struct {
	Name string
	Deep struct{ Signal chan int }
}

type misnamed struct{}

func (misnamed) CommandType() string { return "another_name" }

type nameless struct{}

func (nameless) EventType() string { return "" }

func TestEveryRegistrationErrorIsListedAtOnceAndNothingIsTouched(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, dir, nil)
	before := files(t, dir)
	h := serverless.New(store, &serverless.Options{Ordered: true})
	commit := func(context.Context, Deposit) (eventstore.Commit, error) { return eventstore.Commit{}, nil }

	serverless.Command(h, "", commit)
	serverless.Command(h, "9lives", commit)
	serverless.Command(h, "deposit", commit)
	serverless.Command(h, "deposit", commit)
	serverless.Command[Withdraw](h, "withdraw", nil)
	serverless.Command(h, "channel", func(context.Context, withChannel) (eventstore.Commit, error) { return eventstore.Commit{}, nil })
	serverless.Command(h, "pointer", func(context.Context, *Deposit) (eventstore.Commit, error) { return eventstore.Commit{}, nil })
	serverless.Command(h, "misnamed", func(context.Context, misnamed) (eventstore.Commit, error) { return eventstore.Commit{}, nil })
	serverless.Query(h, "any", func(context.Context, any) (int, error) { return 0, nil })
	serverless.Query(h, "deposit", func(context.Context, Balance) (int, error) { return 0, nil })
	serverless.OnEvent(h, "nameless", func(context.Context, eventstore.Of[nameless]) error { return nil })
	serverless.OnEvent(h, "broken", func(context.Context, eventstore.Of[Deposited]) error { return nil },
		serverless.Retry(serverless.RetryPolicy{Attempts: -1}), serverless.OnFailure(9), serverless.Concurrency(0), serverless.Timeout(-1))
	serverless.OnEvent(h, "sagas", func(context.Context, eventstore.Of[Deposited]) error { return nil })
	h.Project(projection.Define("Bad Name", 0, ""))
	h.Project(nil)
	h.Saga(nil)
	h.Saga(defineSaving())
	h.Saga(defineSaving())
	h.Saga(saga.Define[struct{ C chan int }]("empty", 0))
	h.Saga(saga.Define("interest", 1, saga.IgnoreRejected[struct{}, PayInterest]()))
	h.Source(nil)

	err := h.Open(t.Context())
	require.ErrorIs(t, err, serverless.ErrRegistration)
	for _, want := range []string{
		`command "": the name is empty`,
		`command "9lives": the name has '9' at byte 0`,
		`command "deposit": the name is taken by command "deposit"`,
		`command "withdraw": its function is nil`,
		`command "channel": JSON does not hold serverless_test.withChannel.Deep.Signal`,
		`command "pointer": takes a *serverless_test.Deposit`,
		`command "misnamed": its payload serverless_test.misnamed says by CommandType that it is "another_name"`,
		`query "any": takes a interface {}`,
		`query "deposit": the name is taken by command "deposit"`,
		`event function "nameless": `,
		`event function "broken": Retry: -1 attempts`,
		`event function "broken": OnFailure: Policy(9)`,
		`event function "broken": Concurrency: 0 partitions`,
		`event function "broken": Timeout: -1ns`,
		`event function "sagas": the name is the framework's own`,
		`projection "Bad Name": `,
		`projection: its definition is nil`,
		`saga: its definition is nil`,
		`source: is nil`,
		`saga "saving": is registered twice`,
		`saga "empty": `,
		`saga "interest": sends the command "pay_interest", which has no function`,
		`options: Ordered needs a *clock.Virtual`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, before, files(t, dir))
	_, err = h.Invoke(t.Context(), "deposit", Deposit{})
	require.ErrorIs(t, err, serverless.ErrRegistration, "whatever opens the host says so")
	require.NoError(t, h.Close())
}

func TestAStoreWithoutDirectoryNeedsOne(t *testing.T) {
	store := memory.New(nil)
	h := serverless.New(store, nil)
	require.ErrorContains(t, h.Open(t.Context()), "give Options.Dir")
	require.NoError(t, h.Close())

	h = serverless.New(store, &serverless.Options{Dir: t.TempDir() + "/new", Logger: quiet()})
	require.NoError(t, h.Open(t.Context()))
	require.NoError(t, h.Open(t.Context()), "opening twice does nothing")
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	require.ErrorIs(t, h.Open(t.Context()), serverless.ErrClosed)
}

func TestRegisteringAfterOpenPanics(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	require.NoError(t, b.Open(t.Context()))
	require.PanicsWithValue(t, `serverless: Query("late") after Open: register everything before the host is opened, run, drained or invoked`, func() {
		serverless.Query(b.Host, "late", func(context.Context, Balance) (int, error) { return 0, nil })
	})
}
