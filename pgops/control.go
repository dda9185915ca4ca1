package pgops

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// controlTime is strftime's %c in the C locale.
const controlTime = "Mon Jan _2 15:04:05 2006"

// ParseControlData reads the output of pg_controldata of PostgreSQL 12 to 18 in
// the C locale with TZ=UTC: "label: value" lines, of which those that are not
// needed may be missing or new. A pg_control whose checksum is wrong is an error.
func ParseControlData(out string) (messages.ControlData, error) {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if controlDamaged(line) {
			return messages.ControlData{}, fmt.Errorf("pg_control is damaged: %s", clip(line))
		}
		if label, value, ok := strings.Cut(line, ":"); ok {
			values[label] = strings.TrimSpace(value)
		}
	}
	r := controlReader{values: values}
	data := messages.ControlData{
		SystemID:            controlField(&r, "Database system identifier", messages.ParseSystemID),
		ControlVersion:      controlField(&r, "pg_control version number", strconv.Atoi),
		CatalogVersion:      controlField(&r, "Catalog version number", strconv.Atoi),
		State:               controlField(&r, "Database cluster state", nonEmpty),
		Timeline:            controlField(&r, "Latest checkpoint's TimeLineID", parseTimeline),
		CheckpointLSN:       controlField(&r, "Latest checkpoint location", messages.ParseLSN),
		RedoLSN:             controlField(&r, "Latest checkpoint's REDO location", messages.ParseLSN),
		MinRecoveryLSN:      controlField(&r, "Minimum recovery ending location", messages.ParseLSN),
		MinRecoveryTimeline: controlField(&r, "Min recovery ending loc's timeline", parseNoTimeline),
		BackupStartLSN:      controlField(&r, "Backup start location", messages.ParseLSN),
		BackupEndNeeded:     controlField(&r, "End-of-backup record required", yesNo),
		WALSegmentSize:      controlField(&r, "Bytes per WAL segment", parseSize),
	}
	if r.err != nil {
		return messages.ControlData{}, r.err
	}
	// For people only, so that another C library's format is no reason to stop.
	data.CheckpointTime, _ = time.Parse(controlTime, values["Time of latest checkpoint"])
	return data, nil
}

// controlReader keeps the first error.
type controlReader struct {
	values map[string]string
	err    error
}

func controlField[T any](r *controlReader, label string, parse func(string) (T, error)) T {
	var zero T
	if r.err != nil {
		return zero
	}
	value, ok := r.values[label]
	if !ok {
		r.err = fmt.Errorf("pg_controldata: the line %q is missing", label)
		return zero
	}
	out, err := parse(value)
	if err != nil {
		r.err = fmt.Errorf("pg_controldata: %s: %w", label, err)
		return zero
	}
	return out
}

// parseNoTimeline takes 0 for none.
func parseNoTimeline(s string) (messages.Timeline, error) {
	if s == "0" {
		return 0, nil
	}
	return parseTimeline(s)
}

func nonEmpty(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("%q: want a text", s)
	}
	return s, nil
}

func yesNo(s string) (bool, error) {
	if s != "yes" && s != "no" {
		return false, fmt.Errorf("%q: want yes or no", clip(s))
	}
	return s == "yes", nil
}

func parseSize(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%q: want a positive number", clip(s))
	}
	return v, nil
}
