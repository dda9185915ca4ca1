package secondary

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// outbox publishes events in order beside the engine, so that a NATS that is away
// never prolongs the time a standby is down. When it overflows, the newest event
// is dropped and said so in the log: events are reports, not commands.
type outbox struct {
	to      Announcer
	observe func(messages.Event)
	log     zerolog.Logger
	events  chan messages.Event
}

func newOutbox(to Announcer, observe func(messages.Event), log zerolog.Logger) *outbox {
	if observe == nil {
		observe = func(messages.Event) {}
	}
	return &outbox{to: to, observe: observe, log: log, events: make(chan messages.Event, 256)}
}

func (o *outbox) put(e messages.Event) {
	o.observe(e)
	select {
	case o.events <- e:
	default:
		o.log.Warn().Str("event", string(e.Type)).Msg("event dropped: NATS is not taking them")
	}
}

// run publishes until ctx is done, and then what is left, within a bound.
func (o *outbox) run(ctx context.Context) error {
	for {
		select {
		case e := <-o.events:
			o.publish(ctx, e)
		case <-ctx.Done():
			o.flush(ctx)
			return ctx.Err()
		}
	}
}

func (o *outbox) publish(ctx context.Context, e messages.Event) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := o.to.Publish(ctx, e); err != nil {
		o.log.Warn().Err(err).Str("event", string(e.Type)).Msg("event not published")
	}
}

func (o *outbox) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for {
		select {
		case e := <-o.events:
			o.publish(ctx, e)
		default:
			return
		}
	}
}
