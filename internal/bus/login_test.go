package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// identity is one way to log in: a server's configuration that asks for it, and
// the files and settings of the node. Made anew it is another identity.
type identity func(t *testing.T, dir string) (server string, login func(*bus.Config))

var identities = map[string]identity{
	"user and password in a file": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		file, password := filepath.Join(dir, "password"), nkey(t, nkeys.CreateUser).public
		write(t, file, password+"\n")
		return fmt.Sprintf("authorization { user: db1, password: %q }", password),
			func(c *bus.Config) { c.User, c.PasswordFile = "db1", file }
	},
	"token in a file": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		file, token := filepath.Join(dir, "token"), nkey(t, nkeys.CreateUser).public
		write(t, file, token)
		return fmt.Sprintf("authorization { token: %q }", token), func(c *bus.Config) { c.TokenFile = file }
	},
	"nkey": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		file, user := filepath.Join(dir, "seed"), nkey(t, nkeys.CreateUser)
		write(t, file, user.seed)
		return fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", user.public), func(c *bus.Config) { c.NKeyFile = file }
	},
	"credentials": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		file := filepath.Join(dir, "creds")
		conf, creds := operatorMode(t)
		write(t, file, creds)
		return conf, func(c *bus.Config) { c.CredsFile = file }
	},
	"TLS with a certificate of the client": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		ca := natstest.NewAuthority(t, dir)
		ca.Issue(t, dir, "server")
		cert, key := ca.Issue(t, dir, "db1")
		return tlsBlock(dir, "verify_and_map: true") + `authorization { users: [ { user: "CN=db1" } ] }`,
			func(c *bus.Config) { c.CAFile, c.CertFile, c.KeyFile = filepath.Join(dir, "ca.pem"), cert, key }
	},
	"TLS and a password": func(t *testing.T, dir string) (string, func(*bus.Config)) {
		t.Helper()
		ca := natstest.NewAuthority(t, dir)
		ca.Issue(t, dir, "server")
		password := filepath.Join(dir, "password")
		write(t, password, "p"+nkey(t, nkeys.CreateUser).public)
		return tlsBlock(dir, "") + "authorization { user: db1, password: " + read(t, password) + " }",
			func(c *bus.Config) { c.CAFile, c.User, c.PasswordFile = filepath.Join(dir, "ca.pem"), "db1", password }
	},
}

func tlsBlock(dir, more string) string {
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, min_version: \"1.3\", timeout: 5, %s }\n",
		dir+"/server.pem", dir+"/server.key", dir+"/ca.pem", more)
}

func TestIdentitiesAreTakenFromFilesAndRotatedWithoutARestart(t *testing.T) {
	for what, make := range identities {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			server, login := make(t, dir)
			cfg := config("", "db1")
			login(&cfg)
			s := natstest.RunText(t, "jetstream {}\n"+server)
			cfg.URLs = []string{s.URL()}
			b := join(t, cfg)
			works(t, b)

			// Another server, that knows only the new identity, takes the place of the first.
			server, _ = make(t, dir)
			s.Stop()
			s.Configure(t, "jetstream {}\n"+server)
			s.Start()
			works(t, b)
		})
	}
}

func TestAWrongIdentityIsRefused(t *testing.T) {
	for what, make := range identities {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server, _ := make(t, t.TempDir())
			_, login := make(t, t.TempDir())
			cfg := config(natstest.RunText(t, "jetstream {}\n"+server).URL(), "db1")
			login(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			b, err := bus.Connect(ctx, cfg)
			if err == nil {
				b.Close()
				t.Fatal("the login was accepted")
			}
			if !errors.Is(err, messages.ErrPermission) && !strings.HasPrefix(what, "TLS") {
				t.Errorf("got %v, want one that wraps %q", err, messages.ErrPermission)
			}
		})
	}
}

func TestALoginFileThatCannotBeReadIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "\n")
	url := natstest.Run(t).URL()
	for what, login := range map[string]func(*bus.Config, string){
		"password": func(c *bus.Config, f string) { c.User, c.PasswordFile = "db1", f },
		"token":    func(c *bus.Config, f string) { c.TokenFile = f },
		"nkey":     func(c *bus.Config, f string) { c.NKeyFile = f },
		"CA":       func(c *bus.Config, f string) { c.CAFile = f },
	} {
		for _, file := range []string{missing, empty} {
			cfg := config(url, "db1")
			login(&cfg, file)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			b, err := bus.Connect(ctx, cfg)
			cancel()
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: got %v, want an error that names %s", what, err, file)
			}
		}
	}
}

// works does a thing of JetStream, over a reconnect if need be.
func works(t *testing.T, b *bus.Bus) {
	t.Helper()
	natstest.Eventually(t, patience, "the connection to work", func() error {
		return errors.Join(b.Ready(), b.Provision(t.Context()))
	})
}

type keyPair struct{ public, seed string }

func nkey(t *testing.T, create func() (nkeys.KeyPair, error)) keyPair {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{public, string(seed)}
}

// operatorMode makes an operator, a system account, which JetStream needs there,
// an account with JetStream, and a user.
func operatorMode(t *testing.T) (server, creds string) {
	t.Helper()
	var keys [4]nkeys.KeyPair
	var public [4]string
	for i, create := range []func() (nkeys.KeyPair, error){nkeys.CreateOperator, nkeys.CreateAccount, nkeys.CreateUser, nkeys.CreateAccount} {
		pair, err := create()
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = pair
		if public[i], err = pair.PublicKey(); err != nil {
			t.Fatal(err)
		}
	}
	sign := func(claims jwt.Claims, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator := sign(jwt.NewOperatorClaims(public[0]), keys[0])
	account := jwt.NewAccountClaims(public[1])
	account.Limits.DiskStorage, account.Limits.MemoryStorage = 1<<30, 1<<30
	seed, err := keys[2].Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(sign(jwt.NewUserClaims(public[2]), keys[1]), seed)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %[2]s: %[3]s, %s: %s }\n", operator,
		public[3], sign(jwt.NewAccountClaims(public[3]), keys[0]), public[1], sign(account, keys[0])), string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
