package bus

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
)

// lifeline names the handler that keeps Watermill's Router alive.
const lifeline = "leat.lifeline"

type lifelineSubscriber struct{ alive <-chan struct{} }

func (s lifelineSubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		<-s.alive
	}()
	return out, nil
}

func (lifelineSubscriber) Close() error { return nil }

// laneSubscriber is a lane as Watermill's Router sees it. Its channel stays
// open until the follow context is done and the page in flight has ended.
type laneSubscriber struct{ l *lane }

func (s laneSubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	work := s.l.router.run.Load().work
	go func() {
		defer close(out)
		s.l.deliverAll(ctx, work, out)
	}()
	return out, nil
}

func (laneSubscriber) Close() error { return nil }

// outsideSubscriber is a subscriber given to AddHandler. Its errors stop the
// router: Watermill's would leave it half started.
type outsideSubscriber struct {
	r   *Router
	sub message.Subscriber
}

func (s outsideSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	out, err := s.sub.Subscribe(ctx, topic)
	if err != nil {
		s.r.fail(fmt.Errorf("subscribe to %q: %w", topic, err))
		closed := make(chan *message.Message)
		close(closed)
		return closed, nil
	}
	return out, nil
}

func (outsideSubscriber) Close() error { return nil }

// outlive has the handler's context outlive the end of the subscription by the
// router's grace, so that a stop does not interrupt what is in flight. A
// cancellation that is not the stop's goes through at once.
func (r *Router) outlive(h message.NoPublishHandlerFunc) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		outer := msg.Context()
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
		defer cancel(nil)
		defer context.AfterFunc(outer, func() {
			if !r.ending.Load() {
				cancel(context.Cause(outer))
			}
		})()
		work := r.run.Load().work
		defer context.AfterFunc(work, func() { cancel(context.Cause(work)) })()
		msg.SetContext(ctx)
		defer msg.SetContext(outer)
		return h(msg)
	}
}
