package daemon

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// LogFormat is how log lines look.
type LogFormat string

// The formats.
const (
	LogJSON    LogFormat = "json"    // one JSON object a line, for machines
	LogConsole LogFormat = "console" // aligned text without colours, for people
)

// timeLayout is RFC 3339 in UTC with milliseconds: lines of several nodes are
// merged by it.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// NewLogger makes a logger that writes lines of at least the given level to w.
// Each line is one Write. The level is zerolog's name of it.
func NewLogger(w io.Writer, format LogFormat, level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level %q: want trace, debug, info, warn or error", level)
	}
	switch format {
	case LogJSON:
	case LogConsole:
		w = zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: timeLayout, TimeLocation: time.UTC}
	default:
		return zerolog.Nop(), fmt.Errorf("log format %q: want %s or %s", format, LogJSON, LogConsole)
	}
	return zerolog.New(w).Level(l).Hook(zerolog.HookFunc(stamp)), nil
}

// stamp adds the time; zerolog's own timestamp has its precision in a global.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(KeyTime, time.Now().UTC().Format(timeLayout))
}
