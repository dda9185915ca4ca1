package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/daemon"
)

// Config is what a command's configuration struct offers besides its fields.
type Config interface {
	// Complete finds the defaults that are not constants.
	Complete()
	// Validate reports everything that is wrong, each complaint naming its variable.
	Validate() error
	// Base is the part that every command has.
	Base() *Common
}

// About is what a command says of itself.
type About struct {
	// Name is the command's, About a few sentences for --help.
	Name, About string
}

// Verb is one more argument that a command knows beside the three that all have.
type Verb[C any] struct {
	// Name is the argument, Usage what may follow it, Help one line for --help.
	Name, Usage, Help string
	// Run gets the configuration and what follows the name. Its error is written to
	// stderr.
	Run func(ctx context.Context, cfg C, args []string, stdout io.Writer) error
}

// Run is the body of a command that is configured by the environment alone. With
// no argument it reads the configuration and calls serve, whose error it logs;
// help, version and check-config answer on stdout. Errors of the command line and
// of the configuration are written to stderr and have daemon.ExitUsage.
func Run[C any, P interface {
	*C
	Config
}](ctx context.Context, about About, serve func(context.Context, C, zerolog.Logger) error, args []string, stdout, stderr io.Writer, verbs ...Verb[C]) error {
	var cfg C
	more := verbNamed(verbs, args)
	verb := ""
	var err error
	if more == nil {
		verb, err = parseArgs(about.Name, args)
	}
	if err == nil {
		switch verb {
		case "help":
			return help(stdout, about, P(&cfg), usages(about.Name, verbs))
		case "version":
			_, err := fmt.Fprintln(stdout, daemon.VersionLine(about.Name))
			return err
		}
		err = read(P(&cfg))
	}
	if err != nil {
		err = daemon.WithExitCode(err, daemon.ExitUsage)
		complain(stderr, about.Name, err)
		return err
	}
	if more != nil {
		err := more.Run(ctx, cfg, args[1:], stdout)
		if err != nil {
			complain(stderr, about.Name, err)
		}
		return err
	}
	if verb == "check-config" {
		return printEffective(stdout, P(&cfg))
	}
	return logged(ctx, cfg, P(&cfg).Base(), about.Name, serve, stdout)
}

func verbNamed[C any](verbs []Verb[C], args []string) *Verb[C] {
	for i := range verbs {
		if len(args) > 0 && args[0] == verbs[i].Name {
			return &verbs[i]
		}
	}
	return nil
}

func usages[C any](name string, verbs []Verb[C]) string {
	var b strings.Builder
	for _, v := range verbs {
		fmt.Fprintf(&b, "  %s %-16s %s\n", name, strings.TrimSpace(v.Name+" "+v.Usage), v.Help)
	}
	return b.String()
}

func read(cfg Config) error {
	err := Load(cfg)
	cfg.Complete()
	return errors.Join(err, cfg.Validate())
}

func logged[C any](ctx context.Context, cfg C, base *Common, name string, serve func(context.Context, C, zerolog.Logger) error, w io.Writer) error {
	log, err := daemon.NewLogger(w, base.Log.Format, base.Log.Level)
	if err != nil {
		return err
	}
	log = log.With().Str(daemon.KeyCluster, string(base.Cluster)).Str(daemon.KeyNode, string(base.Node)).
		Str(daemon.KeySidecar, strings.TrimSuffix(name, "-sidecar")).Logger()
	log.Info().Str(daemon.KeyVersion, daemon.Version()).Msg("starting")
	err = serve(ctx, cfg, log)
	// Whatever it was at, a start that waits for NATS included: it was told to stop.
	if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		log.Error().Err(err).Int(daemon.KeyExitCode, daemon.ExitCode(err)).Msg("stopped by an error")
		return err
	}
	log.Info().Msg("stopped")
	return nil
}

// parseArgs knows the three words and their spellings as flags.
func parseArgs(name string, args []string) (verb string, err error) {
	if len(args) == 0 {
		return "", nil
	}
	if len(args) > 1 {
		return "", fmt.Errorf("unexpected argument %q; %s", args[1], seeHelp(name))
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return "help", nil
	case "version", "-version", "--version":
		return "version", nil
	case "check-config":
		return "check-config", nil
	}
	return "", fmt.Errorf("unknown argument %q; %s", args[0], seeHelp(name))
}

func seeHelp(name string) string {
	return fmt.Sprintf("settings are environment variables, `%s --help` lists them", name)
}

func help(w io.Writer, about About, spec Config, verbs string) error {
	_, err := fmt.Fprintf(w, `%s

Usage:
  %[2]s                 run, until SIGTERM or SIGINT; a second one ends it at once
  %[2]s check-config    check the configuration and print it, secrets masked
%[3]s  %[2]s --version
  %[2]s --help

Exit codes: 0 done, 1 failure, 2 command line or configuration, 3 a prerequisite
is missing, 4 another process holds what this one needs.

Environment:
`, strings.Join(wrap(about.About, 78), "\n"), about.Name, verbs)
	if err != nil {
		return err
	}
	return Usage(w, spec)
}

func printEffective(w io.Writer, spec Config) error {
	text, err := Effective(spec)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// complain writes one line per complaint.
func complain(w io.Writer, name string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintf(w, "%s: %s\n", name, line) // there is nowhere else to say it
	}
}
