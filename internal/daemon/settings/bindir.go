package settings

import (
	"cmp"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// binDirs are where distributions that install several major versions put them:
// Debian, and the PostgreSQL project's packages for Red Hat.
var binDirs = []string{"usr/lib/postgresql/*/bin", "usr/pgsql-*/bin"}

var number = regexp.MustCompile(`[0-9]+`)

// findBinDir is the directory of the newest pg_ctl below root, else the first one
// in searchPath, else "": whether one is needed is for the caller to say.
func findBinDir(root fs.FS, searchPath string) string {
	var found []string
	for _, pattern := range binDirs {
		matches, _ := fs.Glob(root, pattern+"/pg_ctl") // fails for a malformed pattern only
		found = append(found, matches...)
	}
	if len(found) > 0 {
		return "/" + path.Dir(slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(major(a), major(b)) }))
	}
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if _, err := fs.Stat(root, path.Join(dir, "pg_ctl")[1:]); err == nil {
			return dir
		}
	}
	return ""
}

func major(p string) int {
	n, _ := strconv.Atoi(number.FindString(p)) // 9.6 is 9: older than all that are supported
	return n
}
