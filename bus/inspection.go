package bus

import "github.com/leat-go/leat/eventstore"

// Inspection is what a file of consumers says when it is looked at from
// outside, without the code of the consumers: with or without a process that
// has it open.
type Inspection struct {
	// File is its path in the store's directory.
	File string
	// Consumers are those that it keeps a checkpoint of.
	Consumers []Inspected
	// Findings are what is not as it was written.
	Findings []eventstore.Finding
}

// Inspected is a consumer whose checkpoint was read from its file. Whether it
// lies on a log, eventstore.CheckAnchor tells; read the log after the file,
// since it may have grown.
type Inspected struct {
	Consumer   string
	Checkpoint eventstore.Anchor
	// Last is the highest position that the file mentions for the consumer
	// beside its checkpoint; 0 for none. It is an event of the log.
	Last int64
}
