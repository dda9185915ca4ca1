// Command increment says what is in a ZFS send stream of a PostgreSQL dataset,
// byte by byte: relations, WAL, temporary and unlogged files, logs.
//
//	zfs send -Lce -i tank/pg@a tank/pg@b | increment --root /srv/pg/.zfs/snapshot/b
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/pgresync/pgresync/bench/account"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "increment: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	f := flag.NewFlagSet("increment", flag.ContinueOnError)
	root := f.String("root", "", "where the dataset that was sent, or better its snapshot, is mounted")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *root == "" {
		return fmt.Errorf("which dataset? --root names its mount point, or .zfs/snapshot/NAME below it")
	}
	stream, err := account.Read(stdin)
	if err != nil {
		return err
	}
	files, err := account.Files(*root)
	if err != nil {
		return err
	}
	return account.Table(stdout, stream.Sum(files))
}
