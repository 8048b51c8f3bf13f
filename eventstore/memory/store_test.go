package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var engine = storetest.Engine{
	Open: func(_ *testing.T, o storetest.Options) storetest.Store {
		return memory.New(&memory.Options{Clock: o.Clock, Limits: o.Limits})
	},
}

func TestConformance(t *testing.T) { storetest.Run(t, engine) }
