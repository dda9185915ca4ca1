package stream

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/internal/natstest"
)

func carefulStore(t *testing.T) *Store {
	t.Helper()
	s, err := NewStore(natstest.Run(t).JetStream(t), Config{Cluster: "main", Provision: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// as publishes what an earlier try may have left.
func as(t *testing.T, s *Store, number string, data []byte) {
	t.Helper()
	msg := nats.NewMsg(s.chunkSubject("x"))
	msg.Header.Set(chunkNumber, number)
	msg.Data = data
	if _, err := s.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

func TestChunkWhoseAckWasLostIsNotStoredTwice(t *testing.T) {
	s := carefulStore(t)
	c := carefully{store: s, subject: s.chunkSubject("x")}
	for i, chunk := range []string{"zero", "one", "two"} {
		if i == 1 {
			as(t, s, "1", []byte(chunk)) // it got there, but we were never told
		}
		if err := c.put(t.Context(), []byte(chunk)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.expectCount(t.Context(), c.subject, 3); err != nil {
		t.Error(err)
	}
}

func TestForeignChunkEndsTheTry(t *testing.T) {
	s := carefulStore(t)
	c := carefully{store: s, subject: s.chunkSubject("x")}
	if err := c.put(t.Context(), []byte("zero")); err != nil {
		t.Fatal(err)
	}
	as(t, s, "0", []byte("zero again"))
	if err := c.put(t.Context(), []byte("one")); err == nil || !strings.Contains(err.Error(), "is stored where 1 is due") {
		t.Errorf("error is %v, want that another chunk is there", err)
	}
}

func TestVanishedChunksEndTheTry(t *testing.T) {
	s := carefulStore(t)
	c := carefully{store: s, subject: s.chunkSubject("x")}
	if err := c.put(t.Context(), []byte("zero")); err != nil {
		t.Fatal(err)
	}
	if err := s.purge(t.Context(), s.bucketStream(), c.subject); err != nil {
		t.Fatal(err)
	}
	if err := c.put(t.Context(), []byte("one")); err == nil || !strings.Contains(err.Error(), "are gone") {
		t.Errorf("error is %v, want that chunks are gone", err)
	}
}

func TestCarefulPartIsAnOrdinaryObject(t *testing.T) {
	s := carefulStore(t)
	want := bytes.Repeat([]byte("0123456789"), 1<<17)
	p := piece{}
	if err := p.fill(bytes.NewReader(want), make([]byte, len(want)), func() {}); err != nil {
		t.Fatal(err)
	}
	chunks, err := s.put(t.Context(), parcel{object: "part", nuid: "x", data: p.data, sum: p.sum, careful: true, sent: func() {}})
	if err != nil || chunks != 3 {
		t.Fatalf("%d chunks, error %v; want 3", chunks, err)
	}
	obs, err := s.js.ObjectStore(t.Context(), s.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	got, err := obs.GetBytes(t.Context(), "part")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the stock reader gets %d bytes, error %v", len(got), err)
	}
}

func TestFullBucketEndsTheTry(t *testing.T) {
	s := carefulStore(t)
	h, err := s.stream(t.Context(), s.bucketStream())
	if err != nil {
		t.Fatal(err)
	}
	cfg := h.CachedInfo().Config
	cfg.MaxBytes = 1000
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	_, err = s.putChunksCarefully(t.Context(), s.chunkSubject("x"), make([]byte, 5000), 500)
	if !hasCode(err, codeMaximumBytes) {
		t.Errorf("error is %v, want that the bucket is full", err)
	}
}
