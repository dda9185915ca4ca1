package messages_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"errors"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// A user's nkey pair made by nkeys v0.4.16 from the seed bytes 0 to 31.
const publicNkey = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"

// nkey writes a public key the way nkeys does.
func nkey(prefix byte, key ed25519.PublicKey) string {
	body := append([]byte{prefix}, key...)
	var crc uint16
	for _, c := range body {
		crc ^= uint16(c) << 8
		for range 8 {
			top := crc & 0x8000
			crc <<= 1
			if top != 0 {
				crc ^= 0x1021
			}
		}
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(body, byte(crc), byte(crc>>8)))
}

func signer(first byte) (*messages.Signer, string) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{first}, ed25519.SeedSize))
	key := nkey(20<<3, private.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // by its documentation
	return &messages.Signer{Key: key, Sign: func(b []byte) ([]byte, error) { return ed25519.Sign(private, b), nil }}, key
}

func pinned(t *testing.T, texts ...string) messages.Keys {
	t.Helper()
	keys, err := messages.ParseKeys(texts)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const signedText = `{"v":1,"ok":false,"code":"refused","error":"x"}`

func sealed(t *testing.T, s *messages.Signer, text string) []byte {
	t.Helper()
	b, err := s.Seal("a.b", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASignedDocumentIsOneJSONObjectThatOpens(t *testing.T) {
	s, key := signer(1)
	b := sealed(t, s, signedText)
	doc, signature, err := pinned(t, key).Open("a.b", b)
	if err != nil || string(doc) != signedText || signature == "" {
		t.Errorf("got %s, %q, %v", doc, signature, err)
	}
	var reply messages.ErrorReply
	if err := messages.Decode(b, &reply); err != nil || reply.Error != "x" {
		t.Errorf("a reader without keys gets %+v, %v", reply, err)
	}
	if doc, _, err := (messages.Keys{}).Open("other", b); err != nil || string(doc) != signedText {
		t.Errorf("without pinned keys: %s, %v", doc, err)
	}
	if b := sealed(t, nil, signedText); string(b) != signedText {
		t.Errorf("without a signer: %s", b)
	}
}

func TestWhatWasNotSignedLikeThisIsRefused(t *testing.T) {
	s, key := signer(1)
	stranger, _ := signer(2)
	good := sealed(t, s, signedText)
	tampered := bytes.Replace(good, []byte("refused"), []byte("Refused"), 1)
	grown := append([]byte(`{"v":2,`), good[1:]...)
	twice := sealed(t, stranger, string(good))
	claimed := bytes.Replace(sealed(t, stranger, signedText), []byte(stranger.Key), []byte(key), 1)
	for what, tc := range map[string]struct {
		subject string
		body    []byte
	}{
		"no signature":             {"a.b", []byte(signedText)},
		"another subject":          {"a.c", good},
		"another text":             {"a.b", tampered},
		"members before":           {"a.b", grown},
		"members after":            {"a.b", append(bytes.TrimSuffix(bytes.Clone(good), []byte("}")), []byte(`,"v":2}`)...)},
		"a stranger's key":         {"a.b", sealed(t, stranger, signedText)},
		"a stranger's, on top":     {"a.b", twice},
		"a stranger's, as ours":    {"a.b", claimed},
		"cut":                      {"a.b", good[:len(good)-1]},
		"white space":              {"a.b", append(bytes.Clone(good), '\n')},
		"only a signature":         {"a.b", good[len(signedText)-1:]},
		"nothing":                  {"a.b", nil},
		"subject within the text":  {"a", []byte("b\n" + string(good))},
		"another form of base 64":  {"a.b", bytes.Replace(good, good[len(good)-4:], append([]byte{'='}, good[len(good)-3:]...), 1)},
		"a key that is no key":     {"a.b", bytes.Replace(good, []byte(key), []byte(strings.Repeat("U", 56)), 1)},
		"another case of the text": {"a.b", bytes.ToUpper(good)},
	} {
		if doc, _, err := pinned(t, key).Open(tc.subject, tc.body); !errors.Is(err, messages.ErrUntrusted) {
			t.Errorf("%s: got %s, %v", what, doc, err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	s, key := signer(1)
	good, keys := sealed(t, s, signedText), pinned(t, key)
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := keys.Open("a.b", b); !errors.Is(err, messages.ErrUntrusted) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
	}
}

func TestKeysAreChecked(t *testing.T) {
	s, _ := signer(1)
	_, key := signer(3)
	account := nkey(0, ed25519.PublicKey(make([]byte, 32)))
	for what, text := range map[string]string{
		"empty": "", "short": key[:55], "long": key + "A", "lower case": strings.ToLower(key), "mistyped": "UA" + strings.Map(swap, key[2:]),
		"an account's": account, "a seed": "S" + key[1:], "10 kB": strings.Repeat("U", 10_000),
	} {
		if _, err := messages.ParseKeys([]string{key, text}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := messages.ParseKeys([]string{publicNkey}); err != nil {
		t.Errorf("a key that nkeys wrote: %v", err)
	}
	for _, doc := range []string{"", "{}", "[1,2,3]", `"text"`, "{"} {
		if _, err := s.Seal("a", []byte(doc)); err == nil {
			t.Errorf("%q was signed", doc)
		}
	}
}

func swap(r rune) rune {
	if r == 'A' {
		return 'B'
	}
	return r
}

func FuzzOpen(f *testing.F) {
	s, key := signer(1)
	keys, err := messages.ParseKeys([]string{key})
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Seal("a.b", []byte(signedText))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b", good)
	f.Add("a.b", []byte(signedText))
	f.Add("", []byte(`,"sig":"`))
	f.Fuzz(func(t *testing.T, subject string, b []byte) {
		doc, _, err := keys.Open(subject, b)
		if err == nil && (subject != "a.b" || !bytes.Equal(b, good)) {
			t.Errorf("forged: %q on %q gives %q", b, subject, doc)
		}
		_, _, _ = messages.Keys{}.Open(subject, b)
	})
}
