package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/pgresync/pgresync/messages"
)

// Identity opens what was sealed to its keys. The zero value has none, and takes
// only what is not sealed.
type Identity struct {
	keys    []age.Identity
	public  []string
	lenient bool
}

// LoadIdentity reads secret keys (AGE-SECRET-KEY-1…) as age-keygen writes them; no
// path is the zero value. A lenient one takes streams that are not sealed, too.
func LoadIdentity(path string, lenient bool) (*Identity, error) {
	if path == "" {
		return &Identity{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// The cause may quote the file.
		return nil, fmt.Errorf("read identity: %s holds something else than secret keys of age (AGE-SECRET-KEY-1…), comments and empty lines", path)
	}
	i := &Identity{keys: all, lenient: lenient}
	for _, k := range all {
		x, ok := k.(*age.X25519Identity)
		if !ok {
			return nil, fmt.Errorf("read identity: %s holds a key that is not of the kind X25519 (AGE-SECRET-KEY-1…)", path)
		}
		i.public = append(i.public, x.Recipient().String())
	}
	return i, nil
}

// Public are the keys to give to publishers.
func (i *Identity) Public() []string { return slices.Clone(i.public) }

// Open is the plaintext of rec's stream. It fails with messages.ErrKeys, before a
// byte of sealed is read where that can be, when the stream is sealed and not to
// us, or is not sealed although it has to be; with messages.ErrStreamMismatch when
// it was sealed as another one.
func (i *Identity) Open(rec messages.StreamRecord, sealed io.Reader) (io.Reader, error) {
	open := len(rec.Recipients) == 0
	switch {
	case open && (len(i.keys) == 0 || i.lenient):
		return sealed, nil
	case open:
		return nil, fmt.Errorf("%w: stream %s is not encrypted, and this node has an identity and demands that", messages.ErrKeys, rec.Stream)
	case len(i.keys) == 0:
		return nil, fmt.Errorf("%w: stream %s is encrypted, and this node has no identity", messages.ErrKeys, rec.Stream)
	case !slices.ContainsFunc(i.public, func(key string) bool { return slices.Contains(rec.Recipients, key) }):
		return nil, fmt.Errorf("%w: stream %s is encrypted to %s, and not to this node's %s",
			messages.ErrKeys, rec.Stream, strings.Join(rec.Recipients, ", "), strings.Join(i.public, ", "))
	}
	plain, err := age.Decrypt(sealed, i.keys...)
	if none, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w: stream %s is not encrypted to the keys that its record names: %w", messages.ErrKeys, rec.Stream, none)
	}
	if err != nil {
		return nil, fmt.Errorf("open sealed stream %s: %w", rec.Stream, err)
	}
	head := preface(&rec)
	got := make([]byte, len(head))
	if _, err := io.ReadFull(plain, got); err != nil {
		return nil, fmt.Errorf("open sealed stream %s: %w", rec.Stream, err)
	}
	if !bytes.Equal(got, head) {
		return nil, fmt.Errorf("open sealed stream %s: %w: it was sealed as another stream", rec.Stream, messages.ErrStreamMismatch)
	}
	return opened{plain, sealed}, nil
}

// opened is the plaintext; Close ends a Read of sealed that blocks, if that can be.
type opened struct {
	io.Reader
	sealed io.Reader
}

// Close closes what is sealed.
func (o opened) Close() error {
	if c, ok := o.sealed.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
