package bus

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// login is how the server learns who we are. What lies in a file is read at every
// connection, so that a rotation needs no restart.
func (c *Config) login() (opts []nats.Option, err error) {
	switch {
	case c.CredsFile != "":
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	case c.NKeyFile != "":
		opt, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey file %s: %w", c.NKeyFile, err)
		}
		opts = append(opts, opt)
	case c.User != "":
		if _, err := secret(c.Password, c.PasswordFile); err != nil {
			return nil, fmt.Errorf("password of NATS user %s: %w", c.User, err)
		}
		opts = append(opts, nats.UserInfoHandler(func() (string, string) { return c.User, c.reread(c.Password, c.PasswordFile) }))
	case c.Token != "" || c.TokenFile != "":
		if _, err := secret(c.Token, c.TokenFile); err != nil {
			return nil, fmt.Errorf("NATS token: %w", err)
		}
		opts = append(opts, nats.TokenHandler(func() string { return c.reread(c.Token, c.TokenFile) }))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	return opts, nil
}

// secret is the value itself or the first line of a file.
func secret(value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return "", fmt.Errorf("%s: its first line is empty", file)
	}
	return string(line), nil
}

// reread is for a reconnect, which has nobody to return an error to: the login
// then fails, and is tried again with what the file holds by then.
func (c *Config) reread(value, file string) string {
	s, err := secret(value, file)
	if err != nil {
		c.OnAsyncError(fmt.Errorf("NATS login: %w", err))
	}
	return s
}

// renewNKey reads the public key of the seed file again before a reconnect. The
// library signs with what the file holds now, but goes on claiming the key of the
// first connection (nats.go v1.55.0 NkeyOptionFromSeed). It dials while it holds
// the lock that guards the options, and reads the key after that.
func (l *link) renewNKey(c *Config) {
	nc := l.ready.Load()
	if nc == nil {
		return
	}
	key, err := userKey(c.NKeyFile)
	if err != nil {
		c.OnAsyncError(fmt.Errorf("nkey file %s: %w", c.NKeyFile, err))
		return
	}
	nc.Opts.Nkey = key
}

func userKey(seedFile string) (string, error) {
	b, err := os.ReadFile(seedFile)
	if err != nil {
		return "", err
	}
	pair, err := nkeys.ParseDecoratedNKey(b)
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	key, err := pair.PublicKey()
	if err == nil && !nkeys.IsValidPublicUserKey(key) {
		err = errors.New("want the seed of a user, which begins with SU")
	}
	return key, err
}
