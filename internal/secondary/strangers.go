package secondary

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// strangers looks, while PostgreSQL still runs, for processes that would keep the
// old copy's mounts busy: to find out afterwards costs down time for nothing.
func (s *Service) strangers(l live) error {
	users := s.usersOf(l)
	if len(users) == 0 {
		return nil
	}
	return s.inTheWay(l, users, messages.ErrBusy)
}

// named adds to a failed unmount who is in the way.
func (s *Service) named(l live, err error) error {
	if err == nil || !errors.Is(err, messages.ErrBusy) {
		return err
	}
	if users := s.usersOf(l); len(users) > 0 {
		return s.inTheWay(l, users, err)
	}
	return err
}

func (s *Service) inTheWay(l live, users []string, err error) error {
	list := strings.Join(users, ", ")
	return advised(fmt.Errorf("mounts of %s: %w: in use by %s", l.tree[0].Name, err, list),
		"end these processes, or have them leave the directory: "+list)
}

func (s *Service) usersOf(l live) []string {
	var places []string
	for _, d := range l.tree {
		if d.Mounted && filepath.IsAbs(d.Mountpoint) {
			places = append(places, d.Mountpoint)
		}
	}
	if len(places) == 0 {
		return nil
	}
	return s.processes.UsersOf(places)
}
