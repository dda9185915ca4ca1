package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// proxyWorker is a line with a length: it passes on what it gets, each way, after
// a delay. What is on its way is bounded by memory only, as on a long fat line.
func proxyWorker(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	f := flag.NewFlagSet("proxy", flag.ContinueOnError)
	to, delay := f.String("to", "", "address"), f.Duration("delay", 0, "each way")
	if err := f.Parse(args); err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	if _, err := fmt.Fprintln(stdout, ln.Addr()); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() { _ = relay(ctx, conn, *to, *delay) }) // its ends see why
	}
}

func relay(ctx context.Context, client net.Conn, to string, delay time.Duration) error {
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()
	var wg sync.WaitGroup
	wg.Go(func() { oneWay(server, client, delay) })
	wg.Go(func() { oneWay(client, server, delay) })
	wg.Wait()
	return nil
}

// packet is due at a time.
type packet struct {
	due  time.Time
	data []byte
}

// oneWay ends with either side.
func oneWay(dst, src net.Conn, delay time.Duration) {
	line := make(chan packet, 4096)
	go func() {
		defer close(line)
		for {
			buf := make([]byte, 64<<10)
			n, err := src.Read(buf)
			if n > 0 {
				line <- packet{time.Now().Add(delay), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for p := range line {
		timer.Reset(time.Until(p.due))
		<-timer.C
		if _, err := dst.Write(p.data); err != nil {
			_ = src.Close() // ends the reading, too
		}
	}
	_ = dst.Close()
}
