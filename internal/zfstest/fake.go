package zfstest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// stateEnv names the file that holds the fake's pools between two commands.
const stateEnv = "ZFSTEST_STATE"

// VersionEnv replaces the fake's version, "2.3.9" unless told otherwise.
const VersionEnv = "ZFSTEST_VERSION"

// denyEnv names a property that this user is not allowed to set by a receive.
const denyEnv = "ZFSTEST_DENY"

// Zfs is the main function of a fake zfs command, for testscript.Main. It
// knows the options that package zfsops uses and answers in the words of
// OpenZFS 2.3; anything else is a usage error, as it would be there.
func Zfs() { runFake(zfsVerbs) }

// Zpool is the main function of a fake zpool command.
func Zpool() { runFake(map[string]verb{"list": (*fake).zpoolList}) }

// verb is one subcommand.
type verb func(f *fake, args []string) error

var zfsVerbs = map[string]verb{
	"version": (*fake).version, "list": (*fake).list, "get": (*fake).get, "set": (*fake).set, "inherit": (*fake).inherit,
	"snapshot": (*fake).snapshot, "hold": (*fake).hold, "release": (*fake).release, "bookmark": (*fake).bookmark,
	"send": (*fake).send, "receive": (*fake).receive, "create": (*fake).create, "clone": (*fake).clone,
	"rename": (*fake).rename, "promote": (*fake).promote, "mount": (*fake).mount, "unmount": (*fake).unmount,
	"destroy": (*fake).destroy, "load-key": (*fake).loadKey,
}

// fake is one run of the command.
type fake struct {
	*state
	path string
	in   io.Reader
	out  io.Writer
	// unlocked is what is left to do without the state's lock: streams are moved
	// while other commands run.
	unlocked func() error
}

// refusal is a message for standard error; the exit status is 1.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

var errUsage = errors.New("usage: see zfs(8)")

func runFake(verbs map[string]verb) {
	os.Exit(fakeMain(verbs, os.Args[1:])) //nolint:revive // this is the main function of a command
}

func fakeMain(verbs map[string]verb, args []string) int {
	path := os.Getenv(stateEnv)
	if path == "" || len(args) == 0 || verbs[args[0]] == nil {
		fmt.Fprintf(os.Stderr, "fake: %s is not set, or unknown command %q\n", stateEnv, args)
		return 2
	}
	f := &fake{path: path, in: os.Stdin, out: os.Stdout}
	err := f.locked(func() error { return verbs[args[0]](f, args[1:]) })
	if err == nil && f.unlocked != nil {
		err = f.unlocked()
	}
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%s: %q\n", err, args)
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// locked runs do with the state as it is now.
func (f *fake) locked(do func() error) error {
	return withState(f.path, func(s *state) error {
		f.state = s
		return do()
	})
}

// withState runs f under a lock; what f changed is kept even if it returns a
// refusal, since a cut receive leaves something behind.
func withState(path string, f func(*state) error) error {
	lock, err := os.OpenFile(filepath.Clean(path)+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	s, err := loadState(path)
	if err != nil {
		return err
	}
	runErr := f(s)
	b, err := json.Marshal(s)
	if err != nil {
		return errors.Join(runErr, err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return errors.Join(runErr, err)
	}
	return errors.Join(runErr, os.Rename(path+".new", path))
}

func loadState(path string) (*state, error) {
	s := &state{Datasets: map[string]*dataset{}}
	b, err := os.ReadFile(filepath.Clean(path))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(b, s)
}

// flags splits args into options and operands as getopt does. spec lists the
// letters, each followed by ':' if it takes a value. Values of an option given
// more than once are collected.
func flags(args []string, spec string) (opts map[byte][]string, rest []string, err error) {
	opts = map[byte][]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		arg := args[0][1:]
		args = args[1:]
		for arg != "" {
			c := arg[0]
			arg = arg[1:]
			i := strings.IndexByte(spec, c)
			if i < 0 || c == ':' {
				return nil, nil, fmt.Errorf("%w: invalid option '%c'", errUsage, c)
			}
			if !strings.HasPrefix(spec[i+1:], ":") {
				opts[c] = append(opts[c], "")
				continue
			}
			if arg == "" {
				if len(args) == 0 {
					return nil, nil, fmt.Errorf("%w: missing argument for '%c'", errUsage, c)
				}
				arg, args = args[0], args[1:]
			}
			opts[c] = append(opts[c], arg)
			arg = ""
		}
	}
	return opts, args, nil
}

// words are flags with exactly n operands.
func words(args []string, spec string, n int) (map[byte][]string, []string, error) {
	opts, rest, err := flags(args, spec)
	if err == nil && len(rest) != n {
		err = fmt.Errorf("%w: want %d operands, have %q", errUsage, n, rest)
	}
	return opts, rest, err
}

func has(opts map[byte][]string, c byte) bool { return len(opts[c]) > 0 }

// pairs reads "key=value" arguments.
func pairs(args []string) (map[string]string, error) {
	props := map[string]string{}
	for _, a := range args {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%w: property %q", errUsage, a)
		}
		if slices.Contains(readOnly, key) {
			return nil, refuse("cannot set property: '%s' is readonly", key)
		}
		if !strings.Contains(key, ":") && defaults[key].value == "" {
			return nil, refuse("cannot set property: invalid property '%s'", key)
		}
		if len(value) > 8191 {
			return nil, refuse("cannot set property: property value too long")
		}
		props[key] = value
	}
	return props, nil
}

func (f *fake) version([]string) error {
	v := cmp.Or(os.Getenv(VersionEnv), "2.3.9")
	_, err := fmt.Fprintf(f.out, "zfs-%s-fake\nzfs-kmod-%s-fake\n", v, v)
	return err
}

func (f *fake) zpoolList(args []string) error {
	opts, rest, err := words(args, "Hpo:", 1)
	if err != nil {
		return err
	}
	d := f.Datasets[rest[0]]
	if d == nil {
		return refuse("cannot open '%s': no such pool", rest[0])
	}
	row := map[string]string{
		"name": rest[0], "guid": fmt.Sprint(d.GUID), "size": fmt.Sprint(poolSize), "free": fmt.Sprint(poolSize - f.used(rest[0])),
		"capacity": fmt.Sprint(f.used(rest[0]) * 100 / poolSize), "health": "ONLINE",
	}
	var fields []string
	for key := range strings.SplitSeq(opts['o'][0], ",") {
		fields = append(fields, row[key])
	}
	_, err = fmt.Fprintln(f.out, strings.Join(fields, "\t"))
	return err
}
