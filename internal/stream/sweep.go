package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Sweep removes what uploads of other hubs left: objects, chunks without an
// object, announcements, consumers. Only the one that publishes for the cluster
// may call it, because to a sweep the uploads of another publisher look dead:
// onDuty is asked before each removal, and its error ends the sweep. Objects with
// names that are not ours are left alone.
//
// A live upload of this hub registers its names before it uses them, and they are
// asked for after the listings, so that nothing of it looks dead. What was lost with
// its server is made again first.
func (h *Hub) Sweep(ctx context.Context, onDuty func() error) error {
	if err := h.store.recreate(ctx); err != nil {
		return err
	}
	s := sweeper{h.store, onDuty}
	objects, err := s.counts(ctx, s.bucketStream(), s.metaPrefix()+">")
	if err != nil {
		return err
	}
	chunks, err := s.counts(ctx, s.bucketStream(), s.chunkSubject(">"))
	if err != nil {
		return err
	}
	announced, err := s.counts(ctx, s.ns.PartsStream(), s.ns.Parts())
	if err != nil {
		return err
	}
	consumers, err := s.consumerNames(ctx)
	if err != nil {
		return err
	}
	attempts, nuids := h.live()
	// Consumers first: without them the dead uploads' readers notice at once.
	if err := s.sweepConsumers(ctx, consumers, attempts); err != nil {
		return err
	}
	if err := s.sweepObjects(ctx, objects, attempts, nuids); err != nil {
		return err
	}
	if err := s.sweepChunks(ctx, chunks, nuids); err != nil {
		return err
	}
	return s.sweepAnnouncements(ctx, announced, attempts)
}

// sweeper removes only while its publisher is on duty.
type sweeper struct {
	*Store
	onDuty func() error
}

func (s sweeper) remove(ctx context.Context, stream, subject string) error {
	if err := s.onDuty(); err != nil {
		return fmt.Errorf("sweep stream %s: %w", stream, err)
	}
	return s.purge(ctx, stream, subject)
}

func (h *Hub) live() (attempts map[messages.MessageID]bool, nuids map[string]bool) {
	attempts, nuids = map[messages.MessageID]bool{}, map[string]bool{}
	for _, u := range h.list() {
		attempts[u.attempt()] = true
		u.mu.Lock()
		maps.Copy(nuids, u.nuids)
		u.mu.Unlock()
	}
	return attempts, nuids
}

// sweepObjects removes dead descriptions, and adds the nuids of foreign ones
// to those to keep.
func (s sweeper) sweepObjects(ctx context.Context, subjects map[string]uint64, live map[messages.MessageID]bool, nuids map[string]bool) error {
	for subject := range subjects {
		name, _ := s.objectName(subject)
		attempt, ours := attemptOf(name)
		switch {
		case !ours:
			nuid, err := s.nuidOf(ctx, subject)
			if err != nil {
				return err
			}
			nuids[nuid] = true
		case !live[attempt]:
			if err := s.remove(ctx, s.bucketStream(), subject); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) nuidOf(ctx context.Context, subject string) (string, error) {
	h, err := s.stream(ctx, s.bucketStream())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := h.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", subject, err)
	}
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return "", fmt.Errorf("read %s: %w", subject, err)
	}
	return info.NUID, nil
}

func (s sweeper) sweepChunks(ctx context.Context, subjects map[string]uint64, keep map[string]bool) error {
	for subject := range subjects {
		if keep[strings.TrimPrefix(subject, s.chunkSubject(""))] {
			continue
		}
		if err := s.remove(ctx, s.bucketStream(), subject); err != nil {
			return err
		}
	}
	return nil
}

func (s sweeper) sweepAnnouncements(ctx context.Context, subjects map[string]uint64, live map[messages.MessageID]bool) error {
	done := map[string]bool{}
	for subject := range subjects {
		tokens := strings.Split(strings.TrimPrefix(subject, strings.TrimSuffix(s.ns.Parts(), ">")), ".")
		if len(tokens) < 3 || live[messages.MessageID(tokens[1])] || done[tokens[1]] {
			continue
		}
		done[tokens[1]] = true
		all := s.ns.StreamParts(messages.StreamID(tokens[0]), messages.MessageID(tokens[1]))
		if err := s.remove(ctx, s.ns.PartsStream(), all); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) consumerNames(ctx context.Context) ([]string, error) {
	h, err := s.stream(ctx, s.ns.PartsStream())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lister := h.ConsumerNames(ctx)
	var names []string
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		return nil, fmt.Errorf("list the consumers of %s: %w", s.ns.PartsStream(), err)
	}
	return names, nil
}

func (s sweeper) sweepConsumers(ctx context.Context, names []string, live map[messages.MessageID]bool) error {
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, consumerPrefix)
		attempt, _, _ := strings.Cut(rest, "_")
		if !ok || !isAttempt(attempt) || live[messages.MessageID(attempt)] {
			continue
		}
		err := func() error {
			if err := s.onDuty(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return s.js.DeleteConsumer(ctx, s.ns.PartsStream(), name)
		}()
		if err != nil && !isGone(err) {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
	}
	return nil
}
