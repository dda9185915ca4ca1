package pgops

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Tablespace is one line of a tablespace_map file.
type Tablespace struct {
	OID  uint32
	Path string
}

// ParseTablespaceMap reads a tablespace_map file: "oid path" lines in which a
// backslash makes the next byte, even a newline, part of the path (xlog.c,
// do_pg_backup_start; 12 and 13 escape the line ends only, which reads the same
// for every path without a backslash).
func ParseTablespaceMap(b []byte) ([]Tablespace, error) {
	var out []Tablespace
	var line []byte
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
			line = append(line, b[i])
		case b[i] == '\n':
			t, err := parseTablespace(string(line))
			if err != nil {
				return nil, err
			}
			out, line = append(out, t), nil
		default:
			line = append(line, b[i])
		}
	}
	if len(line) > 0 {
		return nil, fmt.Errorf("tablespace map: line %q has no end", clip(string(line)))
	}
	return out, nil
}

func parseTablespace(line string) (Tablespace, error) {
	number, path, _ := strings.Cut(line, " ")
	oid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || oid == 0 || path == "" {
		return Tablespace{}, fmt.Errorf("tablespace map: line %q: want an OID and a path", clip(line))
	}
	return Tablespace{OID: uint32(oid), Path: path}, nil
}

// rewriteTablespaceMap gives every tablespace of the map its final path.
func rewriteTablespaceMap(b []byte, final map[uint32]string) ([]byte, []Tablespace, error) {
	old, err := ParseTablespaceMap(b)
	if err != nil {
		return nil, nil, err
	}
	var text []byte
	moved := make([]Tablespace, 0, len(old))
	for _, t := range old {
		path, ok := final[t.OID]
		if !ok {
			return nil, nil, fmt.Errorf("tablespace %d, at %q on the primary: %w: it has no place here; "+
				"it was made after the layout was read, so take the next snapshot", t.OID, clip(t.Path), messages.ErrRefused)
		}
		if err := checkLinkTarget(path); err != nil {
			return nil, nil, fmt.Errorf("tablespace %d: %w", t.OID, err)
		}
		moved = append(moved, Tablespace{OID: t.OID, Path: path})
		text = fmt.Appendf(text, "%d %s\n", t.OID, path)
	}
	return text, moved, nil
}

// checkLinkTarget refuses what PostgreSQL 12 to 18 do not all read back alike.
func checkLinkTarget(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("path %q: want a clean absolute path", clip(path))
	}
	if strings.ContainsAny(path, "\\\n\r\x00") {
		return errors.New("path with a backslash, line end or NUL is not supported")
	}
	return nil
}
