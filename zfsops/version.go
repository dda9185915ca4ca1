package zfsops

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Version is a release of OpenZFS.
type Version struct {
	Major, Minor, Patch int
	// Text is the whole of what the tool printed, with the packager's suffix.
	Text string
}

// String is the text as printed.
func (v Version) String() string { return v.Text }

// AtLeast compares releases; a release candidate counts as its release.
func (v Version) AtLeast(major, minor, patch int) bool {
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

// Capabilities are what the installed OpenZFS can do; each is named after the
// first release tag whose manual has it.
type Capabilities struct {
	Userland, Kernel Version
	// SetUnmounted: zfs set -u changes a mount point without mounting (2.2.0).
	SetUnmounted bool
	// SendExclude: zfs send -X (2.2.0).
	SendExclude bool
	// JSON: -j of list, get and version (2.3.0).
	JSON bool
	// ReceiveAppend: zfs allow receive:append (2.3.2).
	ReceiveAppend bool
	// SendRawAllow: zfs allow send:raw (2.4.0).
	SendRawAllow bool
}

func capabilities(userland, kernel Version) Capabilities {
	// An option needs both halves: the older one decides.
	old := userland
	if userland.AtLeast(kernel.Major, kernel.Minor, kernel.Patch) {
		old = kernel
	}
	return Capabilities{
		Userland: userland, Kernel: kernel,
		SetUnmounted:  old.AtLeast(2, 2, 0),
		SendExclude:   old.AtLeast(2, 2, 0),
		JSON:          old.AtLeast(2, 3, 0),
		ReceiveAppend: old.AtLeast(2, 3, 2),
		SendRawAllow:  old.AtLeast(2, 4, 0),
	}
}

// Probe finds out which OpenZFS is installed and loaded, and remembers the
// answer. Before 2.1 it is refused (messages.ErrRefused); a kernel module that
// is not loaded is messages.ErrUnavailable. Methods of a ZFS that was not probed
// assume 2.1.
func (z *ZFS) Probe(ctx context.Context) (Capabilities, error) {
	a := act{"probe", "OpenZFS"}
	out, err := z.output(ctx, a, "version")
	if err != nil {
		return Capabilities{}, err
	}
	userland, kernel, err := parseVersion(out)
	if err != nil {
		return Capabilities{}, a.wrap(err)
	}
	for _, v := range []Version{userland, kernel} {
		if !v.AtLeast(2, 1, 0) {
			return Capabilities{}, a.is(messages.ErrRefused, "%s is too old: install OpenZFS 2.1 or newer", v)
		}
	}
	caps := capabilities(userland, kernel)
	z.caps.Store(&caps)
	return caps, nil
}

func (z *ZFS) capabilities() Capabilities {
	if c := z.caps.Load(); c != nil {
		return *c
	}
	return Capabilities{}
}

// parseVersion reads the two lines of zfs version: "zfs-2.3.9-1" and
// "zfs-kmod-2.3.9-1".
func parseVersion(out []byte) (userland, kernel Version, err error) {
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "zfs-kmod-"); ok {
			kernel, err = parseRelease(line, s)
		} else if s, ok := strings.CutPrefix(line, "zfs-"); ok {
			userland, err = parseRelease(line, s)
		}
		if err != nil {
			return Version{}, Version{}, err
		}
	}
	if userland.Text == "" || kernel.Text == "" {
		return Version{}, Version{}, fmt.Errorf("unexpected output: %q does not name the versions of zfs and zfs-kmod", out)
	}
	return userland, kernel, nil
}

func parseRelease(text, s string) (Version, error) {
	release, _, _ := strings.Cut(s, "-")
	release, _, _ = strings.Cut(release, "_")
	parts := strings.Split(release, ".")
	var n [3]int
	if len(parts) < 2 {
		return Version{}, fmt.Errorf("unexpected output: version %q", text)
	}
	for i := range min(len(parts), len(n)) {
		v, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("unexpected output: version %q", text)
		}
		n[i] = int(v)
	}
	return Version{n[0], n[1], n[2], text}, nil
}
