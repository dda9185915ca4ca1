package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// bucket opens a key-value bucket once.
func (b *Bus) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	b.mu.Lock()
	kv := b.buckets[name]
	b.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	kv, err := b.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("key-value bucket %s: %w", name, err)
	}
	b.mu.Lock()
	b.buckets[name] = kv
	b.mu.Unlock()
	return kv, nil
}

func (b *Bus) put(ctx context.Context, bucket, key string, d messages.Document) error {
	body, err := b.seal("$KV."+bucket+"."+key, d)
	if err == nil {
		err = b.try(ctx, func(ctx context.Context) error {
			kv, err := b.bucket(ctx, bucket)
			if err != nil {
				return err
			}
			_, err = kv.Put(ctx, key, body)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("put %s in %s: %w", key, bucket, err)
	}
	return nil
}

// get returns ErrNotFound for a key that is absent, deleted or expired.
func (b *Bus) get(ctx context.Context, bucket, key string) (e jetstream.KeyValueEntry, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		kv, err := b.bucket(ctx, bucket)
		if err != nil {
			return err
		}
		e, err = kv.Get(ctx, key)
		return err
	})
	return e, err
}

// list reads every document under a prefix, in the order of keys. It asks the
// stream for its subjects instead of using KeyValue.Keys: a watcher needs the
// right to create consumers, and pauses for 19 s over a restart of the server.
// Documents that do not decode are reported and left out, so that one node with
// a newer version does not hide the others; so are those that are not at the key that
// they name, as whose only its writer's permissions vouch for.
func list[T any, P interface {
	*T
	messages.Document
}](ctx context.Context, b *Bus, bucket, prefix string, place func(P) (messages.ClusterName, string)) ([]T, error) {
	keys, err := b.keys(ctx, bucket, prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s* in %s: %w", prefix, bucket, err)
	}
	var out []T
	for _, key := range keys {
		e, err := b.get(ctx, bucket, key)
		if errors.Is(err, messages.ErrNotFound) {
			continue // expired in between
		}
		if err != nil {
			return nil, fmt.Errorf("get %s from %s: %w", key, bucket, err)
		}
		var d T
		if err := messages.Decode(e.Value(), P(&d)); err != nil {
			b.cfg.OnAsyncError(fmt.Errorf("record %s in %s left out: %w", key, bucket, err))
			continue
		}
		if cluster, of := place(P(&d)); cluster != b.cfg.Cluster || of != key {
			b.misplaced(bucket, key, cluster, of)
			continue
		}
		out = append(out, d)
	}
	return out, nil
}

// mostReported bounds what is remembered of records that were reported.
const mostReported = 256

// misplaced reports, once, a record that somebody else may have written.
func (b *Bus) misplaced(bucket, key string, cluster messages.ClusterName, of string) {
	b.mu.Lock()
	seen := b.reported[key]
	if len(b.reported) >= mostReported {
		clear(b.reported)
	}
	b.reported[key] = true
	b.mu.Unlock()
	if !seen {
		b.cfg.OnAsyncError(fmt.Errorf("record %s in %s left out: %w: it says that it is %s of cluster %q", key, bucket, messages.ErrBadDocument, of, cluster))
	}
}

func (b *Bus) keys(ctx context.Context, bucket, prefix string) ([]string, error) {
	space := "$KV." + bucket + "."
	var keys []string
	err := b.try(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(space+prefix+">"))
		if err != nil {
			return err
		}
		keys = keys[:0]
		for subject := range info.State.Subjects {
			keys = append(keys, strings.TrimPrefix(subject, space))
		}
		return nil
	})
	slices.Sort(keys)
	return keys, err
}
