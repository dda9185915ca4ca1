package zfsops_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

func TestProbeRefusesWhatIsTooOld(t *testing.T) {
	env := zfstest.Fake(t)
	for version, want := range map[string]error{"2.0.7": messages.ErrRefused, "0.8.6": messages.ErrRefused, "2.1.0": nil, "2.4.4": nil} {
		opts := env.Options
		opts.Env = append(slices.Clip(opts.Env), zfstest.VersionEnv+"="+version)
		if _, err := zfsops.New(opts).Probe(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", version, err, want)
		}
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	z := zfsops.New(zfsops.Options{ZFS: "/nonexistent/zfs"})
	var e *zfsops.Error
	if _, err := z.Probe(t.Context()); !errors.As(err, &e) || e.Kind != nil || e.Op != "probe" {
		t.Fatalf("got %v", err)
	}
}

func TestACancelledContextIsTheReason(t *testing.T) {
	env := zfstest.Fake(t)
	reason := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := env.ZFS.List(ctx, env.Root); !errors.Is(err, reason) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}
