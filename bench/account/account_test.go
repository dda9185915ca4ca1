package account

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/zfsops"
)

func TestFilesAreToldByTheirPaths(t *testing.T) {
	unlogged := func(relation string) bool { return relation == "17/base/5/16400" }
	for path, want := range map[string]Class{
		"17/base/5/16384":                      Relations,
		"17/base/5/16384.1":                    Relations,
		"base/5/16384_vm":                      Maps,
		"17/base/5/16384_fsm":                  Maps,
		"17/base/5/16400":                      Unlogged,
		"17/base/5/16400.3":                    Unlogged,
		"17/base/5/16400_init":                 Unlogged,
		"17/global/1262":                       Relations,
		"space/PG_17_202406281/5/16500":        Relations,
		"space/PG_17_202406281/pgsql_tmp/x1.0": Temporary,
		"17/base/pgsql_tmp/pgsql_tmp123.0":     Temporary,
		"17/base/5/t3_16384":                   Temporary,
		"17/pg_wal/00000001000000000000001A":   WAL,
		"wal/00000001000000000000001A":         WAL,
		"wal/00000002.history":                 WAL,
		"17/pg_wal/archive_status/0000.done":   WAL,
		"17/pg_xact/0000":                      Status,
		"17/log/postgresql-2026-11-24.csv":     Logs,
		"17/postgresql.log":                    Logs,
		"17/postgresql.conf":                   Other,
		"17/global/pg_control":                 Other,
		"17/pg_stat/pgstat.stat":               Other,
		"17/base/5/pg_internal.init":           Other,
		"notes/16384":                          Other,
	} {
		if got := Classify(path, unlogged); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// record makes one of the given type; set fills it in.
func record(kind uint32, payload int, set func(b []byte)) []byte {
	b := make([]byte, zfsops.BeginSize, zfsops.BeginSize+payload)
	binary.LittleEndian.PutUint32(b, kind)
	set(b)
	return append(b, make([]byte, payload)...)
}

func put64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }

func write(object, logical, compressed uint64) []byte {
	payload := logical
	if compressed > 0 {
		payload = compressed
	}
	return record(recordWrite, int(payload), func(b []byte) {
		put64(b, 8, object)
		put64(b, 32, logical)
		if compressed > 0 {
			b[50] = 15 // lz4
			put64(b, 96, compressed)
		}
	})
}

func begin() []byte {
	b := zfsops.Begin{ByteOrder: binary.LittleEndian, ToGUID: 2, FromGUID: 1, ToName: "tank/pg@b", FileSystem: true}
	return b.Append(nil)
}

func TestEveryByteOfAStreamIsAccountedFor(t *testing.T) {
	root := t.TempDir()
	object := func(path string) uint64 {
		t.Helper()
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		files, err := Files(root)
		if err != nil {
			t.Fatal(err)
		}
		for number, p := range files {
			if p == path {
				return number
			}
		}
		t.Fatalf("%s has no number", path)
		return 0
	}
	table, unlogged, wal := object("base/5/16384"), object("base/5/16400"), object("pg_wal/000000010000000000000001")
	object("base/5/16400_init")
	stream := bytes.Join([][]byte{
		begin(),
		record(recordObject, 168, func(b []byte) { put64(b, 8, table); binary.LittleEndian.PutUint32(b[28:], 168) }),
		write(table, 16384, 4096),
		write(table, 16384, 0),
		write(unlogged, 8192, 512),
		write(wal, 131072, 0),
		record(recordEmbedded, 64, func(b []byte) {
			put64(b, 8, 1<<40) // nobody's
			binary.LittleEndian.PutUint32(b[48:], 512)
			binary.LittleEndian.PutUint32(b[52:], 60)
		}),
		record(2, 0, func([]byte) {}), // free objects
		record(5, 0, func([]byte) {}), // end
	}, nil)
	s, err := Read(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files(root)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Sum(files)
	want := []Line{
		{Class: WAL, Files: 1, Blocks: 1, Stored: 131072, Logical: 131072},
		{Class: Relations, Files: 1, Blocks: 2, Stored: 20480, Logical: 32768},
		{Class: Records, Stored: 9*zfsops.BeginSize + 168, Logical: 9*zfsops.BeginSize + 168},
		{Class: Unlogged, Files: 1, Blocks: 1, Stored: 512, Logical: 8192},
		{Class: Unnamed, Files: 1, Blocks: 1, Stored: 64, Logical: 512},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("want -, got +:\n" + diff)
	}
	var sum uint64
	for _, l := range got {
		sum += l.Stored
	}
	if sum != uint64(len(stream)) {
		t.Errorf("accounted for %d bytes of %d", sum, len(stream))
	}
}

func TestAStreamThatBreaksOffIsAnError(t *testing.T) {
	whole := append(begin(), write(1, 4096, 0)...)
	for n := 0; n < len(whole); n += 13 {
		// Where a record has just ended the stream might be whole for all we know.
		if _, err := Read(bytes.NewReader(whole[:n])); err == nil && n != zfsops.BeginSize {
			t.Errorf("%d bytes of %d were taken for a stream", n, len(whole))
		}
	}
	for name, bad := range map[string][]byte{
		"no stream":            []byte(strings.Repeat("x", 1000)),
		"unknown record":       append(begin(), record(99, 0, func([]byte) {})...),
		"block without bounds": append(begin(), record(recordWrite, 0, func(b []byte) { put64(b, 32, 1<<62) })...),
	} {
		if _, err := Read(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(append(begin(), write(1, 512, 128)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(bytes.NewReader(b))
		if err == nil && s.Total != uint64(len(b)) {
			t.Errorf("total %d of %d bytes", s.Total, len(b))
		}
	})
}
