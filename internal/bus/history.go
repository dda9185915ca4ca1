package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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

// history reads message by message instead of with a consumer: consumers have
// names, and who may make them under any name, for which permissions have no finer
// word, may alter those of others.
func (b *Bus) history(ctx context.Context, since time.Time, follow bool, handle func(messages.Event) error) error {
	news := make(chan struct{}, 1)
	if follow {
		// Before the first look, so that nothing comes in between unseen. A full channel
		// loses nothing: what comes is only a reason to look. (The client would report a
		// channel of messages that is full as a slow consumer, each time.)
		sub, err := b.control.nc.Subscribe(b.names.Events(), func(*nats.Msg) {
			select {
			case news <- struct{}{}:
			default:
			}
		})
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }() // its end is the connection's too
	}
	var s jetstream.Stream
	err := b.call(ctx, func(ctx context.Context) (err error) {
		s, err = b.js.Stream(ctx, b.names.Stream())
		return err
	})
	if err != nil {
		return err
	}
	next, err := b.firstSince(ctx, s, since)
	if err != nil {
		return err
	}
	for {
		if next, err = b.readOn(ctx, s, next, handle); err != nil || !follow {
			return err
		}
		if err := awaitNews(ctx, news); err != nil {
			return err
		}
	}
}

// lookAgain is for events that came while the connection was away.
const lookAgain = 5 * time.Second

func awaitNews(ctx context.Context, news <-chan struct{}) error {
	t := time.NewTimer(lookAgain)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-news:
	case <-t.C:
	}
	return nil
}

// readOn hands on what is stored from sequence next, and returns where to go on.
func (b *Bus) readOn(ctx context.Context, s jetstream.Stream, next uint64, handle func(messages.Event) error) (uint64, error) {
	for {
		m, err := b.eventFrom(ctx, s, next)
		if m == nil || err != nil {
			return next, err
		}
		next = m.Sequence + 1
		var e messages.Event
		if err := b.decodeEvent(m.Subject, m.Data, &e); err != nil {
			b.cfg.OnAsyncError(fmt.Errorf("event %d on %s left out: %w", m.Sequence, m.Subject, err))
		} else if err := handle(e); err != nil {
			return next, err
		}
	}
}

// eventFrom is the first event at or after seq, nil if there is none.
func (b *Bus) eventFrom(ctx context.Context, s jetstream.Stream, seq uint64) (m *jetstream.RawStreamMsg, err error) {
	err = b.call(ctx, func(ctx context.Context) error {
		m, err = s.GetMsg(ctx, max(seq, 1), jetstream.WithGetMsgSubject(b.names.Events()))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			m = nil
			return nil
		}
		return err
	})
	return m, err
}

// firstSince halves its way to the first event that was stored at or after a time.
func (b *Bus) firstSince(ctx context.Context, s jetstream.Stream, since time.Time) (uint64, error) {
	low, high := s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq+1
	for low < high {
		middle := low + (high-low)/2
		m, err := b.eventFrom(ctx, s, middle)
		switch {
		case err != nil:
			return 0, err
		case m == nil || !m.Time.Before(since):
			high = middle
		default:
			low = m.Sequence + 1
		}
	}
	return low, nil
}

// LastSeen tells when each node's last stored event was published: it remembers
// nodes that are gone, which presence does not.
func (b *Bus) LastSeen(ctx context.Context) (map[messages.NodeName]time.Time, error) {
	out, err := b.lastSeen(ctx)
	if err != nil {
		return nil, fmt.Errorf("list who published events in cluster %s: %w", b.cfg.Cluster, err)
	}
	return out, nil
}

// lastSeen has a deadline for each exchange: there is one for each kind of event of
// each node.
func (b *Bus) lastSeen(ctx context.Context) (map[messages.NodeName]time.Time, error) {
	var s jetstream.Stream
	var info *jetstream.StreamInfo
	err := b.call(ctx, func(ctx context.Context) (err error) {
		if s, err = b.js.Stream(ctx, b.names.Stream()); err != nil {
			return err
		}
		info, err = s.Info(ctx, jetstream.WithSubjectFilter(b.names.Events()))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[messages.NodeName]time.Time{}
	for subject := range info.State.Subjects {
		node, err := messages.ParseNodeName(subject[strings.LastIndexByte(subject, '.')+1:])
		if err != nil {
			continue
		}
		at, err := b.lastAt(ctx, s, subject)
		if err != nil {
			return nil, err
		}
		if at.After(out[node]) {
			out[node] = at
		}
	}
	return out, nil
}

// lastAt is when the last message on subject was stored; zero when it expired.
func (b *Bus) lastAt(ctx context.Context, s jetstream.Stream, subject string) (at time.Time, err error) {
	err = b.call(ctx, func(ctx context.Context) error {
		m, err := s.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err == nil {
			at = m.Time
		}
		return err
	})
	return at, err
}
