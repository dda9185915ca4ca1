package diagnostics_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/diagnostics"
	"github.com/pgresync/pgresync/messages"
)

var at = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func TestABundleIsWholeReadableAndForUsOnly(t *testing.T) {
	d := diagnostics.Dir{Path: filepath.Join(t.TempDir(), "var", "diagnostics")}
	id := messages.NewResyncID(at)
	for _, text := range []string{"first", "second"} {
		path, err := d.Write(id, []diagnostics.File{{"error.txt", text}, {"journal.json", "{}"}})
		if err != nil || path != filepath.Join(d.Path, string(id)) {
			t.Fatalf("Write: %q, %v", path, err)
		}
		got, err := os.ReadFile(filepath.Join(path, "error.txt"))
		if err != nil || string(got) != text {
			t.Errorf("error.txt holds %q (%v), want %q: the newest attempt counts", got, err, text)
		}
		for _, p := range []string{d.Path, path, filepath.Join(path, "error.txt")} {
			if info, err := os.Stat(p); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v %v, want nobody else to read it", p, info.Mode(), err)
			}
		}
	}
}

func TestBundlesAreBoundedInNumberAndSize(t *testing.T) {
	d := diagnostics.Dir{Path: t.TempDir()}
	strange := filepath.Join(d.Path, "notes-of-an-operator")
	if err := os.Mkdir(strange, 0o700); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(d.Path, ".new-"+string(messages.NewResyncID(at)))
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 14 {
		id := messages.NewResyncID(at.Add(time.Duration(i) * time.Minute))
		want = append(want, string(id))
		text := "short"
		if i == 13 {
			text = strings.Repeat("x y ", 100<<10) + "the end"
		}
		if _, err := d.Write(id, []diagnostics.File{{"postgresql.log", text}}); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want[4:], "notes-of-an-operator")
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("left are %q, want the newest ten and what is not ours: %q", got, want)
	}
	b, err := os.ReadFile(filepath.Join(d.Path, want[9], "postgresql.log"))
	if err != nil || len(b) > 130<<10 || !strings.HasSuffix(string(b), "the end") {
		t.Errorf("%d bytes (%v), want at most 130 KiB, and the end of them", len(b), err)
	}
}

func TestANameThatIsNoResyncIsRefused(t *testing.T) {
	d := diagnostics.Dir{Path: t.TempDir()}
	for _, name := range []messages.ResyncID{"", "..", "../../etc", "a/b"} {
		if path, err := d.Write(name, nil); err == nil {
			t.Errorf("%q was written to %s", name, path)
		}
	}
}

func TestBundlesHoldNoSecrets(t *testing.T) {
	const secret = "hunter2-hunter2"
	seed := "SU" + strings.Repeat("A2B3", 14)
	texts := []string{
		"primary_conninfo = 'user=replicator password=" + secret + " host=db1'",
		"primary_conninfo = 'user=replicator password=''" + secret + "'' host=db1'",
		`could not connect: password = "` + secret + `"`,
		"nats://sidecar:" + secret + "@10.0.0.1:4222: authorization violation",
		"postgresql://replicator:" + secret + "@db1/postgres?sslmode=verify-full",
		"postgresql://db1/postgres?password=" + secret + "&sslmode=verify-full",
		"STATEMENT:  ALTER ROLE replicator PASSWORD '" + secret + "';",
		`{"user": "x", "password": "` + secret + `", "sslpassword": "` + secret + `"}`,
		"SCRAM-SHA-256$4096:" + secret,
		"seed " + seed + " was refused",
		"-----BEGIN USER NKEY SEED-----\n" + secret + "\n------END USER NKEY SEED------",
		"-----BEGIN RSA PRIVATE KEY-----\n" + secret + "\n-----END RSA PRIVATE KEY-----",
		"bare known-secret-of-the-configuration in a text",
	}
	d := diagnostics.Dir{Path: t.TempDir(), Secrets: []string{"known-secret-of-the-configuration", ""}}
	for _, text := range texts {
		path, err := d.Write(messages.NewResyncID(at), []diagnostics.File{{"f", "before " + text + "\nand after"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(path, "f"))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{secret, seed, "known-secret"} {
			if strings.Contains(string(b), s) {
				t.Errorf("%q was written as %q", text, b)
			}
		}
		if !strings.HasPrefix(string(b), "before ") || !strings.Contains(string(b), "***") {
			t.Errorf("%q was written as %q, want the rest of it", text, b)
		}
	}
}
