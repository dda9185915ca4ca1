package pgops

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// The lines between the markers are ours; they are found again by them.
const (
	confBegin = "# pgresync begin: written at each resync, do not edit"
	confEnd   = "# pgresync end"
)

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$`)

// checkSettings refuses what would not survive the way through the file.
func checkSettings(s *messages.StandbySetup) error {
	for name, value := range s.Settings {
		switch {
		case !settingName.MatchString(name):
			return fmt.Errorf("%w: setting %q: not a parameter's name", messages.ErrRefused, clip(name))
		case name == "primary_conninfo" || name == "primary_slot_name":
			return fmt.Errorf("%w: setting %s is not free to choose", messages.ErrRefused, name)
		}
		if err := checkValue(value); err != nil {
			return fmt.Errorf("%w: setting %s: %w", messages.ErrRefused, name, err)
		}
	}
	if err := errors.Join(checkValue(s.PrimaryConninfo), checkValue(s.SlotName)); err != nil {
		return fmt.Errorf("%w: primary_conninfo or primary_slot_name: %w", messages.ErrRefused, err)
	}
	return nil
}

func checkValue(v string) error {
	if strings.ContainsAny(v, "\n\r\x00") {
		return errors.New("a line end or NUL in the value")
	}
	return nil
}

// quoteSetting quotes by the rules of the configuration file (guc-file.l): a quote
// is doubled, and a backslash begins an escape.
func quoteSetting(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

// writeSettings makes postgresql.auto.conf: what came with the copy, without what
// was the primary's alone, and ours last, so that it wins.
func (c *copied) writeSettings() error {
	old, err := readSmall(c.root, autoConf)
	if err != nil {
		return err
	}
	text := filterSettings(string(old)) + ownSettings(c.setup, c.major, runtime.GOOS)
	return replace(c.root, autoConf, fileMode, []byte(text), c.setup.UID, c.setup.GID)
}

// filterSettings drops an earlier block of ours and the primary's own settings.
func filterSettings(text string) string {
	var b strings.Builder
	skipping := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == confBegin:
			skipping = true
		case trimmed == confEnd:
			skipping = false
		case !skipping && !primaryOnly(trimmed):
			b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	return b.String()
}

var settingLine = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_$.]*)\s*=?\s*(.*)$`)

// primaryOnly tells a line that must not rule the standby: where it connects to,
// what it is called, whom it waits for once promoted, and any target at which
// recovery would end, and the standby with it.
func primaryOnly(line string) bool {
	m := settingLine.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	name := strings.ToLower(m[1])
	switch name {
	case "primary_conninfo", "primary_slot_name", "synchronous_standby_names", "cluster_name", "promote_trigger_file":
		return true
	case "archive_mode":
		return strings.Contains(strings.ToLower(m[2]), "always")
	}
	return strings.HasPrefix(name, "recovery_target")
}

// ownSettings is our block. The targets of recovery are unset here as well,
// because the primary may have them in its postgresql.conf from a restore long
// ago: there they mean nothing, but a standby would stop, or promote itself.
func ownSettings(s *messages.StandbySetup, major int, os string) string {
	settings := map[string]string{
		"recovery_target": "", "recovery_target_lsn": "", "recovery_target_name": "",
		"recovery_target_time": "", "recovery_target_xid": "", "recovery_target_timeline": "latest",
	}
	if major < 16 {
		settings["promote_trigger_file"] = ""
	}
	if major >= 14 && os == "linux" {
		// A server that starts from a backup_label opens every file and syncs it, which
		// takes longer the larger the database, while the standby is down. What was
		// received and cloned is on disk; of one file system OpenZFS syncs its own intent
		// log, whatever else the pool has to write (zfs_sync, OpenZFS 2.3).
		settings["recovery_init_sync_method"] = "syncfs"
	}
	maps.Copy(settings, s.Settings)
	settings["primary_conninfo"] = s.PrimaryConninfo
	settings["primary_slot_name"] = s.SlotName
	var b strings.Builder
	b.WriteString(confBegin + "\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	b.WriteString(confEnd + "\n")
	return b.String()
}
