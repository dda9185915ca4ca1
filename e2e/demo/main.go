// Command demo shows the main job to people: two standbys are seeded at once from
// one upload, one falls behind the log and comes back by itself, the other diverges
// and is brought back by hand, all under load. It runs in the lab (make demo) and
// fails when anything is not as promised.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string, stdout io.Writer) error {
	d := &demo{say: newNarrator(stdout, getenv), bin: getenv("LAB_IN"), out: getenv("LAB_OUT")}
	if d.bin == "" || d.out == "" {
		return fmt.Errorf("LAB_IN and LAB_OUT are not set: run it with `make demo`")
	}
	return d.run(ctx)
}
