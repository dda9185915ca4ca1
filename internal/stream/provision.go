package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Provision creates the bucket and the stream of announcements, or, without
// Config.Provision, checks those that the operator made. Limits that do not
// fit are errors that name the limit and what it has to be. It is idempotent.
func (s *Store) Provision(ctx context.Context) error {
	if limit := s.conn.MaxPayload(); limit > 0 && limit < 2*payloadRoom {
		return fmt.Errorf("server's max_payload is %d bytes: set it to 1MB", limit)
	}
	if err := s.ensure(ctx, s.bucketConfig(), s.checkBucket); err != nil {
		return err
	}
	return s.ensure(ctx, s.partsConfig(), s.checkParts)
}

// bucketConfig: asynchronous persistence, because the spool is disposable, where
// the server has it (files of one replica); a short duplicate window, because the
// server reads everything younger than it again when it starts (0.5 s per GiB
// measured).
func (s *Store) bucketConfig() jetstream.StreamConfig {
	bucket := s.ns.Bucket()
	cfg := jetstream.StreamConfig{
		Name:        s.bucketStream(),
		Description: "pgresync: parts of zfs send streams in transit",
		Subjects:    []string{"$O." + bucket + ".C.>", "$O." + bucket + ".M.>"},
		Storage:     s.cfg.Storage,
		Replicas:    s.cfg.BucketReplicas,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    s.cfg.MaxBucket,
		MaxAge:      maxAge,
		Duplicates:  bucketDedupe,
		AllowRollup: true,
		AllowDirect: true,
	}
	if cfg.Storage == jetstream.FileStorage && cfg.Replicas == 1 {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	if s.cfg.Compression {
		cfg.Compression = jetstream.S2Compression
	}
	return cfg
}

func (s *Store) partsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.ns.PartsStream(),
		Description: "pgresync: announcements of stored parts",
		Subjects:    []string{s.ns.Parts()},
		Storage:     s.cfg.Storage,
		Replicas:    s.cfg.Replicas,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    partsBytes,
		MaxAge:      maxAge,
		Duplicates:  dedupeWindow,
		AllowDirect: true,
	}
}

func (s *Store) ensure(ctx context.Context, want jetstream.StreamConfig, check func(jetstream.StreamConfig) error) error {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()
	h, err := s.lookOrCreate(ctx, want)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("JetStream stream %s: %w: create it, or allow provisioning", want.Name, messages.ErrNotFound)
	case err == nil && s.cfg.Provision && outdated(h.CachedInfo().Config, want, check):
		h, err = s.js.UpdateStream(ctx, raised(h.CachedInfo().Config, want))
	}
	if err != nil {
		return fmt.Errorf("provision JetStream stream %s: %w%s", want.Name, err, remedy(err, want))
	}
	if err := check(h.CachedInfo().Config); err != nil {
		return fmt.Errorf("JetStream stream %s does not fit: %w", want.Name, err)
	}
	s.keep(want.Name, h)
	return nil
}

