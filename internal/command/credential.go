package command

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Credential is the operating system user that a child runs as.
type Credential struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
}

// LookupCredential reads a user and its groups from the system's user database.
func LookupCredential(name string) (*Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("look up user %s: %w", name, err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up groups of user %s: %w", name, err)
	}
	ids := make([]uint32, 0, len(names)+2)
	for _, s := range append([]string{u.Uid, u.Gid}, names...) {
		id, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("look up user %s: id %q: %w", name, s, err)
		}
		ids = append(ids, uint32(id))
	}
	return &Credential{UID: ids[0], GID: ids[1], Groups: ids[2:]}, nil
}

// sysProcAttr puts the child in a process group of its own, so that its
// descendants can be ended with it.
func (c *Credential) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	// Without privileges setgroups(2) fails, even for a change to oneself.
	if c != nil && (os.Geteuid() == 0 || int(c.UID) != os.Geteuid()) {
		attr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	}
	return attr
}
