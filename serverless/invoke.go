package serverless

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// Request is a call of a command or query function.
type Request struct {
	// Function is the name of the function.
	Function string
	// Payload is encoded as JSON; a []byte or json.RawMessage is taken as JSON
	// already. A command has one; nil is refused.
	Payload any
	// ID names this one command and makes it take effect once, for ever: a
	// repetition gives the first commit again, whatever it asks for, without a
	// look at function and payload. At most eventstore.MaxName bytes. A query ignores it.
	ID string
	// Metadata is stamped on the events that a command causes: correlation,
	// causation, actor, trace.
	Metadata eventstore.Metadata
	// MinPosition is what read models must have applied before the function
	// reads them (see Model.Read): the position of an earlier Result, to read
	// one's own writes. The caller's context bounds the wait.
	MinPosition int64
}

// Result is the answer of a function.
type Result struct {
	// Commit is what a command appended; zero for a query and for a command
	// that appended nothing.
	Commit eventstore.Commit
	// Position is the position to read one's own writes at: the commit's last.
	Position int64
	// Value is what a query returned, an R; nil for a command.
	Value any
}

// Invoke calls a command or query function in this process, without a command
// id. See Do.
func (h *Host) Invoke(ctx context.Context, name string, payload any) (Result, error) {
	return h.Do(ctx, Request{Function: name, Payload: payload})
}

// Do calls a command or query function in this process, in the caller's
// goroutine, and opens the host if need be. It is safe for concurrent use, and
// may be called from functions.
//
// A payload has at most MaxPayload bytes as JSON, an id is a name as streams
// have. Errors: ErrUnknownFunction, ErrPayload, eventstore.ErrInvalid, ErrIDRequired, ErrClosed, those of
// Open, and the function's own; a panic is a bus.PanicError. A command that
// the domain refuses is a bus.Rejection.
func (h *Host) Do(ctx context.Context, r Request) (Result, error) {
	if err := h.Open(ctx); err != nil {
		return Result{}, err
	}
	leave, err := h.enter()
	if err != nil {
		return Result{}, err
	}
	defer leave()
	f, ok := h.functions[r.Function]
	if !ok {
		return Result{}, fmt.Errorf("%w: %q, there are %q", ErrUnknownFunction, r.Function, h.functionNames())
	}
	if r.Payload == nil && f.kind == kindCommand {
		return Result{}, fmt.Errorf("command %q: %w: it has none", f.name, ErrPayload)
	}
	data, err := encodePayload(r.Payload)
	if err == nil && len(data) > MaxPayload {
		err = fmt.Errorf("%w: has %d bytes, %d are allowed", ErrPayload, len(data), MaxPayload)
	}
	if err == nil && r.ID != "" {
		err = eventstore.CheckName("command id", r.ID)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s %q: %w", f.kind, f.name, err)
	}
	release := releaseOf(ctx)
	ctx = withMinPosition(withRelease(ctx, nil), r.MinPosition)
	if f.kind == kindQuery {
		return h.query(ctx, f, data, r.Metadata)
	}
	if f.command.requireID && r.ID == "" {
		return Result{}, fmt.Errorf("command %q: %w: set Request.ID to what names the command for its sender", f.name, ErrIDRequired)
	}
	commit, err := h.carryOut(ctx, bus.Command{ID: r.ID, Type: r.Function, Data: data, Metadata: r.Metadata})
	if err == nil && release != nil {
		err = release.steadied(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Commit: commit, Position: commit.Last}, nil
}

// functionNames lists what can be called.
func (h *Host) functionNames() []string { return slices.Sorted(maps.Keys(h.functions)) }

// carryOut dispatches a command to its function.
func (h *Host) carryOut(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
	commit, err := h.commands.Dispatch(ctx, cmd)
	if err != nil {
		return commit, fmt.Errorf("serverless: %w", err)
	}
	return commit, nil
}

func (h *Host) query(ctx context.Context, f *function, data []byte, meta eventstore.Metadata) (_ Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("serverless: query %q: %w", f.name, bus.Recovered(v))
		}
	}()
	if len(meta) > 0 {
		ctx = eventstore.WithMetadata(ctx, meta)
	}
	value, err := f.query(ctx, data)
	if err != nil {
		return Result{}, fmt.Errorf("serverless: query %q: %w", f.name, err)
	}
	return Result{Value: value}, nil
}

type minPositionKey struct{}

func withMinPosition(ctx context.Context, position int64) context.Context {
	if position <= MinPosition(ctx) {
		return ctx
	}
	return context.WithValue(ctx, minPositionKey{}, position)
}

// MinPosition returns the position that read models must have applied before
// the function called under ctx reads them: that of the request, of the event,
// or of what caused the command. Model.Read waits for it by itself.
func MinPosition(ctx context.Context) int64 {
	p, _ := ctx.Value(minPositionKey{}).(int64)
	return p
}

