package tariff

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

func publish(t meter.Tariff) func(*Book) (aggregate.Events, error) {
	return func(b *Book) (aggregate.Events, error) { return b.Publish(Publish{Tariff: t}) }
}

func from(year int) meter.Tariff {
	return meter.Tariff{EffectiveFrom: time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC), Initial: 250, Unit: 50}
}

func TestEffectiveDatesIncrease(t *testing.T) {
	aggregatetest.Given(t, Books).
		When(publish(from(2010))).Then(Published{Tariff: from(2010)}).
		When(publish(from(2009))).ThenRejected(ErrNotLater).
		When(publish(from(2015))).Then(Published{Tariff: from(2015)}).
		When(publish(from(2012))).ThenRejected(ErrNotLater)
}

func TestATariffIsPublishedOnceAndNotChanged(t *testing.T) {
	dearer := from(2010)
	dearer.Unit++
	aggregatetest.Given(t, Books, Published{Tariff: from(2010)}, Published{Tariff: from(2015)}).
		When(publish(from(2010))).Then().
		When(publish(from(2015))).Then().
		When(publish(dearer)).ThenRejected(ErrNotLater)
}

func TestATariffThatMakesNoSenseIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*meter.Tariff){
		"no date":  func(t *meter.Tariff) { t.EffectiveFrom = time.Time{} },
		"no unit":  func(t *meter.Tariff) { t.Unit = 0 },
		"below 0":  func(t *meter.Tariff) { t.AirportFee = -1 },
		"below 0 ": func(t *meter.Tariff) { t.Initial = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			bad := from(2010)
			spoil(&bad)
			aggregatetest.Given(t, Books).When(publish(bad)).ThenRejected(ErrInvalid)
		})
	}
}

func TestTheOfficialTariffsCanBePublishedInTheirOrder(t *testing.T) {
	c := aggregatetest.Given(t, Books)
	var book Book
	for _, tr := range meter.Tariffs() {
		c = c.When(publish(tr)).Then(Published{Tariff: tr})
	}
	c.State(func(b *Book) { book = *b })
	got, err := book.InForce(time.Date(2022, time.December, 18, 23, 59, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, int64(250), got.Initial)
	got, err = book.InForce(time.Date(2022, time.December, 19, 0, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, int64(300), got.Initial)
	_, err = book.InForce(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, err, ErrNone)
}

func TestABookIsBounded(t *testing.T) {
	var past []eventstore.Event
	for i := range MaxTariffs {
		past = append(past, Published{Tariff: from(1000 + i)})
	}
	aggregatetest.Given(t, Books, past...).
		When(publish(from(1000 + MaxTariffs))).ThenRejected(ErrFull)
}
