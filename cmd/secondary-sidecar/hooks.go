package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/secondary"
)

// hooks runs the configured programs, without arguments and without a shell.
type hooks struct {
	programs map[secondary.Hook]string
	timeout  time.Duration
}

func newHooks(cfg Config) hooks {
	return hooks{timeout: cfg.HookTimeout, programs: map[secondary.Hook]string{
		secondary.HookBeforeStop: cfg.HookBeforeStop, secondary.HookAfterRejoin: cfg.HookAfterRejoin, secondary.HookOnFailure: cfg.HookOnFailure,
	}}
}

// Run gives the program the facts as its environment.
func (h hooks) Run(ctx context.Context, hook secondary.Hook, facts map[string]string) error {
	path := h.programs[hook]
	if path == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout, fmt.Errorf("it took longer than PGRESYNC_HOOK_TIMEOUT, %s", h.timeout))
	defer cancel()
	var env []string
	for key, value := range facts {
		env = append(env, key+"="+value)
	}
	slices.Sort(env)
	if err := (command.Command{Path: path, Env: env, Dir: "/", WaitDelay: time.Second}).Run(ctx); err != nil {
		return fmt.Errorf("hook %s: %w", hook, err)
	}
	return nil
}
