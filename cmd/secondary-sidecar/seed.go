package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// seedVerb is for HA managers and scripts that start PostgreSQL themselves.
func seedVerb() settings.Verb[Config] {
	return settings.Verb[Config]{
		Name: "seed", Usage: "[--datadir DIR]", Help: "make or renew the copy and leave the start of PostgreSQL to the caller (Patroni's create_replica_methods)",
		Run: seed,
	}
}

// seed exits with 0 when the copy is in place, and with another code when it is not
// and whatever was there before is as it was.
func seed(ctx context.Context, cfg Config, args []string, stdout io.Writer) error {
	r, timeout, err := seedArgs(args)
	if err != nil {
		return daemon.WithExitCode(err, daemon.ExitUsage)
	}
	log, err := daemon.NewLogger(stdout, cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		cfg.SeparatePrivileges = false // there are none, and a sidecar may do the work
	}
	return separate(ctx, cfg, append([]string{"seed"}, args...), log, func(ctx context.Context, p root) error {
		return seedAs(ctx, cfg, p, r, timeout, log)
	})
}

func seedAs(ctx context.Context, cfg Config, p root, r messages.OperatorRequest, timeout time.Duration, log zerolog.Logger) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than --timeout=%s", timeout))
		defer cancel()
	}
	dial, cancel := context.WithTimeout(ctx, seedDial)
	defer cancel()
	link, err := sidecar.Connect(dial, &cfg.Common, messages.SidecarSecondary, cfg.NATS.URL.List(), cfg.OperatorSeedFile, log)
	if err != nil {
		code := daemon.ExitUnavailable
		if daemon.ExitCode(err) == daemon.ExitUsage {
			code = daemon.ExitUsage // a key that cannot be read, say
		}
		return daemon.WithExitCode(fmt.Errorf("seed: %w", err), code)
	}
	defer link.Close()
	err = seedBySidecar(ctx, cfg, link, r, log)
	if !errors.Is(err, errNoSidecar) {
		return err
	}
	if os.Geteuid() != 0 && p.client == nil {
		return daemon.WithExitCode(fmt.Errorf("seed: %w on node %s, and without it only root can do this; start it, or run the command as root", err, cfg.Node), daemon.ExitUnavailable)
	}
	return seedAlone(ctx, cfg, p, link, r, log)
}

const (
	// seedDial bounds the wait for NATS: whoever calls has other methods.
	seedDial = 20 * time.Second
	// seedPoll is between two questions; the sidecar takes an asker who is silent for
	// half a minute for gone.
	seedPoll = time.Second
)

var errNoSidecar = errors.New("no secondary sidecar answers")

// seedBySidecar has the running sidecar do it; it alone acts on the datasets.
func seedBySidecar(ctx context.Context, cfg Config, link *bus.Bus, r messages.OperatorRequest, log zerolog.Logger) error {
	ask := func() (*messages.OperatorReply, error) {
		return link.Operate(ctx, cfg.Node, messages.SidecarSecondary, messages.VerbResync, r)
	}
	reply, err := ask()
	if errors.Is(err, messages.ErrUnavailable) {
		if err := present(ctx, cfg, link); err != nil {
			return err
		}
		return errNoSidecar
	}
	tick := time.NewTicker(seedPoll)
	defer tick.Stop()
	last := messages.Phase("")
	for {
		switch {
		case errors.Is(err, messages.ErrUnavailable):
			// It is being restarted, perhaps, and goes on where it was.
			log.Warn().Err(err).Msg("seed")
		case err != nil:
			return daemon.WithExitCode(fmt.Errorf("seed: %w", err), daemon.ExitRefused)
		default:
			r.Resync = reply.Resync
			if st := reply.Status; st != nil && st.Phase != last {
				last = st.Phase
				log.Info().Str("phase", string(last)).Str("resync", string(r.Resync)).Msg("seed")
			}
		}
		if last == messages.PhaseIdle {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("seed: resync %s: %w", r.Resync, context.Cause(ctx))
		case <-tick.C:
		}
		reply, err = ask()
	}
}

// present refuses to act beside a sidecar that does not answer but was here a
// moment ago.
func present(ctx context.Context, cfg Config, link *bus.Bus) error {
	nodes, err := link.Nodes(ctx)
	if err != nil && !errors.Is(err, messages.ErrNotFound) {
		return fmt.Errorf("seed: look whether the sidecar of this node runs: %w", err)
	}
	for _, n := range nodes {
		if n.Node == cfg.Node && n.Sidecar == messages.SidecarSecondary {
			return daemon.WithExitCode(fmt.Errorf("seed: the secondary sidecar of %s was there at %s and does not answer: %w", cfg.Node, n.At.Format(time.TimeOnly), messages.ErrBusy), daemon.ExitConflict)
		}
	}
	return nil
}

// seedAlone does it in this process.
func seedAlone(ctx context.Context, cfg Config, p root, link *bus.Bus, r messages.OperatorRequest, log zerolog.Logger) error {
	alone := newLock(cfg, "a seed")
	if err := alone.take(); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	defer alone.release()
	zfs := p.zfs()
	if _, err := zfs.Probe(ctx); err != nil {
		return err
	}
	db, err := pgops.NewDatabase(cfg.PG.Conninfo.Reveal())
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if err := link.Provision(ctx); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	identity, err := loadIdentity(cfg)
	if err != nil {
		return err
	}
	svc, _, err := newService(cfg, p, link, zfs, db, identity, log)
	if err != nil {
		return err
	}
	log.Info().Msg("seed: no sidecar runs on this node; it is done here")
	return svc.Seed(ctx, r)
}

// ignored are arguments of HA managers that mean nothing here: the cluster is the
// configured one, and the publisher says where the primary is.
var ignored = map[string]bool{"scope": true, "connstring": true, "keep_data": true, "keep-data": true, "no_leader": true, "no_master": true}

// seedArgs reads --key=value and --key value, as Patroni and scripts write them.
func seedArgs(args []string) (r messages.OperatorRequest, timeout time.Duration, err error) {
	r = messages.OperatorRequest{HandOver: true, By: "seed", Reason: "seed was called"}
	for len(args) > 0 {
		key, value, given := strings.Cut(args[0], "=")
		args = args[1:]
		name, ok := strings.CutPrefix(key, "--")
		if !ok {
			return r, 0, fmt.Errorf("seed: unexpected argument %q; want --key=value", key)
		}
		if !given && len(args) > 0 && !strings.HasPrefix(args[0], "--") {
			value, args = args[0], args[1:]
		}
		switch {
		case ignored[name]:
		case name == "datadir":
			r.DataDir = value
		case name == "timeout":
			if timeout, err = time.ParseDuration(value); err != nil || timeout <= 0 {
				return r, 0, fmt.Errorf("seed: --timeout=%s: want a duration like 2h", value)
			}
		case name == "role":
			if value != "replica" && value != "standby" {
				return r, 0, fmt.Errorf("seed: --role=%s: it makes replicas only", value)
			}
		case name == "full":
			r.Full = value == "" || value == "true"
		default:
			return r, 0, fmt.Errorf("seed: unknown argument --%s", name)
		}
	}
	return r, timeout, nil
}
