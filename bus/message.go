package bus

import (
	"maps"
	"strconv"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// Metadata of a message that is an event: its envelope. The event's own
// metadata stands beside it.
const (
	MetaStream        = "leat_stream"
	MetaVersion       = "leat_version"
	MetaPosition      = "leat_position"
	MetaType          = "leat_type"
	MetaSchemaVersion = "leat_schema_version"
	// MetaTime is when the event was recorded, in Unix nanoseconds UTC.
	MetaTime    = "leat_time"
	MetaBatchID = "leat_batch_id"
	// MetaPartitionKey is the event's stream: what a broker must key by to keep
	// the order of a stream.
	MetaPartitionKey = "partition_key"
	// MetaMessageUUID is the UUID of the message that a Publisher made the
	// event of. It is kept in the event's metadata, and becomes the UUID of the
	// message that a Subscriber makes of the event.
	MetaMessageUUID = "leat_message_uuid"
	// MetaUndecodable says why the event's own metadata is missing.
	MetaUndecodable = "leat_undecodable_metadata"
)

const envelopePrefix = "leat_"

// EventMessage returns the event as a message: its data as payload, its ID as
// UUID, its envelope and its own metadata as metadata. An event that a
// Publisher made of a message has that message's UUID. The message shares the
// event's data.
func EventMessage(e eventstore.Recorded) *message.Message {
	msg := envelopeMessage(e)
	if uuid, ok := msg.Metadata[MetaMessageUUID]; ok {
		msg.UUID = uuid
		delete(msg.Metadata, MetaMessageUUID)
	}
	return msg
}

// envelopeMessage is EventMessage with the event's ID as UUID in every case.
func envelopeMessage(e eventstore.Recorded) *message.Message {
	own, err := e.Meta.Decode()
	msg := message.NewMessage(e.ID.String(), e.Data)
	maps.Copy(msg.Metadata, own)
	if err != nil {
		msg.Metadata[MetaUndecodable] = err.Error()
	}
	msg.Metadata[MetaStream] = e.Stream
	msg.Metadata[MetaPartitionKey] = e.Stream
	msg.Metadata[MetaVersion] = strconv.FormatInt(e.Version, 10)
	msg.Metadata[MetaPosition] = strconv.FormatInt(e.Position, 10)
	msg.Metadata[MetaType] = e.Type
	msg.Metadata[MetaSchemaVersion] = strconv.Itoa(e.SchemaVersion)
	msg.Metadata[MetaTime] = strconv.FormatInt(e.Time, 10)
	if e.BatchID != "" {
		msg.Metadata[MetaBatchID] = e.BatchID
	}
	return msg
}

// DefaultMessageType is the event type of a published message that names none.
const DefaultMessageType = "message"

// eventData returns the message as an event to append: the reverse of
// EventMessage, without the place the message had in another stream.
func eventData(msg *message.Message) (eventstore.EventData, error) {
	e := eventstore.EventData{Type: msg.Metadata[MetaType], Data: msg.Payload}
	if e.Type == "" {
		e.Type = DefaultMessageType
	}
	if v := msg.Metadata[MetaSchemaVersion]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return e, &eventstore.InvalidError{Field: "message metadata " + MetaSchemaVersion, Value: v, Reason: "is not a number"}
		}
		e.SchemaVersion = n
	}
	e.Metadata = make(eventstore.Metadata, len(msg.Metadata)+1)
	for k, v := range msg.Metadata {
		if !strings.HasPrefix(k, envelopePrefix) && k != MetaPartitionKey {
			e.Metadata[k] = v
		}
	}
	if msg.UUID != "" {
		e.Metadata[MetaMessageUUID] = msg.UUID
	}
	return e, nil
}
