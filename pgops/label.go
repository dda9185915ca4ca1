package pgops

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// BackupLabel is what a backup_label file says. PostgreSQL starts recovery where
// it tells it to, so it is read before it is written anywhere.
type BackupLabel struct {
	StartLSN messages.LSN
	// CheckpointLSN is the checkpoint record's position.
	CheckpointLSN messages.LSN
	Timeline      messages.Timeline
	// Method is "streamed" for non-exclusive backups; From is "primary" or "standby"
	// ("master" up to 13).
	Method, From string
	Label        string
}

var startLine = regexp.MustCompile(`^([0-9A-F]{1,8}/[0-9A-F]{1,8}) \(file [0-9A-F]{24}\)$`)

// maxLabel bounds a label file; PostgreSQL's own text limit for the label is 1 KiB.
const maxLabel = 8 << 10

// ParseBackupLabel reads a backup_label file. A label of an incremental backup
// (PostgreSQL 17) is refused: such a directory is not a whole copy.
func ParseBackupLabel(b []byte) (BackupLabel, error) {
	l, err := parseBackupLabel(b)
	if err != nil {
		return BackupLabel{}, fmt.Errorf("backup label: %w", err)
	}
	return l, nil
}

func parseBackupLabel(b []byte) (l BackupLabel, err error) {
	if len(b) > maxLabel {
		return l, fmt.Errorf("%d bytes are more than the %d allowed", len(b), maxLabel)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			return l, fmt.Errorf("line %q: want a keyword and a value", clip(line))
		}
		if seen[key] {
			return l, fmt.Errorf("%s occurs twice", clip(key))
		}
		seen[key] = true
		if err := l.set(key, value); err != nil {
			return l, err
		}
	}
	if l.StartLSN == 0 || l.Timeline == 0 {
		return l, errors.New("START WAL LOCATION or START TIMELINE is missing")
	}
	return l, nil
}

func (l *BackupLabel) set(key, value string) (err error) {
	switch key {
	case "START WAL LOCATION":
		m := startLine.FindStringSubmatch(value)
		if m == nil {
			return fmt.Errorf("START WAL LOCATION %q: want a position and a file", clip(value))
		}
		l.StartLSN, err = messages.ParseLSN(m[1])
	case "CHECKPOINT LOCATION":
		l.CheckpointLSN, err = messages.ParseLSN(value)
	case "START TIMELINE":
		l.Timeline, err = parseTimeline(value)
	case "BACKUP METHOD":
		l.Method = value
	case "BACKUP FROM":
		l.From = value
	case "LABEL":
		l.Label = value
	case "INCREMENTAL FROM LSN", "INCREMENTAL FROM TLI":
		return fmt.Errorf("%w: it is of an incremental backup", messages.ErrRefused)
	}
	return err
}
