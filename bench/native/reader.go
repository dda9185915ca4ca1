package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// readerWorker is the standby's side: it is told the record on its input.
func readerWorker(ctx context.Context, args []string, stdin io.Reader, _ io.Writer) error {
	f := flag.NewFlagSet("reader", flag.ContinueOnError)
	url, node := f.String("url", "", "server"), f.String("node", "", "who we are")
	to, profile := f.String("to", "", "file"), f.String("profile", "", "file for a CPU profile")
	part, identity := f.Int("part", 0, "bytes"), f.String("identity", "", "file of the key that opens the stream")
	children := f.Bool("children", false, "write the file through a child")
	if err := f.Parse(args); err != nil {
		return err
	}
	var rec messages.StreamRecord
	if err := json.NewDecoder(stdin).Decode(&rec); err != nil {
		return err
	}
	js, err := connect(*url)
	if err != nil {
		return err
	}
	r, err := stream.NewReader(js, stream.Config{Cluster: "bench", PartSize: *part})
	if err != nil {
		return err
	}
	key, err := seal.LoadIdentity(*identity, false)
	if err != nil {
		return err
	}
	into := sink(*to, *children)
	return profiled(*profile, func() error {
		_, err := r.Read(ctx, rec, messages.NodeName(*node), nil, func(ctx context.Context, verified io.Reader) error {
			plain, err := key.Open(rec, verified)
			if err != nil {
				return err
			}
			return into(ctx, plain)
		})
		return err
	})
}

// sink writes as the sidecar does: through a child, or by a loop like the one that
// feeds the child.
func sink(path string, child bool) func(context.Context, io.Reader) error {
	return func(ctx context.Context, verified io.Reader) error {
		if path == "" {
			return plainCopy(io.Discard, verified, false)
		}
		if child {
			return command.Command{
				Path: "dd", Args: []string{"of=" + path, "bs=128k", "iflag=fullblock", "status=none"}, Stdin: verified,
			}.Run(ctx)
		}
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		return errors.Join(plainCopy(out, verified, false), out.Close())
	}
}
