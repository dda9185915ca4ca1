package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// Tail shows what the sidecars do, as it happens: transitions, and what is a
// warning or worse.
func Tail(w io.Writer) func(node, source, line string) {
	var mu sync.Mutex
	return func(node, source, line string) {
		if source != world.Secondary && source != world.Primary {
			return
		}
		var f map[string]any
		if json.Unmarshal([]byte(line), &f) != nil {
			f = map[string]any{"message": line, "level": "no log"}
		}
		mu.Lock()
		defer mu.Unlock()
		now := time.Now().Format(time.TimeOnly)
		switch level, _ := f["level"].(string); {
		case f["message"] == "resync":
			_, _ = fmt.Fprintf(w, "%s %s: %v, %v -> %v\n", now, node, f["from"], f["on"], f["phase"])
		case level == "debug" || level == "info" || f["error"] == nil && level == "warn":
		default:
			_, _ = fmt.Fprintf(w, "%s %s: %s: %v: %v\n", now, node, level, f["message"], f["error"])
		}
	}
}
