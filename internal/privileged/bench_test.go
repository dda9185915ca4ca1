//go:build linux

package privileged

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/command"
)

// BenchmarkCommand is a program that does nothing, run by ourselves and by another.
func BenchmarkCommand(b *testing.B) {
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			if err := (command.Command{Path: "/bin/true", Args: []string{"version"}}).Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("via", func(b *testing.B) {
		ours, theirs := pair(b)
		s := &Server{Policy: *testPolicy(), Log: zerolog.Nop(), find: func(string) (string, error) { return "/bin/true", nil }}
		served := make(chan error, 1)
		go func() { served <- s.Serve(b.Context(), ours) }()
		client := NewClient(theirs)
		for b.Loop() {
			if err := zfs(client, "version").Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		client.Close()
		if err := <-served; err != nil {
			b.Error(err)
		}
		ours.Close()
	})
}
