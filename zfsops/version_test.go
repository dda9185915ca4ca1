package zfsops

import "testing"

func TestParseVersion(t *testing.T) {
	for out, want := range map[string][2][3]int{
		"zfs-2.3.9-0+deb13u1\nzfs-kmod-2.3.9-0+deb13u1\n":                         {{2, 3, 9}, {2, 3, 9}},
		"zfs-2.1.11-1\nzfs-kmod-2.1.11-1\n":                                       {{2, 1, 11}, {2, 1, 11}},
		"zfs-2.1.14-FreeBSD_gd99134be8\nzfs-kmod-2.1.14-FreeBSD_gd99134be8\n":     {{2, 1, 14}, {2, 1, 14}},
		"zfs-2.3.0-rc3\nzfs-kmod-2.2.2-0ubuntu9\n":                                {{2, 3, 0}, {2, 2, 2}},
		"zfs-2.4.99-1_g1234567\nzfs-kmod-2.4.99-1_g1234567\n":                     {{2, 4, 99}, {2, 4, 99}},
		"zfs-2.2-1\nzfs-kmod-2.2-1\n":                                             {{2, 2, 0}, {2, 2, 0}},
		"\n zfs-kmod-2.2.99-72-FreeBSD_gff2a6 \nzfs-2.2.99-72-FreeBSD_gff2a6\n\n": {{2, 2, 99}, {2, 2, 99}},
	} {
		u, k, err := parseVersion([]byte(out))
		if got := [2][3]int{{u.Major, u.Minor, u.Patch}, {k.Major, k.Minor, k.Patch}}; err != nil || got != want {
			t.Errorf("%q: got %v, %v", out, got, err)
		}
	}
	for _, bad := range []string{"", "zfs-2.3.9-1\n", "zfs-kmod-2.3.9-1\n", "zfs-x\nzfs-kmod-2.3.9\n", "zfs-2.\nzfs-kmod-2.3.9\n", "zfs-2\nzfs-kmod-2\n"} {
		if _, _, err := parseVersion([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTheOlderHalfDecidesWhatCanBeDone(t *testing.T) {
	v := func(major, minor, patch int) Version { return Version{Major: major, Minor: minor, Patch: patch} }
	for _, c := range []struct {
		userland, kernel             Version
		setUnmounted, json, appended bool
	}{
		{v(2, 1, 11), v(2, 1, 11), false, false, false},
		{v(2, 2, 0), v(2, 3, 9), true, false, false},
		{v(2, 3, 9), v(2, 2, 6), true, false, false},
		{v(2, 3, 1), v(2, 3, 1), true, true, false},
		{v(2, 3, 2), v(2, 4, 0), true, true, true},
		{v(3, 0, 0), v(3, 0, 0), true, true, true},
	} {
		got := capabilities(c.userland, c.kernel)
		if got.SetUnmounted != c.setUnmounted || got.JSON != c.json || got.ReceiveAppend != c.appended {
			t.Errorf("%+v", got)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add([]byte("zfs-2.3.9-0+deb13u1\nzfs-kmod-2.3.9-0+deb13u1\n"))
	f.Add([]byte("zfs-2.2.99-72-FreeBSD_gff2a6\nzfs-kmod-2.2.99-72-FreeBSD_gff2a6\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, k, err := parseVersion(b)
		if err == nil && (u.Text == "" || k.Text == "" || u.Major < 0 || k.Minor < 0) {
			t.Fatalf("got %+v and %+v", u, k)
		}
	})
}
