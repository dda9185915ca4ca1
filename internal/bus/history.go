package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// History hands the stored events since a time to handle, oldest first, and then
// returns; with follow it goes on with those that come, until ctx is done. It keeps
// no place on the server. Documents that do not decode are reported and left out.
func (b *Bus) History(ctx context.Context, since time.Time, follow bool, handle func(messages.Event) error) error {
	err := b.history(ctx, since, follow, handle)
	if err == nil || follow && ctx.Err() != nil {
		return nil //nolint:nilerr // to be interrupted is how following ends
	}
	return fmt.Errorf("read events of cluster %s: %w", b.cfg.Cluster, classify(err))
}

func (b *Bus) history(ctx context.Context, since time.Time, follow bool, handle func(messages.Event) error) error {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{b.names.Events()}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since}
	var cons jetstream.Consumer
	err := b.call(ctx, func(ctx context.Context) (err error) {
		cons, err = b.js.OrderedConsumer(ctx, b.names.Stream(), cfg)
		return err
	})
	if err != nil {
		return err
	}
	if !follow && cons.CachedInfo().NumPending == 0 {
		return nil
	}
	it, err := cons.Messages(jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return err
		}
		var e messages.Event
		if err := b.decodeEvent(m, &e); err != nil {
			b.cfg.OnAsyncError(fmt.Errorf("event %d on %s left out: %w", md.Sequence.Stream, m.Subject(), err))
		} else if err := handle(e); err != nil {
			return err
		}
		if !follow && md.NumPending == 0 {
			return nil
		}
	}
}

// LastSeen tells when each node's last stored event was published: it remembers
// nodes that are gone, which presence does not.
func (b *Bus) LastSeen(ctx context.Context) (map[messages.NodeName]time.Time, error) {
	out := map[messages.NodeName]time.Time{}
	err := b.call(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, b.names.Stream())
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(b.names.Events()))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			node, err := messages.ParseNodeName(subject[strings.LastIndexByte(subject, '.')+1:])
			if err != nil {
				continue
			}
			m, err := s.GetLastMsgForSubject(ctx, subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // it expired in between
			}
			if err != nil {
				return err
			}
			if m.Time.After(out[node]) {
				out[node] = m.Time
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list who published events in cluster %s: %w", b.cfg.Cluster, err)
	}
	return out, nil
}
