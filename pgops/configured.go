package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// configName is the configuration that a server reads from its data directory when
// it is not told of another.
const configName = "postgresql.conf"

// Configured reads what integer parameters a prepared copy would start with, from
// its files as they are, includes and all; nothing is started (postgres -C,
// PostgreSQL 15, app-postgres). It wraps messages.ErrNotFound when the copy has no
// postgresql.conf and no ConfigFile is given.
func (p Preparer) Configured(ctx context.Context, setup messages.StandbySetup, names []string) (map[string]int, error) {
	run, dir := p.programs(&setup), filepath.Clean(setup.DataDir)
	if p.ConfigFile == "" {
		if _, err := os.Stat(filepath.Join(dir, configName)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the configuration of %s: %s: %w", dir, configName, messages.ErrNotFound)
		}
	}
	out := map[string]int{}
	for _, name := range names {
		if !settingName.MatchString(name) {
			continue // it came over the network
		}
		text, err := run.output(ctx, "postgres", append([]string{"-D", dir, "-C", name}, elsewhere(dir, p.ConfigFile)...)...)
		if err != nil {
			return nil, fmt.Errorf("read the configuration of %s: %w", dir, err)
		}
		v, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("read the configuration of %s: %s is %q, not a number", dir, name, clip(text))
		}
		out[name] = v
	}
	return out, nil
}

// elsewhere are the arguments of a server whose configuration does not lie in its
// data directory. Such a file may name a data directory, another one for a copy that
// is not in place yet, and what the arguments say wins (PostgreSQL 15,
// runtime-config-file-locations).
func elsewhere(dataDir, configFile string) []string {
	if configFile == "" {
		return nil
	}
	return []string{"-c", "config_file=" + configFile, "-c", "data_directory=" + dataDir}
}
