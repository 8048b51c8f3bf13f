package sqlite

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

// Limits of the engine. Options can set other values where they say so.
const (
	// Queue is the number of appends that may wait for the writer.
	Queue = 4096
	// GroupEvents is the number of events after which a group of appends is
	// committed without waiting for more. A batch is never split.
	GroupEvents = 4096
	// GroupBytes is the size of the payloads after which a group is committed.
	GroupBytes = 8 << 20
	// IndexEvents is the number of events after which the index of streams is
	// moved from memory into its table. Opening reads as many back, at most, in
	// some 60 ms; they take some 5 MiB.
	IndexEvents = 50_000
	// CachedStreams is the number of streams whose name and version are held
	// in memory, in the writer and once more for reading. Others are looked up.
	CachedStreams = 262_144
	// WriterCache is the memory in which SQLite keeps pages for the writer, in
	// KiB. New streams with random names are appended twice as fast with it as
	// with SQLite's own 2 MiB once there are some hundred thousand.
	WriterCache = 32 << 10
	// PageBytes is the size of the payloads after which ReadLog ends a page
	// early.
	PageBytes = 64 << 20
	// MaxEvent is the size of an event's data and metadata that Limits may
	// allow, in bytes. A larger row is refused when it is read.
	MaxEvent = file.MaxRow - 64<<10
	// MaxSnapshot is the size of a snapshot's state, in bytes.
	MaxSnapshot = 64 << 20
	// MaxFindings is the number of findings after which Verify stops.
	MaxFindings = 100
	// LongWAL is the size of the write-ahead log, in bytes, after which Logger
	// hears of it: something reads without an end.
	LongWAL = file.LongWAL
	// MaxWAL is the size of the write-ahead log, in bytes, after which appends
	// are refused until it could be moved into log.db. It is some four times
	// what a busy log writes while a Backup copies a gigabyte.
	MaxWAL = file.MaxWAL
	// WitnessEvery is the least time between two writes of the witness file.
	WitnessEvery = time.Second
)

// Durability says what an acknowledgement is worth.
type Durability int

const (
	// Full syncs every commit before it is acknowledged: it survives the loss
	// of power. It is the default.
	Full Durability = iota
	// Relaxed does not sync commits. The death of the process loses nothing,
	// but a power cut or a crash of the system takes the last acknowledged
	// appends away, seconds or more of them, in order and whole; whoever acted
	// on them has acted on what never was. Their positions are then given to
	// other events. For tests, imports and what can be fed again.
	Relaxed
)

// Options of Open. A nil *Options means the defaults.
type Options struct {
	// Clock gives the recorded times. Defaults to clock.System().
	Clock clock.Clock
	// Durability defaults to Full.
	Durability Durability
	// Limits bound what an append accepts. Defaults to those of eventstore.
	Limits eventstore.Limits
	// Queue is the number of appends that may wait; one more is refused with
	// eventstore.ErrBusy. Defaults to Queue.
	Queue int
	// GroupEvents and GroupBytes bound what is committed together. Default to
	// GroupEvents and GroupBytes.
	GroupEvents, GroupBytes int
	// IndexEvents is the number of events that the index of streams holds in
	// memory. More make appends to many streams cheaper, fewer opening. Defaults
	// to IndexEvents.
	IndexEvents int
	// CachedStreams is the number of streams held in memory. Defaults to
	// CachedStreams, which is at most some 160 MiB where so many streams are
	// used, and 50 with usual names.
	CachedStreams int
	// Checkpoint is the number of pages in the write-ahead log after which
	// they are moved into log.db. Defaults to 4000 (16 MiB).
	Checkpoint int
	// LongWAL and MaxWAL are the sizes of the write-ahead log, in bytes, after
	// which Logger hears of it, and after which appends are refused with
	// eventstore.ErrBusy until it could be moved into log.db, which an append
	// tries. A read that does not end keeps it from that: a Backup, or another
	// program's. One commit may pass the limit. Default to LongWAL and MaxWAL.
	LongWAL, MaxWAL int64
	// Logger hears of what no caller can be told: a witness that could not be
	// written, a stop of all writes. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if r.Clock == nil {
		r.Clock = clock.System()
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	if r.Durability != Full && r.Durability != Relaxed {
		return r, &eventstore.InvalidError{Field: "option Durability", Value: fmt.Sprint(int(r.Durability)), Reason: "is neither Full nor Relaxed"}
	}
	r.Limits = r.Limits.WithDefaults()
	for _, f := range []struct {
		name     string
		value    *int
		ordinary int
	}{
		{"Queue", &r.Queue, Queue},
		{"GroupEvents", &r.GroupEvents, GroupEvents},
		{"GroupBytes", &r.GroupBytes, GroupBytes},
		{"IndexEvents", &r.IndexEvents, IndexEvents},
		{"CachedStreams", &r.CachedStreams, CachedStreams},
		{"Checkpoint", &r.Checkpoint, file.Checkpoint},
		{"Limits.Data", &r.Limits.Data, 0},
		{"Limits.Metadata", &r.Limits.Metadata, 0},
		{"Limits.Batch", &r.Limits.Batch, 0},
		{"Limits.BatchBytes", &r.Limits.BatchBytes, 0},
	} {
		if *f.value == 0 {
			*f.value = f.ordinary
		}
		if *f.value < 1 {
			return r, &eventstore.InvalidError{Field: "option " + f.name, Value: fmt.Sprint(*f.value), Reason: "must be 1 or more, or 0 for the default"}
		}
	}
	for _, f := range []struct {
		name     string
		value    *int64
		ordinary int64
	}{{"LongWAL", &r.LongWAL, LongWAL}, {"MaxWAL", &r.MaxWAL, MaxWAL}} {
		if *f.value == 0 {
			*f.value = f.ordinary
		}
		if *f.value < 1 {
			return r, &eventstore.InvalidError{Field: "option " + f.name, Value: fmt.Sprint(*f.value), Reason: "must be 1 or more, or 0 for the default"}
		}
	}
	if size := r.Limits.Data + r.Limits.Metadata; size > MaxEvent {
		return r, &eventstore.InvalidError{Field: "option Limits", Value: fmt.Sprint(size), Reason: fmt.Sprintf("Data and Metadata together are at most %d bytes", MaxEvent)}
	}
	return r, nil
}

func (o Options) file() file.Options {
	f := file.Options{
		Durability: file.Full, Checkpoint: o.Checkpoint, Cache: WriterCache,
		LongWAL: o.LongWAL, MaxWAL: o.MaxWAL, Logger: o.Logger,
	}
	if o.Durability == Relaxed {
		f.Durability = file.Normal
	}
	return f
}
