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

const (
	provisionBound = 30 * time.Second
	// msgOverhead is allowed for headers on top of a document.
	msgOverhead = 64 << 10
	// dedupeWindow must outlast every retry of Publish, across a server restart.
	dedupeWindow = 10 * time.Minute
	// perSubject bounds what one noisy node can push out.
	perSubject = 64
	// stateBytes bounds each key-value bucket.
	stateBytes = 32 << 20
)

// resource is a stream, or the stream behind a bucket, that must exist.
type resource struct {
	want jetstream.StreamConfig
	// needs says why an existing one does not do, nil if it does.
	needs func(have jetstream.StreamConfig) error
	// kind, name and command are for the operator who has to make it.
	kind, name, command string
}

// Provision makes sure that the event stream and the two buckets exist and fit.
// With Config.Provision it creates what is missing; what exists is never
// altered, since another node's settings, or an operator's hand, made it. Errors
// name the object and the command that makes it; ErrNotFound if one is missing
// and may not be created, ErrRefused if one does not fit.
func (b *Bus) Provision(ctx context.Context) error {
	if have := b.control.nc.MaxPayload(); have < messages.MaxDocument+msgOverhead {
		return fmt.Errorf("NATS server: %w: max_payload is %d bytes, documents need %d (set max_payload: 1MB in the server's configuration)",
			messages.ErrRefused, have, messages.MaxDocument+msgOverhead)
	}
	var errs []error
	for _, r := range b.resources() {
		if err := b.provision(ctx, r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (b *Bus) provision(ctx context.Context, r resource) error {
	var have jetstream.StreamConfig
	err := b.retry(ctx, provisionBound, func(ctx context.Context) (err error) {
		have, _, err = b.lookOrCreate(ctx, r.want)
		return err
	})
	switch {
	case errors.Is(err, messages.ErrNotFound):
		return fmt.Errorf("%s %s: %w (create it: %s)", r.kind, r.name, messages.ErrNotFound, r.command)
	case err != nil:
		return fmt.Errorf("%s %s: %w", r.kind, r.name, err)
	}
	// The answer is what counts: older servers drop options they do not know
	// without a word.
	if err := errors.Join(r.needs(have), b.lasting(have)); err != nil {
		return fmt.Errorf("%s %s exists but does not fit: %w: %w (mend it, or remove it and: %s)",
			r.kind, r.name, messages.ErrRefused, err, r.command)
	}
	if r.name == b.names.Bucket() {
		b.setLeaseTTL(have.MaxAge)
	}
	return nil
}

// lasting refuses what a restart of the server would remove for good: an
// unreplicated memory stream does not come back empty, it does not come back
// (nats-server 2.15.2).
func (b *Bus) lasting(have jetstream.StreamConfig) error {
	if have.Storage == jetstream.MemoryStorage && have.Replicas < 2 && !b.cfg.Provision {
		return errors.New("it is in memory without replicas, so that it ceases to exist when its server restarts: want file storage")
	}
	return nil
}

func (b *Bus) lookOrCreate(ctx context.Context, want jetstream.StreamConfig) (have jetstream.StreamConfig, created bool, err error) {
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && b.cfg.Provision {
		s, err = b.js.CreateStream(ctx, want)
		created = err == nil
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = b.js.Stream(ctx, want.Name) // another node was faster, with other settings
		}
	}
	if err != nil {
		return jetstream.StreamConfig{}, false, err
	}
	return s.CachedInfo().Config, created, nil
}

// try is call for what needs the streams and buckets: when they were lost with
// their server, and may be created, they are, and f is called once more.
func (b *Bus) try(ctx context.Context, f func(ctx context.Context) error) error {
	err := b.call(ctx, f)
	if err != nil && b.cfg.Provision && isMissing(err) && b.recreate(ctx) {
		err = b.call(ctx, f)
	}
	return err
}

// recreate reports whether anything was missing and could be made.
func (b *Bus) recreate(ctx context.Context) (any bool) {
	for _, r := range b.resources() {
		_ = b.call(ctx, func(ctx context.Context) error {
			have, created, err := b.lookOrCreate(ctx, r.want)
			any = any || created
			if err == nil && r.name == b.names.Bucket() {
				b.setLeaseTTL(have.MaxAge) // another node's, perhaps, that was faster
			}
			return err // the caller has the error that matters
		})
	}
	return any
}

// isMissing reports whether err is what a stream that is gone looks like: an
// answer from its absence, or none from its subject.
func isMissing(err error) bool {
	for _, target := range []error{jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound, jetstream.ErrNoStreamResponse, nats.ErrNoResponders} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func (b *Bus) resources() []resource {
	return []resource{b.eventStream(), b.stateBucket(), b.presenceBucket()}
}

func (b *Bus) eventStream() resource {
	want := jetstream.StreamConfig{
		Name:              b.names.Stream(),
		Description:       "pgresync: events and triggers of cluster " + string(b.cfg.Cluster),
		Subjects:          []string{b.names.Events(), b.names.Triggers()},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		Storage:           b.cfg.storage(),
		Replicas:          b.cfg.Replicas,
		MaxMsgsPerSubject: perSubject,
		MaxBytes:          b.cfg.MaxEventBytes,
		MaxAge:            b.cfg.EventMaxAge,
		MaxMsgSize:        messages.MaxDocument + msgOverhead,
		Duplicates:        min(dedupeWindow, b.cfg.EventMaxAge),
	}
	return resource{want: want, needs: eventStreamFits(want.Subjects), kind: "stream", name: want.Name, command: fmt.Sprintf(
		"nats stream add %s --subjects '%s' --storage %s --replicas %d --retention limits --discard old --max-msgs-per-subject %d --max-bytes %d --max-age %s --max-msg-size %d --dupe-window %s --defaults",
		want.Name, strings.Join(want.Subjects, ","), b.cfg.Storage, want.Replicas, want.MaxMsgsPerSubject, want.MaxBytes, want.MaxAge, want.MaxMsgSize, want.Duplicates)}
}

func (b *Bus) stateBucket() resource {
	return b.bucketResource(b.names.Bucket(), "lease and streams", b.cfg.LeaseTTL)
}

func (b *Bus) presenceBucket() resource {
	return b.bucketResource(b.names.PresenceBucket(), "presence of nodes", b.cfg.PresenceTTL)
}

// bucketResource is a bucket whose records live for ttl after their last
// renewal. The TTL is the bucket's: that of a single key is dropped by the next
// Update (nats.go v1.55.0). No delete markers by limit: they need server 2.11,
// and nothing here watches.
func (b *Bus) bucketResource(name, what string, ttl time.Duration) resource {
	want := jetstream.StreamConfig{
		Name:              "KV_" + name,
		Description:       "pgresync: " + what + " of cluster " + string(b.cfg.Cluster),
		Subjects:          []string{"$KV." + name + ".>"},
		Discard:           jetstream.DiscardNew,
		Storage:           b.cfg.storage(),
		Replicas:          b.cfg.Replicas,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxConsumers:      -1,
		MaxBytes:          stateBytes,
		MaxMsgSize:        messages.MaxDocument + msgOverhead,
		MaxAge:            ttl,
		Duplicates:        min(ttl, 2*time.Minute),
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
	}
	return resource{want: want, needs: bucketFits, kind: "key-value bucket", name: name, command: fmt.Sprintf(
		"nats kv add %s --history 1 --ttl %s --storage %s --replicas %d --max-bucket-size %d",
		name, ttl, b.cfg.Storage, want.Replicas, want.MaxBytes)}
}

// setLeaseTTL is for the bucket's own value; one without a TTL is refused by Provision.
func (b *Bus) setLeaseTTL(ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ttl = ttl
}

// LeaseTTL is how long a lease lives without renewal: the bucket's own value
// once Provision has seen it, which changes when the bucket is lost and made again.
// Renew every third of it.
func (b *Bus) LeaseTTL() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ttl
}
