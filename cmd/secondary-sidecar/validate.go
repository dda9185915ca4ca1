package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/messages"
)

// Validate reports everything that is wrong, each complaint naming its variable.
func (c *Config) Validate() error {
	var complaints []error
	add := func(key string, err error) {
		if err != nil {
			complaints = append(complaints, fmt.Errorf("PGRESYNC_%s: %w", key, err))
		}
	}
	if c.NATS.URL.IsEmbedded() {
		add("NATS_URL", errors.New("only the primary sidecar can run the embedded server: give its address"))
	}
	if c.Lineage != "" && c.Dataset != "" {
		add("LINEAGE", c.checkLineage())
	}
	add("MOUNTPOINT", checkPath(c.Mountpoint))
	for _, rel := range sortedKeys(c.Mountpoints) {
		add("MOUNTPOINTS", checkMountpoint(rel, c.Mountpoints[rel]))
	}
	add("PG_LOG_FILE", checkPath(c.PGLogFile))
	add("PG_CONFIG_FILE", checkPath(c.PGConfigFile))
	add("PG_UNIT", c.checkControl())
	if c.DiagnosticsDir != noDiagnostics {
		add("DIAGNOSTICS_DIR", checkPath(c.DiagnosticsDir))
	}
	add("HOOK_BEFORE_STOP", checkPath(c.HookBeforeStop))
	add("HOOK_AFTER_REJOIN", checkPath(c.HookAfterRejoin))
	add("HOOK_ON_FAILURE", checkPath(c.HookOnFailure))
	if c.PrimaryConninfo != "" {
		_, err := c.PrimaryConninfo.Params()
		add("PRIMARY_CONNINFO", err)
	}
	for _, name := range sortedKeys(c.PostgresSettings) {
		add("POSTGRES_SETTINGS", checkSetting(name))
	}
	for _, name := range c.KeepFiles {
		add("KEEP_FILES", checkKept(name))
	}
	if c.SeparatePrivileges {
		add("SEPARATE_PRIVILEGES", c.checkSeparation())
	}
	if c.BackoffMax < c.BackoffMin {
		add("BACKOFF_MAX", fmt.Errorf("%s is less than PGRESYNC_BACKOFF_MIN, %s", c.BackoffMax, c.BackoffMin))
	}
	return errors.Join(append([]error{c.Common.Validate()}, complaints...)...)
}

// checkLineage wants a place of its own in the same pool: a clone cannot leave its
// pool, and neither tree may hold the other when one of them is renamed.
func (c *Config) checkLineage() error {
	if c.Lineage.Pool() != c.Dataset.Pool() {
		return fmt.Errorf("%q is not in the pool of the live dataset, %q", c.Lineage, c.Dataset.Pool())
	}
	_, inLive := c.Lineage.Rel(c.Dataset)
	_, holdsLive := c.Dataset.Rel(c.Lineage)
	if inLive || holdsLive {
		return fmt.Errorf("%q and the live dataset %q: neither may lie in the other", c.Lineage, c.Dataset)
	}
	if _, err := messages.ParseDataset(string(c.Lineage)); err != nil {
		return err
	}
	return nil
}

// checkControl wants one who starts and stops PostgreSQL.
func (c *Config) checkControl() error {
	given := 0
	for _, argv := range []settings.Argv{c.PGStartCommand, c.PGStopCommand, c.PGStatusCommand} {
		given += min(len(argv), 1)
	}
	switch {
	case given != 0 && given != 3:
		return errors.New("PGRESYNC_PG_START_COMMAND, _STOP_COMMAND and _STATUS_COMMAND belong together: give all three or none")
	case given != 0 && c.PGUnit != "":
		return errors.New("a unit and commands are given: want one or the other")
	case strings.HasPrefix(c.PGUnit, "-"):
		return fmt.Errorf("%q is not the name of a unit", c.PGUnit)
	}
	return nil
}

func checkPath(p string) error {
	if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p) {
		return fmt.Errorf("%q: want a clean absolute path", p)
	}
	return nil
}

func checkMountpoint(rel, path string) error {
	if _, err := messages.ParseRelName(rel); err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("%q has no path", rel)
	}
	return checkPath(path)
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// ours are the settings that a resync writes itself.
var ours = []string{"primary_conninfo", "primary_slot_name", "data_directory"}

func checkSetting(name string) error {
	lower := strings.ToLower(name)
	switch {
	case !settingName.MatchString(name):
		return fmt.Errorf("%q is not the name of a setting", name)
	case slices.Contains(ours, lower), strings.HasPrefix(lower, "recovery_target"):
		return fmt.Errorf("%s is decided by the resync itself", name)
	}
	return nil
}

// never are files that would undo what makes the copy a safe standby (I-4).
var never = []string{
	"backup_label", "tablespace_map", "standby.signal", "recovery.signal", "recovery.conf",
	"postgresql.auto.conf", "postmaster.pid", "postmaster.opts", "PG_VERSION", "global/pg_control",
}

func checkKept(name string) error {
	switch {
	case !filepath.IsLocal(name) || filepath.Clean(name) != name || name == ".":
		return fmt.Errorf("%q: want a clean path inside the data directory", name)
	case slices.Contains(never, name):
		return fmt.Errorf("%s belongs to the copy and cannot be kept", name)
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
