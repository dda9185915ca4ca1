package pgops

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Configured reads what integer parameters a prepared copy would start with, from
// its files as they are, includes and all; nothing is started (postgres -C,
// PostgreSQL 15, app-postgres).
func (p Preparer) Configured(ctx context.Context, setup messages.StandbySetup, names []string) (map[string]int, error) {
	run := p.programs(&setup)
	out := map[string]int{}
	for _, name := range names {
		if !settingName.MatchString(name) {
			continue // it came over the network
		}
		text, err := run.output(ctx, "postgres", "-D", setup.DataDir, "-C", name)
		if err != nil {
			return nil, fmt.Errorf("read the configuration of %s: %w", filepath.Clean(setup.DataDir), err)
		}
		v, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("read the configuration of %s: %s is %q, not a number", setup.DataDir, name, clip(text))
		}
		out[name] = v
	}
	return out, nil
}
