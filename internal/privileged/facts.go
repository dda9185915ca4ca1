package privileged

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// ready checks, right before an order is run, what only the datasets can tell. It
// returns where the order's dataset is mounted.
func (s *Server) ready(ctx context.Context, o *Order) (place string, err error) {
	if o.Placed != "" {
		if place, err = s.placed(ctx, o.Placed); err != nil {
			return "", err
		}
	}
	if len(o.InForce) > 0 {
		return place, s.inForce(ctx, o.InForce)
	}
	return place, nil
}

// placed is where d is mounted, or will be by a boot. The mount point must be d's own:
// an inherited one lies in another dataset, through whose data the path would lead.
func (s *Server) placed(ctx context.Context, d messages.Dataset) (string, error) {
	rows, err := s.ask(ctx, "get", "-Hp", "-o", "value,source", "mountpoint", string(d))
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return "", fmt.Errorf("mount point of %s: unexpected output %q", d, rows)
	}
	place, source := rows[0][0], rows[0][1]
	if source != "local" || !s.Policy.Place(place) {
		return "", fmt.Errorf("%s has mount point %q (%s), which is not one of PGRESYNC_MOUNTPOINT and PGRESYNC_MOUNTPOINTS, set on itself", d, clip(place), clip(source))
	}
	return place, checkPath(place)
}

// inForce: nothing that was asked for over the socket can have set these, so that by
// induction an administrator has.
func (s *Server) inForce(ctx context.Context, want map[string]string) error {
	for _, key := range sorted(want) {
		if !s.has(ctx, key, want[key]) {
			return fmt.Errorf("property %s=%s is not on the list, nor is it set on the copy to be replaced", key, clip(want[key]))
		}
	}
	return nil
}

// has asks for one property alone: among others, a value with a line end in it would
// make a row of its own.
func (s *Server) has(ctx context.Context, key, value string) bool {
	for _, root := range []messages.Dataset{s.Policy.Live, s.Policy.Live + ".pgresync-old", s.Policy.Live + ".pgresync-local"} {
		rows, err := s.ask(ctx, "get", "-Hp", "-r", "-t", "filesystem", "-s", "local,received", "-o", "value", key, string(root))
		// An error: it is not there, and nothing is in force on it.
		if err == nil && slices.ContainsFunc(rows, func(row []string) bool { return len(row) == 1 && row[0] == value }) {
			return true
		}
	}
	return false
}

// ask runs zfs for ourselves.
func (s *Server) ask(ctx context.Context, args ...string) (rows [][]string, err error) {
	c, err := s.program("zfs", args)
	if err != nil {
		return nil, err
	}
	out, err := c.Output(ctx)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// CheckPlaces refuses to begin where an order would be refused later, when PostgreSQL
// is down for it: at the configured mount points, and at those that the copies have
// that are there now.
func (s *Server) CheckPlaces(ctx context.Context) error {
	for _, place := range append([]string{filepath.Join(s.Policy.StageDir, "0")}, s.Policy.Mountpoints...) {
		if err := checkPath(place); err != nil {
			return err
		}
	}
	for _, root := range []messages.Dataset{s.Policy.Live, s.Policy.Live + ".pgresync-old"} {
		rows, err := s.ask(ctx, "list", "-Hp", "-r", "-t", "filesystem", "-o", "name,mountpoint,canmount", string(root))
		if err != nil {
			continue // not there, or ZFS is away, which the other part finds out and says
		}
		for _, row := range rows {
			if len(row) != 3 || !filepath.IsAbs(row[1]) || row[2] == "off" {
				continue
			}
			if _, err := s.placed(ctx, messages.Dataset(row[0])); err != nil {
				return err
			}
		}
	}
	return nil
}
