package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// appendMany appends so many events to a stream.
func appendMany(t testing.TB, store eventstore.Appender, n int) {
	t.Helper()
	events := make([]eventstore.EventData, n)
	for i := range events {
		events[i] = event(i)
	}
	appendTo(t, store, "many-1", events...)
}

func TestARouterThatGathersDeliversFewPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		few, asked := newCollector(t, "few"), newCollector(t, "asked")
		r := newRouter(t, store, &bus.RouterOptions{Gather: time.Minute}, few, asked)
		stop := run(t, r)
		for range 3 {
			appendMany(t, store, 10)
			synctest.Wait()
			require.Empty(t, few.positions(), "the page may fill yet")
		}
		r.Demand("asked", 30)
		synctest.Wait()
		require.Len(t, asked.positions(), 30)
		require.Equal(t, 1, asked.pages)
		require.Empty(t, few.positions(), "only who is asked for delivers")
		require.NoError(t, r.Settle(context.Background(), 30, "asked"))
		require.Empty(t, few.positions(), "Settle asks for those it waits for")

		appendMany(t, store, bus.DefaultPageSize-30)
		synctest.Wait()
		require.Len(t, few.positions(), bus.DefaultPageSize, "what fills a page is delivered at once")

		appendMany(t, store, 7)
		settle(t, r, bus.DefaultPageSize+7)
		require.Len(t, few.positions(), bus.DefaultPageSize+7, "Settle asks for all")

		appendMany(t, store, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, few.positions(), bus.DefaultPageSize+8, "nothing waits for longer")
		stop()
	})
}
