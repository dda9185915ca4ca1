package seal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one standby's key and where it keeps it.
type node struct{ public, file string }

func newNode(t testing.TB) node {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	n := node{k.Recipient().String(), filepath.Join(t.TempDir(), "identity")}
	write(t, n.file, "# created by a test\n"+k.String()+"\n")
	return n
}

func (n node) identity(t testing.TB) *seal.Identity {
	t.Helper()
	i, err := seal.LoadIdentity(n.file, false)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func record(recipients ...string) messages.StreamRecord {
	slices.Sort(recipients)
	return messages.StreamRecord{
		Cluster: "main", Dataset: "data", To: 2, From: 1, Recipients: recipients,
		Stream: messages.NewStreamID(2, 1, messages.FlagsPlain, "", recipients...),
	}
}

// source is a child's output.
type source struct {
	io.Reader
	closed bool
}

func (s *source) Close() error { s.closed = true; return nil }

func sealAll(t testing.TB, rec messages.StreamRecord, data []byte) []byte {
	t.Helper()
	r, err := (&seal.Recipients{}).Seal(rec, &source{Reader: bytes.NewReader(data)})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func openAll(i *seal.Identity, rec messages.StreamRecord, sealed []byte) ([]byte, error) {
	r, err := i.Open(rec, bytes.NewReader(sealed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte("seal"))).Read(b) // never fails
	return b
}

func TestEveryRecipientOpensWhatWasSealedOnce(t *testing.T) {
	a, b := newNode(t), newNode(t)
	for _, size := range []int{0, 1, 64<<10 - 100, 64 << 10, 300_001} {
		data := noise(size)
		rec := record(a.public, b.public)
		sealed := sealAll(t, rec, data)
		for _, n := range []node{a, b} {
			got, err := openAll(n.identity(t), rec, sealed)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: got %d back, %v", size, len(got), err)
			}
		}
		if other := sealAll(t, rec, data); bytes.Contains(other, sealed[len(sealed)-20:]) {
			t.Error("two uploads have the same bytes")
		}
	}
}

func TestWhoIsNotARecipientIsTold(t *testing.T) {
	a, b := newNode(t), newNode(t)
	rec := record(a.public)
	sealed := sealAll(t, rec, noise(1000))
	_, err := openAll(b.identity(t), rec, sealed)
	if !errors.Is(err, messages.ErrKeys) || !strings.Contains(err.Error(), b.public) {
		t.Errorf("got %v, want ErrKeys with our own key", err)
	}
	// A record that says otherwise does not help.
	lied := rec
	lied.Recipients = []string{b.public}
	if _, err := openAll(b.identity(t), lied, sealed); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("with a record that lies: got %v, want ErrKeys", err)
	}
	if _, err := openAll(&seal.Identity{}, rec, sealed); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("without an identity: got %v, want ErrKeys", err)
	}
}