// recreate makes what was lost with its server, and has what another node made again
// be enough for this one, which publishes. Without Config.Provision it is the operator's
// to do.
func (s *Store) recreate(ctx context.Context) error {
	if !s.cfg.Provision {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()
	checks := map[string]func(jetstream.StreamConfig) error{s.bucketStream(): s.checkBucket, s.ns.PartsStream(): s.checkParts}
	for _, want := range []jetstream.StreamConfig{s.bucketConfig(), s.partsConfig()} {
		h, err := s.lookOrCreate(ctx, want)
		if err != nil {
			return fmt.Errorf("%w: look for JetStream stream %s, or make it again: %w%s", messages.ErrUnavailable, want.Name, err, remedy(err, want))
		}
		if !s.isAnother(want.Name, h) {
			s.keep(want.Name, h)
			continue
		}
		if err := s.ensure(ctx, want, checks[want.Name]); err != nil {
			return fmt.Errorf("%w: %w", messages.ErrUnavailable, err)
		}
	}
	return nil
}

func (s *Store) lookOrCreate(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	h, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && s.cfg.Provision {
		h, err = s.create(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was faster
			h, err = s.js.Stream(ctx, want.Name)
		}
	}
	return h, err
}

// keep remembers a stream, and notices that it is not the one it was.
func (s *Store) keep(name string, h jetstream.Stream) {
	if s.isAnother(name, h) {
		s.losses.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[name], s.created[name] = h, h.CachedInfo().Created
}

// isAnother is whether h is not the stream that was kept under its name.
func (s *Store) isAnother(name string, h jetstream.Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.created[name]
	return !was.IsZero() && !was.Equal(h.CachedInfo().Created)
}

// outdated tells whether what we made is not what is wanted now. More than that is no
// reason: every node asks when it starts, and the one that publishes may be
// configured for it.
func outdated(got, want jetstream.StreamConfig, check func(jetstream.StreamConfig) error) bool {
	return check(got) != nil || got.Replicas < want.Replicas || got.Storage != want.Storage ||
		got.Compression != want.Compression || got.MaxBytes > 0 && got.MaxBytes < want.MaxBytes
}

// raised is want where that is more than there is.
func raised(got, want jetstream.StreamConfig) jetstream.StreamConfig {
	want.PersistMode = got.PersistMode // it cannot be changed
	want.Replicas = max(got.Replicas, want.Replicas)
	if got.MaxBytes <= 0 {
		want.MaxBytes = got.MaxBytes
	}
	want.MaxBytes = max(got.MaxBytes, want.MaxBytes)
	return want
}

// create falls back to the ordinary persistence where the server refuses the
// asynchronous one: it is a matter of speed only.
func (s *Store) create(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	h, err := s.js.CreateStream(ctx, want)
	if err == nil || want.PersistMode == jetstream.DefaultPersistMode || hasCode(err, storageCodes...) {
		return h, err
	}
	want.PersistMode = jetstream.DefaultPersistMode
	return s.js.CreateStream(ctx, want)
}

var storageCodes = []jetstream.ErrorCode{
	codeInsufficientResources, codeInsufficientStorage, codeMaxBytesRequired, codeStreamMaxBytesExceeded,
}

func remedy(err error, want jetstream.StreamConfig) string {
	if hasCode(err, codeStreamUpdate, codeStreamInvalidConfig) {
		return fmt.Sprintf(" (storage %s with %d replicas is configured, and what is there cannot become that: "+
			"when no transfer runs, delete it with `nats stream rm %s`)", want.Storage, want.Replicas, want.Name)
	}
	if !hasCode(err, storageCodes...) {
		return ""
	}
	return fmt.Sprintf(" (it asks for %d bytes of %s storage: raise the server's max_file_store or the account's limits, "+
		"or configure a smaller window and bucket)", want.MaxBytes, want.Storage)
}

func (s *Store) checkBucket(got jetstream.StreamConfig) error {
	want := s.bucketConfig()
	errs := []error{
		checkSubjects(got, want),
		checkRoom(got, s.cfg.LeastBucket(), s.chunkSize()+payloadRoom),
		expect(got.Discard == jetstream.DiscardNew, "discard is %s, want new: old would drop parts that nobody has read", got.Discard),
		expect(got.AllowRollup, "allow_rollup_hdrs is off: objects need it"),
		expect(got.AllowDirect, "allow_direct is off: reading objects needs it"),
		expect(!got.DenyPurge && !got.Sealed, "it is sealed or denies purging: parts could not be removed"),
		expect(got.MaxAge == 0 || got.MaxAge >= 6*s.cfg.ReaderGrace, "max_age %s is less than six times the readers' grace of %s", got.MaxAge, s.cfg.ReaderGrace),
		expect(got.Retention == jetstream.LimitsPolicy, "retention is %s, want limits", got.Retention),
		expect(got.MaxMsgsPerSubject <= 0, "max_msgs_per_subject is %d: a part has more chunks", got.MaxMsgsPerSubject),
	}
	return errors.Join(errs...)
}

func (s *Store) checkParts(got jetstream.StreamConfig) error {
	return errors.Join(
		checkSubjects(got, s.partsConfig()),
		checkRoom(got, 1<<20, 4<<10),
		expect(got.Retention == jetstream.LimitsPolicy, "retention is %s, want limits: a late reader starts with part 0", got.Retention),
		expect(!got.DenyPurge && !got.Sealed, "it is sealed or denies purging: announcements could not be removed"),
	)
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func checkSubjects(got, want jetstream.StreamConfig) error {
	missing := slices.DeleteFunc(slices.Clone(want.Subjects), func(s string) bool { return slices.Contains(got.Subjects, s) })
	return expect(len(missing) == 0, "it lacks the subjects %s", strings.Join(missing, ", "))
}

func checkRoom(got jetstream.StreamConfig, bytes int64, msg int) error {
	return errors.Join(
		expect(got.MaxBytes <= 0 || got.MaxBytes >= bytes, "max_bytes is %d, want at least %d", got.MaxBytes, bytes),
		expect(got.MaxMsgSize <= 0 || int(got.MaxMsgSize) >= msg, "max_msg_size is %d, want at least %d", got.MaxMsgSize, msg),
		expect(got.MaxMsgs <= 0, "max_msgs is %d, want no limit", got.MaxMsgs),
	)
}
