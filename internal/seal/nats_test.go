package seal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// marker is plaintext that must not be found outside of sender and receiver.
var marker = []byte("the-quick-brown-secret-of-the-database")

// publisher is one on a real server.
type publisher struct {
	t          testing.TB
	server     *natstest.Server
	js         jetstream.JetStream
	cfg        stream.Config
	hub        *stream.Hub
	recipients *seal.Recipients
	file       string
}

func newPublisher(t testing.TB, nodes ...node) *publisher {
	t.Helper()
	p := &publisher{t: t, server: natstest.Run(t), file: filepath.Join(t.TempDir(), "recipients"), cfg: stream.Config{
		Cluster: "main", PartSize: 64 << 10, ChunkSize: 8 << 10, Window: 1 << 20, MaxUploads: 4, Provision: true, Linger: time.Minute,
	}}
	p.js = p.server.JetStream(t, stream.ConnectOptions()...)
	store, err := stream.NewStore(p.js, p.cfg)
	if err == nil {
		err = store.Provision(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.hub = stream.NewHub(store)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.hub.Run(ctx) }) // nil, always
	t.Cleanup(func() { cancel(); wg.Wait() })
	p.allow(nodes...)
	if p.recipients, err = seal.NewRecipients([]string{p.file}); err != nil {
		t.Fatal(err)
	}
	return p
}

// allow writes the file of recipients anew.
func (p *publisher) allow(nodes ...node) {
	p.t.Helper()
	var text strings.Builder
	for _, n := range nodes {
		text.WriteString(n.public + "\n")
	}
	write(p.t, p.file, text.String())
}

