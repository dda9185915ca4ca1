package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// StreamUsage is what one JetStream stream of the cluster holds.
type StreamUsage struct {
	// Which is events, state, presence, parts or announcements.
	Which           string
	Bytes, Messages uint64
	// Limit is in bytes, 0 or less when there is none.
	Limit int64
}

// Usage asks for the streams that this sidecar may know of: a standby's has no
// business with the bucket of parts beyond reading it. What is not there yet is left
// out.
func (b *Bus) Usage(ctx context.Context) ([]StreamUsage, error) {
	all := []struct{ which, stream string }{
		{"events", b.names.Stream()}, {"state", "KV_" + b.names.Bucket()}, {"presence", "KV_" + b.names.PresenceBucket()},
	}
	if b.cfg.Sidecar == messages.SidecarPrimary {
		all = append(all, struct{ which, stream string }{"parts", "OBJ_" + b.names.Bucket()}, struct{ which, stream string }{"announcements", b.names.PartsStream()})
	}
	var out []StreamUsage
	for _, s := range all {
		var info *jetstream.StreamInfo
		err := b.call(ctx, func(ctx context.Context) error {
			h, err := b.js.Stream(ctx, s.stream)
			if err == nil {
				info = h.CachedInfo()
			}
			return err
		})
		if errors.Is(err, messages.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask what stream %s holds: %w", s.stream, err)
		}
		out = append(out, StreamUsage{s.which, info.State.Bytes, info.State.Msgs, info.Config.MaxBytes})
	}
	return out, nil
}
