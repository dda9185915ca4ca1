package messages_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

var writeGolden = flag.Bool("write-golden", false, "write golden documents that do not exist yet; one that exists is never changed")

// Documents of version 1 are read and written as they were when they were released.
// A file in testdata/v1 is never edited: what no longer fits is a new version.
func TestGoldenDocuments(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got, err := messages.Encode(s.doc)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "v1", s.name+".json")
			golden := readOrWrite(t, file, got)
			var compact bytes.Buffer
			if err := json.Compact(&compact, golden); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(compact.String(), string(got)); diff != "" {
				t.Errorf("Encode differs from %s (-golden +got):\n%s", file, diff)
			}
			back := s.zero()
			if err := messages.Decode(golden, back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.doc, back); diff != "" {
				t.Errorf("Decode of %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func readOrWrite(t *testing.T, file string, doc []byte) []byte {
	t.Helper()
	golden, err := os.ReadFile(file)
	switch {
	case err == nil:
		if *writeGolden {
			t.Logf("%s exists and stays as it is", file)
		}
		return golden
	case !errors.Is(err, fs.ErrNotExist) || !*writeGolden:
		t.Fatalf("%v (a new document gets its file by: go test ./messages -run Golden -write-golden)", err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, doc, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return pretty.Bytes()
}

func TestEveryGoldenFileHasItsSample(t *testing.T) {
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	known := map[string]bool{}
	for _, s := range samples() {
		known[s.name+".json"] = true
	}
	for _, f := range files {
		if !known[filepath.Base(f)] {
			t.Errorf("%s is read by no test", f)
		}
	}
}

// A sample with an unset field would let that field's name change unnoticed.
func TestSamplesSetEveryField(t *testing.T) {
	unset := map[string]bool{}
	for _, s := range samples() {
		visit(reflect.ValueOf(s.doc), reflect.TypeOf(s.doc).Elem().Name(), func(path string, zero bool) {
			unset[path] = zero && (unset[path] || !seen(unset, path))
		})
	}
	for path, zero := range unset {
		// The root dataset's name is empty; an error reply's ok is false; an end
		// with an error is no complete one.
		if zero && !strings.HasSuffix(path, "ErrorReply.OK") && !strings.HasSuffix(path, "StreamEnd.Error") && !strings.HasSuffix(path, "DataDir.Dataset") && !strings.HasSuffix(path, "DataDir.Link") {
			t.Errorf("no sample sets %s", path)
		}
	}
}

func seen(m map[string]bool, path string) bool {
	_, ok := m[path]
	return ok
}

func visit(v reflect.Value, path string, report func(path string, zero bool)) {
	switch v.Kind() { //nolint:exhaustive // all other kinds have nothing inside
	case reflect.Pointer:
		if !v.IsNil() {
			visit(v.Elem(), path, report)
		}
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), path, report)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				p := path + "." + f.Name
				report(p, v.Field(i).IsZero())
				visit(v.Field(i), p, report)
			}
		}
	}
}
