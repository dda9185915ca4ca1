package stream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func signer(t *testing.T) *messages.Signer {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return &messages.Signer{Key: key, Sign: pair.Sign}
}

func TestOnlySignedAnnouncementsReachTheSink(t *testing.T) {
	good, stranger := signer(t), signer(t)
	keys, err := messages.ParseKeys([]string{good.Key})
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		by     *messages.Signer
		pinned messages.Keys
		ok     bool
	}{
		"signed, pinned":               {good, keys, true},
		"signed, not pinned":           {good, nil, true},
		"unsigned, pinned: downgrade":  {nil, keys, false},
		"signed by a stranger, pinned": {stranger, keys, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *stream.Config) { c.Signer, c.Publishers = tc.by, tc.pinned })
			o := &opener{data: noise(3*w.cfg.PartSize, 1)}
			got, _, err := w.read(w.join(2, "db2", o.open), "db2")
			switch {
			case tc.ok && (err != nil || !slices.Equal(got, o.data)):
				t.Errorf("%d bytes, %v; want all", len(got), err)
			case !tc.ok && (!errors.Is(err, messages.ErrUntrusted) || len(got) > 0):
				t.Errorf("%d bytes, %v; want none and ErrUntrusted", len(got), err)
			}
		})
	}
}

// Whoever writes to the broker can put well-chained announcements of other data
// there; the signatures are what it cannot make.
func TestForgedAnnouncementsAreUntrusted(t *testing.T) {
	good := signer(t)
	keys, err := messages.ParseKeys([]string{good.Key})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *stream.Config) {
		c.Signer, c.Publishers = good, keys
	})
	o := &opener{data: noise(3*w.cfg.PartSize, 1)}
	rec := stored(t, w, o)
	forge(t, w, rec, func(p []messages.Part, _ *messages.StreamEnd) []messages.Part { return p }) // without signatures
	got, _, err := w.read(rec, "db2")
	if !errors.Is(err, messages.ErrUntrusted) || !strings.Contains(err.Error(), "no signature") || len(got) > 0 {
		t.Errorf("%d bytes, %v; want none and ErrUntrusted", len(got), err)
	}
}
