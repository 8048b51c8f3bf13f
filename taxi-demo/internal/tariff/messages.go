package tariff

import "github.com/leat-go/leat/taxi-demo/internal/meter"

// Published: a tariff is in force from its date on.
type Published struct {
	Tariff meter.Tariff `json:"tariff"`
}

// Publish publishes the next tariff. Its date must be after the last one's.
type Publish struct {
	Tariff meter.Tariff `json:"tariff"`
}

func (Published) EventType() string { return "tariff_published" }

func (Publish) CommandType() string { return "publish_tariff" }
