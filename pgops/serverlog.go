package pgops

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxLogTail bounds what of a log is kept, in bytes.
const maxLogTail = 8 << 10

// serverLogs finds what a server wrote since a moment: in the file that pg_ctl
// was given and, when the logging collector took over, in the one that
// current_logfiles names (PostgreSQL 15, storage-file-layout).
type serverLogs struct {
	dataDir, logFile string
	// uid must own a log: this process may be root, and a link or foreign file in
	// the log's place must not be shown to anyone.
	uid    int
	since  time.Time
	offset int64
}

func (l *serverLogs) mark(now time.Time) {
	l.since = now
	if info, err := os.Lstat(l.logFile); err == nil {
		l.offset = info.Size()
	}
}

// ServerLogTail is the end of what the server of a data directory wrote last, "" when
// nothing can be read. user is who PostgreSQL runs as: only a file of that user's is
// read.
func ServerLogTail(dataDir, logFile, user string) string {
	uid, _, err := LookupUser(user)
	if err != nil {
		return ""
	}
	l := serverLogs{dataDir: dataDir, logFile: logFile, uid: uid}
	return l.tail()
}

// tail never fails: it only helps to explain an error.
func (l *serverLogs) tail() string {
	text := l.read(l.logFile, l.offset)
	for line := range strings.Lines(l.read(filepath.Join(l.dataDir, "current_logfiles"), 0)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "stderr "); ok {
			if !filepath.IsAbs(path) {
				path = filepath.Join(l.dataDir, path)
			}
			return clipFront(text+l.read(path, 0), maxLogTail)
		}
	}
	return text
}

// read returns what stands after offset, at most maxLogTail bytes from the end.
func (l *serverLogs) read(path string, offset int64) string {
	f, err := os.OpenFile(path, wary, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !l.acceptable(info) {
		return ""
	}
	if offset > info.Size() { // truncated or replaced since
		offset = 0
	}
	b, _ := io.ReadAll(io.NewSectionReader(f, max(offset, info.Size()-maxLogTail), maxLogTail))
	return string(b)
}

func (l *serverLogs) acceptable(info fs.FileInfo) bool {
	// Coarse file times may lie a moment before the clock's.
	return info.Mode().IsRegular() && ownerOf(info) == l.uid && !info.ModTime().Before(l.since.Add(-time.Second))
}