// join is what the primary sidecar does for a reader.
func (p *publisher) join(reader messages.NodeName, data []byte, opened *int) messages.StreamRecord {
	p.t.Helper()
	keys, err := p.recipients.Keys()
	if err != nil {
		p.t.Fatal(err)
	}
	rec := record(keys...)
	got, err := p.hub.Join(p.t.Context(), stream.Spec{
		Stream: rec.Stream, Node: "db1", Dataset: rec.Dataset, To: rec.To, From: rec.From, Flags: messages.FlagsPlain, Recipients: keys,
	}, reader, func(context.Context) (io.ReadCloser, error) {
		*opened++
		return p.recipients.Seal(rec, &source{Reader: bytes.NewReader(data)})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// read is what the secondary sidecar does.
func (p *publisher) read(i *seal.Identity, rec messages.StreamRecord, reader messages.NodeName) ([]byte, error) {
	p.t.Helper()
	r, err := stream.NewReader(p.server.JetStream(p.t, stream.ConnectOptions()...), p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	var got []byte
	_, err = r.Read(p.t.Context(), rec, reader, nil, func(_ context.Context, verified io.Reader) error {
		plain, err := i.Open(rec, verified)
		if err != nil {
			return err
		}
		got, err = io.ReadAll(plain)
		return err
	})
	return got, err
}

// stored are all bytes that the server holds, of all streams.
func (p *publisher) stored() (all []byte, parts int) {
	p.t.Helper()
	for name := range p.js.StreamNames(p.t.Context()).Name() {
		s, err := p.js.Stream(p.t.Context(), name)
		if err != nil {
			p.t.Fatal(err)
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(p.t.Context(), seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				p.t.Fatal(err)
			}
			all = append(all, m.Data...)
			if strings.HasPrefix(m.Subject, "$O.") {
				parts++
			}
		}
	}
	return all, parts
}

// One upload serves all recipients, and the broker holds nothing of the plaintext.
func TestTheBrokerSeesCiphertextOnly(t *testing.T) {
	a, b := newNode(t), newNode(t)
	p := newPublisher(t, a, b)
	data := bytes.Repeat(marker, 10_000) // six parts
	opened := 0
	records := map[messages.NodeName]messages.StreamRecord{"db2": p.join("db2", data, &opened), "db3": p.join("db3", data, &opened)}
	if want := []string{a.public, b.public}; !slices.Equal(records["db2"].Recipients, sorted(want)) {
		t.Errorf("the record names %v, want %v", records["db2"].Recipients, want)
	}
	got, err := p.read(a.identity(t), records["db2"], "db2")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("db2: %d bytes, %v", len(got), err)
	}
	all, parts := p.stored() // db3 has read nothing yet, so all of it is there
	if parts < 6 || bytes.Contains(all, marker) || bytes.Contains(all, marker[:12]) {
		t.Errorf("%d messages of the bucket, plaintext in them: %t", parts, bytes.Contains(all, marker[:12]))
	}
	// The search is worth something: it finds the plaintext where there is some.
	if !bytes.Contains(data, marker[:12]) {
		t.Error("the data itself does not hold the marker")
	}
	if got, err = p.read(b.identity(t), records["db3"], "db3"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("db3: %d bytes, %v", len(got), err)
	}
	if opened != 1 {
		t.Errorf("the source was opened %d times for two readers", opened)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// A change of recipients holds from the next request on: an upload for others is
// not joined, even while it lingers.
func TestRecipientsAreAddedAndRevoked(t *testing.T) {
	a, b := newNode(t), newNode(t)
	p := newPublisher(t, a)
	data := bytes.Repeat(marker, 3000)
	opened := 0
	read := func(n node, as messages.NodeName) error {
		_, err := p.read(n.identity(t), p.join(as, data, &opened), as)
		return err
	}
	if err := read(b, "db3"); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("before it is added: got %v, want ErrKeys", err)
	}
	p.allow(a, b)
	if err := errors.Join(read(a, "db2"), read(b, "db3")); err != nil {
		t.Errorf("after it was added: %v", err)
	}
	p.allow(a)
	if err := read(b, "db3"); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("after it was revoked: got %v, want ErrKeys", err)
	}
	if err := read(a, "db2"); err != nil {
		t.Errorf("the other one after that: %v", err)
	}
	if opened != 2 {
		t.Errorf("%d uploads, want one for each set of recipients: the first lingers and serves the third", opened)
	}
	// What is stored now does not open to the revoked key, whatever a record says.
	rec := p.join("db3", data, &opened)
	rec.Recipients = []string{b.public}
	if _, err := p.read(b.identity(t), rec, "db3"); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("with a forged record: got %v, want ErrKeys", err)
	}
}

// Who can write to the bucket, and does not know the keys that sign, is stopped by
// the hashes; who could forge even those, by the seal.
func TestAFlippedBitIsDetected(t *testing.T) {
	a := newNode(t)
	for name, forge := range map[string]bool{"stored bytes": false, "stored bytes and announced hashes": true} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, a)
			opened := 0
			rec := p.join("db2", bytes.Repeat(marker, 10_000), &opened)
			p.waitForEnd(rec)
			p.flip(rec, forge)
			got, err := p.read(a.identity(t), rec, "db2")
			if err == nil {
				t.Fatalf("%d bytes were taken", len(got))
			}
			if forge == errors.Is(err, stream.ErrBadPart) {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
}

func (p *publisher) waitForEnd(rec messages.StreamRecord) {
	p.t.Helper()
	natstest.Eventually(p.t, time.Minute, "the end of the upload", func() error {
		s, err := p.js.Stream(p.t.Context(), messages.Subjects{Cluster: "main"}.PartsStream())
		if err != nil {
			return err
		}
		_, err = s.GetLastMsgForSubject(p.t.Context(), messages.Subjects{Cluster: "main"}.StreamEnd(rec.Stream, rec.Attempt))
		return err
	})
}

// flip stores the third part anew with another bit in it; with forge, all
// announcements from there on, and the end, are made to fit.
func (p *publisher) flip(rec messages.StreamRecord, forge bool) {
	p.t.Helper()
	ns := messages.Subjects{Cluster: "main"}
	parts, err := p.js.Stream(p.t.Context(), ns.PartsStream())
	if err != nil {
		p.t.Fatal(err)
	}
	const third = 2
	chain := ""
	var todo []*nats.Msg
	state := parts.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := parts.GetMsg(p.t.Context(), seq)
		if err != nil {
			p.t.Fatal(err)
		}
		var doc messages.Document
		if m.Subject == ns.StreamEnd(rec.Stream, rec.Attempt) {
			end := &messages.StreamEnd{}
			must(p.t, messages.Decode(m.Data, end))
			end.Chain = chain
			doc = end
		} else {
			part := &messages.Part{}
			must(p.t, messages.Decode(m.Data, part))
			if part.Index == third {
				part.SHA256 = p.flipPart(part)
			}
			sum := sha256.Sum256([]byte(chain + part.SHA256))
			chain = hex.EncodeToString(sum[:])
			part.Chain = chain
			doc = part
		}
		body, err := messages.Encode(doc)
		must(p.t, err)
		todo = append(todo, &nats.Msg{Subject: m.Subject, Data: body})
	}
	if !forge {
		return
	}
	must(p.t, parts.Purge(p.t.Context()))
	for _, m := range todo {
		_, err := p.js.PublishMsg(p.t.Context(), m)
		must(p.t, err)
	}
}

func (p *publisher) flipPart(part *messages.Part) (sum string) {
	p.t.Helper()
	ns := messages.Subjects{Cluster: "main"}
	bucket, err := p.js.Stream(p.t.Context(), "OBJ_"+ns.Bucket())
	must(p.t, err)
	subject := "$O." + ns.Bucket() + ".C." + part.Nuid
	var chunks [][]byte
	state := bucket.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		if m, err := bucket.GetMsg(p.t.Context(), seq); err == nil && m.Subject == subject {
			chunks = append(chunks, m.Data)
		}
	}
	must(p.t, bucket.Purge(p.t.Context(), jetstream.WithPurgeSubject(subject)))
	chunks[1][100] ^= 1
	h := sha256.New()
	for _, c := range chunks {
		h.Write(c)
		_, err := p.js.Publish(p.t.Context(), subject, c)
		must(p.t, err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
