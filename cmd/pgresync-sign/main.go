// Pgresync-sign makes the keys that nodes and operators sign with, and the bodies
// of triggers where PGRESYNC_TRIGGER_KEYS is set, for the stock nats command.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/messages"
)

const usage = `Usage:
  pgresync-sign key FILE
      make a key pair: the seed goes to the new FILE, the public key to the output
  pgresync-sign public FILE
      print the public key of the seed in FILE
  pgresync-sign identity FILE
      make a key pair of age for encrypted streams: the secret key goes to the new
      FILE (PGRESYNC_IDENTITY_FILE), the public key (PGRESYNC_RECIPIENTS) to the output
  pgresync-sign trigger [-life 5m] [-by NAME] [-reason TEXT] [-full] FILE SUBJECT
      print the body of a trigger signed by the seed in FILE:
      nats pub SUBJECT "$(pgresync-sign trigger FILE SUBJECT)"
`

func main() {
	if err := run(os.Args[1:], os.Stdout, time.Now()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "pgresync-sign:", err) // there is nowhere else to say it
		os.Exit(daemon.ExitCode(err))
	}
}

func run(args []string, stdout io.Writer, now time.Time) error {
	var verb string
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "key":
		return makeKey(args, stdout)
	case "public":
		return public(args, stdout)
	case "identity":
		return makeIdentity(args, stdout)
	case "trigger":
		return trigger(args, stdout, now)
	case "help", "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	case "version", "--version":
		_, err := fmt.Fprintln(stdout, daemon.VersionLine("pgresync-sign"))
		return err
	}
	return wrong("want key, public, identity or trigger, see --help")
}

func wrong(text string) error { return daemon.WithExitCode(errors.New(text), daemon.ExitUsage) }

func makeKey(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return wrong("key: want the FILE to make")
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("make a key pair: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return fmt.Errorf("make a key pair: %w", err)
	}
	if err := keep(args[0], seed); err != nil {
		return fmt.Errorf("write the seed: %w", err)
	}
	return public(args, stdout)
}

// keep writes a secret to a new file that only its owner can read.
func keep(path string, secret []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(secret, '\n')); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

func makeIdentity(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return wrong("identity: want the FILE to make")
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make a key pair: %w", err)
	}
	if err := keep(args[0], []byte(key.String())); err != nil {
		return fmt.Errorf("write the secret key: %w", err)
	}
	_, err = fmt.Fprintln(stdout, key.Recipient())
	return err
}

func public(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return wrong("public: want a FILE with a seed")
	}
	s, err := bus.LoadSigner(args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, s.Key)
	return err
}

func trigger(args []string, stdout io.Writer, now time.Time) error {
	var t messages.Trigger
	f := flag.NewFlagSet("trigger", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	life := f.Duration("life", 5*time.Minute, "")
	f.StringVar(&t.By, "by", "", "")
	f.StringVar(&t.Reason, "reason", "", "")
	f.BoolVar(&t.Full, "full", false, "")
	if err := f.Parse(args); err != nil {
		return wrong("trigger: " + err.Error())
	}
	if f.NArg() != 2 || *life <= 0 {
		return wrong("trigger: want a FILE with a seed and a SUBJECT, and a -life above 0")
	}
	if err := messages.CheckTriggerSubject(f.Arg(1)); err != nil {
		return daemon.WithExitCode(err, daemon.ExitUsage)
	}
	s, err := bus.LoadSigner(f.Arg(0))
	if err != nil {
		return err
	}
	body, err := bus.SignTrigger(s, f.Arg(1), t, now, *life)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, string(body))
	return err
}
