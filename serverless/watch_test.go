package serverless

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

// preparer is a consumer that prepares its pages.
type preparer struct {
	bus.Consumer
	pages []bus.Page
}

func (p *preparer) Prepare(page bus.Page, _ <-chan struct{}) any {
	p.pages = append(p.pages, page)
	return len(page.Events)
}

// What a host puts around a consumer hides nothing that the router looks for.
func TestAWatchedConsumerPreparesItsPages(t *testing.T) {
	inner := &preparer{}
	var c bus.Consumer = &watched{Consumer: inner}
	require.Implements(t, (*bus.Preparer)(nil), c)
	require.Equal(t, 0, c.(bus.Preparer).Prepare(bus.Page{After: 7}, nil))
	require.Equal(t, []bus.Page{{After: 7}}, inner.pages)
	require.Nil(t, (&watched{}).Prepare(bus.Page{}, nil), "one that does not prepare")
}
