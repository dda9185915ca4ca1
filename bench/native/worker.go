package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"runtime/pprof"
)

// block is what the pumps read and write at once.
const block = 256 << 10

func runWorker(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("which worker?")
	}
	work := map[string]func(context.Context, []string, io.Reader, io.Writer) error{
		"pump": pumpWorker, "writer": writerWorker, "reader": readerWorker, "fetch": fetchWorker, "proxy": proxyWorker,
	}[args[0]]
	if work == nil {
		return fmt.Errorf("no worker is called %s", args[0])
	}
	return work(ctx, args[1:], stdin, stdout)
}

// profiled runs f, and writes a CPU profile unless the path is empty.
func profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// pumpWorker copies from a file, a connection or nothing to a file, a connection
// or nothing, by read and write: sendfile and splice are not open to anybody who
// looks at the bytes.
func pumpWorker(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) (err error) {
	f := flag.NewFlagSet("pump", flag.ContinueOnError)
	from, to := f.String("from", "", "file to read"), f.String("to", "", "file to write")
	dial, listen := f.String("dial", "", "address to send to"), f.Bool("listen", false, "take one connection")
	size, hashed := f.Int64("make", 0, "bytes to make"), f.Bool("hash", false, "compute SHA-256")
	if err := f.Parse(args); err != nil {
		return err
	}
	src, dst := io.LimitReader(zeros{}, *size), io.Discard
	if *from != "" {
		in, err := os.Open(*from)
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		src = in
	}
	if *listen {
		conn, err := accept(ctx, stdout)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		src = conn
	}
	if *to != "" {
		out, err := os.Create(*to)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		dst = out
	}
	if *dial != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", *dial)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		dst = conn
	}
	return plainCopy(dst, src, *hashed)
}

func accept(ctx context.Context, stdout io.Writer) (net.Conn, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	if _, err := fmt.Fprintln(stdout, ln.Addr()); err != nil {
		return nil, err
	}
	return ln.Accept()
}

func plainCopy(dst io.Writer, src io.Reader, hashed bool) error {
	var sum hash.Hash
	if hashed {
		sum = sha256.New()
	}
	buf := make([]byte, block)
	for {
		n, err := src.Read(buf)
		if sum != nil {
			sum.Write(buf[:n])
		}
		if _, werr := dst.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// zeros is an endless source that costs nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
