package main

import (
	"bytes"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgresync/pgresync/messages"
)

// What `make docs` passes to the tests of every command; there is nothing to write
// here.
var _ = flag.Bool("update", false, "rewrite the documentation from the code")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pgresync-sign": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
	})
}

func TestASignedTriggerOpensWithItsKeyForItsSubject(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "seed")
	now := time.Now()
	var key, body bytes.Buffer
	if err := run([]string{"key", seed}, &key, now); err != nil {
		t.Fatal(err)
	}
	const subject = "pgresync.main.trigger.resync.db2"
	if err := run([]string{"trigger", "-by", "carol", "-life", "2m", seed, subject}, &body, now); err != nil {
		t.Fatal(err)
	}
	keys, err := messages.ParseKeys([]string{strings.TrimSpace(key.String())})
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := keys.Open(subject, bytes.TrimSpace(body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := messages.DecodeTrigger(doc)
	if err != nil || tr.By != "carol" || !tr.ExpiresAt.Equal(now.Add(2*time.Minute)) {
		t.Errorf("got %+v, %v", tr, err)
	}
}