func TestAPlainStreamIsRefusedToWhoHasAnIdentity(t *testing.T) {
	a := newNode(t)
	if _, err := openAll(a.identity(t), record(), []byte("plain")); !errors.Is(err, messages.ErrKeys) {
		t.Errorf("got %v, want ErrKeys", err)
	}
	lenient, err := seal.LoadIdentity(a.file, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openAll(lenient, record(), []byte("plain")); err != nil || string(got) != "plain" {
		t.Errorf("one that takes both: got %q, %v", got, err)
	}
	// Plain bytes under a record that says sealed.
	if got, err := openAll(lenient, record(a.public), bytes.Repeat([]byte("plain"), 1000)); err == nil {
		t.Errorf("plain bytes were taken for sealed ones: %d", len(got))
	}
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	a := newNode(t)
	data := noise(200_000)
	rec := record(a.public)
	sealed := sealAll(t, rec, data)
	again := sealAll(t, rec, data)
	header := bytes.Index(sealed, []byte("\n---")) + 4
	piece := func(n int) int { return len(sealed) - 200_000%(64<<10) - 1 - n*(64<<10+16) } // somewhere within
	for name, change := range map[string]func(b []byte) []byte{
		"a bit of the header":      func(b []byte) []byte { b[header-60] ^= 1; return b },
		"a bit of the first piece": func(b []byte) []byte { b[header+200] ^= 1; return b },
		"the last bit":             func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"the last byte is missing": func(b []byte) []byte { return b[:len(b)-1] },
		"the end is missing":       func(b []byte) []byte { return b[:piece(0)] },
		"something follows":        func(b []byte) []byte { return append(b, 0) },
		"two pieces are swapped": func(b []byte) []byte {
			const sealedPiece = 64<<10 + 16
			first := len(b) - len(b[header:])%sealedPiece - 2*sealedPiece
			out := slices.Clone(b)
			copy(out[first:], b[first+sealedPiece:first+2*sealedPiece])
			copy(out[first+sealedPiece:], b[first:first+sealedPiece])
			return out
		},
		"a piece is of another upload of the same": func(b []byte) []byte { copy(b[100_000:], again[100_000:]); return b },
	} {
		if got, err := openAll(a.identity(t), rec, change(slices.Clone(sealed))); err == nil {
			t.Errorf("%s: opened, %d bytes", name, len(got))
		}
	}
}

func TestAStreamIsNotTakenForAnother(t *testing.T) {
	a := newNode(t)
	rec := record(a.public)
	sealed := sealAll(t, rec, noise(1000))
	for name, change := range map[string]func(r *messages.StreamRecord){
		"cluster": func(r *messages.StreamRecord) { r.Cluster = "other" },
		"dataset": func(r *messages.StreamRecord) { r.Dataset = "wal" },
		"target":  func(r *messages.StreamRecord) { r.To = 3 },
		"base":    func(r *messages.StreamRecord) { r.From = 0 },
		"stream": func(r *messages.StreamRecord) {
			r.Stream = messages.NewStreamID(2, 1, messages.FlagsPlain, "1-2-3-4", a.public)
		},
	} {
		other := rec
		change(&other)
		if _, err := openAll(a.identity(t), other, sealed); !errors.Is(err, messages.ErrStreamMismatch) {
			t.Errorf("%s: got %v, want ErrStreamMismatch", name, err)
		}
	}
}

// A source that fails must not look like one that ended (I-6).
func TestAFailedSourceDoesNotOpenAsAWhole(t *testing.T) {
	a := newNode(t)
	rec := record(a.public)
	broken := errors.New("zfs send exited with 1")
	src := &source{Reader: io.MultiReader(bytes.NewReader(noise(100_000)), failing{broken})}
	r, err := (&seal.Recipients{}).Seal(rec, src)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the source's error", err)
	}
	if err := r.Close(); err != nil || !src.closed {
		t.Errorf("close: %v, closed %v", err, src.closed)
	}
	if _, err := openAll(a.identity(t), rec, got); err == nil {
		t.Error("what was sealed of it opens as if it were all")
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// Closing ends a Read of the source that blocks, and leaves no goroutine.
func TestCloseEndsASourceThatBlocks(t *testing.T) {
	r, w := io.Pipe()
	s, err := (&seal.Recipients{}).Seal(record(newNode(t).public), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the source was not closed: %v", err)
	}
}

func TestFilesOfKeysAreReadForEveryUpload(t *testing.T) {
	a, b := newNode(t), newNode(t)
	file := filepath.Join(t.TempDir(), "recipients")
	write(t, file, "# standbys\n"+a.public+"\n\n"+b.public+"\n")
	r, err := seal.NewRecipients([]string{file, a.public})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{a.public, b.public}
	slices.Sort(want)
	if got, err := r.Keys(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want both keys once", got, err)
	}
	write(t, file, a.public+"\n") // b is revoked
	if got, err := r.Keys(); err != nil || !slices.Equal(got, []string{a.public}) {
		t.Errorf("got %v, %v, want one key", got, err)
	}
	// Sealing to nobody, or not at all, is no way out.
	for name, text := range map[string]string{"empty": "", "garbage": "age1garbage", "a secret key": "AGE-SECRET-KEY-1QQQQ"} {
		write(t, file, text)
		alone, err := seal.NewRecipients([]string{file})
		if err == nil {
			t.Errorf("%s: taken: %v", name, alone)
		} else if strings.Contains(err.Error(), "QQQQ") {
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Keys(); err == nil {
		t.Errorf("without its file: got %v", got)
	}
}

func TestIdentitiesThatAreNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity")
	for name, text := range map[string]string{"nothing": "", "a public key": newNode(t).public, "a damaged one": "AGE-SECRET-KEY-1SECRETQQQQ"} {
		write(t, file, text)
		if _, err := seal.LoadIdentity(file, false); err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "SECRETQ") {
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
}

func FuzzOpenSealed(f *testing.F) {
	// The same in every process: fuzzing has several.
	const secret = "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWRYDWG"
	file := filepath.Join(f.TempDir(), "identity")
	write(f, file, secret)
	i, err := seal.LoadIdentity(file, false)
	if err != nil {
		f.Fatal(err)
	}
	rec := record(i.Public()...)
	data := noise(1000)
	f.Add(sealAll(f, rec, data))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 AAAA\nAAAA\n--- AAAA\n"))
	f.Add([]byte("plain"))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got, err := openAll(i, rec, sealed)
		if err == nil && !bytes.Equal(got, data) {
			t.Errorf("other bytes were taken: %d", len(got))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	rec := record(newNode(b).public)
	data := noise(32 << 20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, err := (&seal.Recipients{}).Seal(rec, &source{Reader: bytes.NewReader(data)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

func BenchmarkOpen(b *testing.B) {
	n := newNode(b)
	rec, i := record(n.public), n.identity(b)
	sealed := sealAll(b, rec, noise(32<<20))
	b.SetBytes(int64(len(sealed)))
	for b.Loop() {
		r, err := i.Open(rec, bytes.NewReader(sealed))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestClosingThePlaintextClosesWhatIsSealed(t *testing.T) {
	a := newNode(t)
	rec := record(a.public)
	src := &source{Reader: bytes.NewReader(sealAll(t, rec, noise(1000)))}
	plain, err := a.identity(t).Open(rec, src)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := plain.(io.Closer); !ok || c.Close() != nil || !src.closed {
		t.Errorf("it is a closer: %t, what is sealed was closed: %t", ok, src.closed)
	}
}
