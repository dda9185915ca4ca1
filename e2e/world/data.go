package world

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Fill makes pgbench's tables and, in the tablespace ts1, a table of incompressible
// documents of the given size, so that a seed has something to move.
func (n *Node) Fill(ctx context.Context, scale int, documents int64) error {
	if _, err := n.Run(ctx, AsPostgres("pgbench", "-i", "-q", "-s", strconv.Itoa(scale))...); err != nil {
		return fmt.Errorf("fill %s: %w", n.Name, err)
	}
	return n.copyDocuments(ctx, createDocuments, ", freeze", 1, documents)
}

// createDocuments makes a table that only changes when somebody writes to it: the
// freezing and the hint bits of a first vacuum would rewrite every page, and be
// most of the increment that follows a seed.
const createDocuments = `create table documents(id bigint, body bytea)
	with (autovacuum_enabled = off, toast.autovacuum_enabled = off) tablespace ts1;
	alter table documents alter body set storage external`

// AddDocuments appends size bytes of documents that neither PostgreSQL nor ZFS can
// compress. The same seed gives the same documents.
func (n *Node) AddDocuments(ctx context.Context, seed uint64, size int64) error {
	return n.copyDocuments(ctx, "select 1", "", seed, size)
}

// copyDocuments runs first and the copy in one transaction.
func (n *Node) copyDocuments(ctx context.Context, first, option string, seed uint64, size int64) error {
	c, err := n.Connect(ctx)
	if err != nil {
		return fmt.Errorf("documents for %s: %w", n.Name, err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := Query(ctx, c, "begin;"+first); err != nil {
		return fmt.Errorf("documents for %s: %w", n.Name, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeDocuments(w, seed, size)) }()
	_, err = c.CopyFrom(ctx, r, "copy documents from stdin with (format binary"+option+")")
	_ = r.CloseWithError(err) // never fails; it ends the writer
	if err == nil {
		_, err = Query(ctx, c, "commit")
	}
	if err != nil {
		return fmt.Errorf("documents for %s: %w", n.Name, err)
	}
	return nil
}

// writeDocuments writes COPY's binary format (PostgreSQL 15, sql-copy): text would
// double the bytes, which an emulated machine feels.
func writeDocuments(w io.Writer, seed uint64, size int64) error {
	const document = 64 << 10
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	body := make([]byte, document)
	out := append([]byte("PGCOPY\n\xff\r\n\x00"), make([]byte, 8)...)
	for i := int64(0); i*document < size; i++ {
		_, _ = src.Read(body) // never fails
		out = binary.BigEndian.AppendUint16(out, 2)
		out = binary.BigEndian.AppendUint32(out, 8)
		out = binary.BigEndian.AppendUint64(out, uint64(i))
		out = binary.BigEndian.AppendUint32(out, document)
		if _, err := w.Write(append(out, body...)); err != nil {
			return err
		}
		out = out[:0]
	}
	_, err := w.Write([]byte{0xff, 0xff})
	return err
}

// loadScript also writes to the tablespace.
const loadScript = `\set n random(1, 1000000)
insert into documents values (-:n, decode(md5(:n::text), 'hex'));
`

// StartLoad runs pgbench against a primary until its process is stopped. rate is in
// transactions per second.
func (n *Node) StartLoad(ctx context.Context, rate int) (*Process, error) {
	script := n.Out() + "/load.sql"
	if err := writeFor(script, loadScript); err != nil {
		return nil, err
	}
	return n.Start(ctx, "pgbench", nil, AsPostgres("pgbench", "-n", "-c", "2", "-T", "86400", "-R", strconv.Itoa(rate),
		"-b", "tpcb-like@4", "-f", script+"@1")...)
}

// fingerprints tell the tables' contents apart: any row that is missing, extra or
// different changes one of the sums.
var fingerprints = []string{
	"select count(*), sum(aid), sum((aid % 7919 + 1) * abalance::bigint) from pgbench_accounts",
	"select count(*), sum(tid), sum((tid % 7919 + 1) * tbalance::bigint) from pgbench_tellers",
	"select count(*), sum(bid), sum((bid % 7919 + 1) * bbalance::bigint) from pgbench_branches",
	"select count(*), sum(delta), sum(extract(epoch from mtime)) from pgbench_history",
	"select count(*), sum(id), sum(('x' || left(md5(body), 15))::bit(60)::bigint) from documents",
}

// tables are what fingerprints are of, in the same order.
var tables = []string{"accounts", "tellers", "branches", "history", "documents"}

// Counts reads the numbers of rows off a fingerprint, for people.
func Counts(fingerprint string) string {
	var out []string
	for i, f := range strings.Fields(fingerprint) {
		if count, _, ok := strings.Cut(f, "|"); ok && i < len(tables) {
			out = append(out, count+" "+tables[i])
		}
	}
	return strings.Join(out, ", ")
}

// Fingerprint is a line that is the same on two nodes if, and with all likelihood
// only if, their rows are the same.
func (n *Node) Fingerprint(ctx context.Context) (string, error) {
	out, err := n.SQL(ctx, strings.Join(fingerprints, ";"))
	return strings.ReplaceAll(out, "\n", " "), err
}
