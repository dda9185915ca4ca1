package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/pgresync/pgresync/messages"
)

// Recipients are the keys to seal to, as configured: public keys (age1…), and
// absolute paths of files with one on each line, which are read for every upload.
type Recipients struct{ items []string }

// NewRecipients checks the items, files included. Nil for none: streams are not
// sealed.
func NewRecipients(items []string) (*Recipients, error) {
	if len(items) == 0 {
		return nil, nil
	}
	r := &Recipients{items: items}
	_, err := r.Keys()
	return r, err
}

// Keys are the recipients of an upload that begins now: sorted, each once, and not
// none of them.
func (r *Recipients) Keys() ([]string, error) {
	if r == nil {
		return nil, nil
	}
	var keys []string
	for _, item := range r.items {
		found := []string{item}
		if filepath.IsAbs(item) {
			var err error
			if found, err = readKeys(item); err != nil {
				return nil, err
			}
		}
		for _, key := range found {
			if _, err := parseKey(key); err != nil {
				return nil, err
			}
		}
		keys = append(keys, found...)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) == 0 || len(keys) > messages.MaxRecipients {
		return nil, fmt.Errorf("recipients: %d keys in %s, want 1 to %d", len(keys), strings.Join(r.items, ", "), messages.MaxRecipients)
	}
	return keys, nil
}

// mostBytes bounds a file of keys.
const mostBytes = 64 << 10

func readKeys(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read recipients: %w", err)
	}
	if len(text) > mostBytes {
		return nil, fmt.Errorf("read recipients: %s has %d bytes, want at most %d", path, len(text), mostBytes)
	}
	var keys []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	return keys, nil
}

// parseKey never quotes what is no public key: it may be a secret one.
func parseKey(s string) (age.Recipient, error) {
	k, err := age.ParseX25519Recipient(s)
	if err != nil {
		return nil, errors.New("recipients: an item is neither a public key of age (age1… with 62 characters) nor an absolute path (it is not shown, because it may be a secret key)")
	}
	return k, nil
}