// DeadLetters lists the events that functions gave up, by position, after a
// position, limit at most (1 to eventstore.MaxPage). An empty name lists those
// of all functions.
func (h *Host) DeadLetters(ctx context.Context, function string, after int64, limit int) ([]DeadLetter, error) {
	return h.listLetters(ctx, function, after, limit, false)
}

// Discarded lists the events that were discarded, with the reasons, as
// DeadLetters does those that were not.
func (h *Host) Discarded(ctx context.Context, function string, after int64, limit int) ([]DeadLetter, error) {
	return h.listLetters(ctx, function, after, limit, true)
}

// DeadLetter returns the dead letter of a function at a position, discarded or
// not, and its event. It returns ErrNoDeadLetter where there is none.
func (h *Host) DeadLetter(ctx context.Context, function string, position int64) (DeadLetter, eventstore.Recorded, error) {
	for _, discarded := range []bool{false, true} {
		found, err := h.listLetters(ctx, function, position-1, 1, discarded)
		if err != nil {
			return DeadLetter{}, eventstore.Recorded{}, err
		}
		if len(found) == 1 && found[0].Position == position {
			e, err := h.recorded(ctx, position)
			return found[0], e, err
		}
	}
	return DeadLetter{}, eventstore.Recorded{}, fmt.Errorf("%w: function %q has none at position %d", ErrNoDeadLetter, function, position)
}

// recorded returns the event of a dead letter.
func (h *Host) recorded(ctx context.Context, position int64) (eventstore.Recorded, error) {
	e, err := eventstore.EventAt(ctx, h.store, position)
	if err != nil {
		return e, fmt.Errorf("serverless: read dead letter: %w", err)
	}
	return e, nil
}

func (h *Host) listLetters(ctx context.Context, function string, after int64, limit int, discarded bool) ([]DeadLetter, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := eventstore.CheckPage(limit); err != nil {
		return nil, err
	}
	return h.ledger.deadLetters(ctx, function, after, limit, discarded)
}

// RetryDeadLetter calls the function with a dead letter: the recorded event,
// under its own id. Where it succeeds the letter is gone and, of a parked
// stream, everything that waited behind it follows in order, until one fails
// and is the parked one in its place. The error is the failing call's; the
// letter then stays, with one attempt more.
func (h *Host) RetryDeadLetter(ctx context.Context, function string, position int64) error {
	return h.settleDeadLetter(ctx, function, position, "")
}

// DiscardDeadLetter gives a dead letter up for good, with a reason that is
// kept. Of a parked stream, everything that waited behind it follows as in
// RetryDeadLetter.
func (h *Host) DiscardDeadLetter(ctx context.Context, function string, position int64, reason string) error {
	if reason == "" {
		return fmt.Errorf("serverless: discard of %q at position %d: say why", function, position)
	}
	return h.settleDeadLetter(ctx, function, position, reason)
}

func (h *Host) settleDeadLetter(ctx context.Context, function string, position int64, discard string) error {
	leave, err := h.enter()
	if err != nil {
		return err
	}
	defer leave()
	for _, f := range h.events {
		if f.name == function {
			return f.settle(ctx, h, position, discard)
		}
	}
	return fmt.Errorf("%w: no event function %q", ErrUnknownFunction, function)
}

// settle retries or discards the letter and releases what waited behind it. It
// holds the turn of the stream's partition, so that no stream is worked on
// twice at once.
func (f *eventFunction) settle(ctx context.Context, h *Host, position int64, discard string) error {
	d, _, err := h.ledger.letter(ctx, f.name, position)
	if err != nil {
		return err
	}
	part := f.parts[bus.PartitionOf(d.Stream, f.opts.concurrency)]
	done, err := part.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	// It may have been settled while this call waited for its turn.
	d, state, err := h.ledger.letter(ctx, f.name, position)
	if err != nil {
		return err
	}
	d.Parked = state == stateParked
	for {
		if discard == "" {
			if err := f.again(ctx, h, d); err != nil {
				return err
			}
			crash.At(crash.LetterRetried)
		}
		next, err := h.ledger.settleLetter(context.WithoutCancel(ctx), d, discard)
		if err != nil {
			return err
		}
		if next == 0 {
			if d.Parked {
				f.setParked(d.Stream, false)
			}
			return nil
		}
		d.Position, discard = next, ""
	}
}

// again calls the function with a dead letter's event.
func (f *eventFunction) again(ctx context.Context, h *Host, d DeadLetter) error {
	e, err := h.recorded(ctx, d.Position)
	if err != nil {
		return err
	}
	err = f.invoke(ctx, e)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if again := h.ledger.failedAgain(ctx, d, err); again != nil {
		return again
	}
	return err
}

// since is how long ago an instant was, never negative.
func since(now time.Time, unixNano int64) time.Duration {
	return max(now.Sub(time.Unix(0, unixNano)), 0)
}
