// Package zfstest is for tests: a fake zfs command for machines without ZFS,
// throw-away pools for machines with it, and the contract suite that both must
// pass, so that the fake cannot drift away from the real thing.
//
// The fake needs a TestMain in the package that uses it:
//
//	func TestMain(m *testing.M) {
//		testscript.Main(m, map[string]func(){"zfs": zfstest.Zfs, "zpool": zfstest.Zpool})
//	}
package zfstest
