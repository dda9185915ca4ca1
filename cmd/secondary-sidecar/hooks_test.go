package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/progtest"
	"github.com/pgresync/pgresync/internal/secondary"
)

func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := progtest.Write(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHookHasTheFactsInItsEnvironment(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	h := newHooks(Config{HookTimeout: time.Minute, HookAfterRejoin: program(t, `echo "$PGRESYNC_REASON; $HOME" > '`+out+`'`)})
	facts := map[string]string{"PGRESYNC_REASON": "its slot is $(lost)"}
	if err := h.Run(t.Context(), secondary.HookBeforeStop, facts); err != nil {
		t.Errorf("a hook without a program: got %v", err)
	}
	if err := h.Run(t.Context(), secondary.HookAfterRejoin, facts); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "its slot is $(lost); \n" {
		t.Errorf("got %q, %v; want the fact as it is, and nothing of the sidecar's own environment", got, err)
	}
}

func TestHookIsBoundedInTime(t *testing.T) {
	h := newHooks(Config{HookTimeout: 10 * time.Millisecond, HookOnFailure: program(t, "exec tail -f /dev/null")})
	err := h.Run(t.Context(), secondary.HookOnFailure, nil)
	if err == nil || !strings.Contains(err.Error(), "PGRESYNC_HOOK_TIMEOUT") {
		t.Errorf("got %v, want an error that names the bound", err)
	}
}
