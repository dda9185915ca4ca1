package nats_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
)

func TestTheWholeProtocolWorksWithUsersOfNsc(t *testing.T) {
	t.Parallel()
	w := newNscSite(t)
	w.protocol(t, true)
	w.faults.check(t)
}

func TestForbiddenActsAreRefusedToUsersOfNsc(t *testing.T) {
	t.Parallel()
	newNscSite(t).refuses(t, forbidden)
}

// newNscSite is a server in operator mode with the users that nsc.sh asks nsc for,
// made here in nsc's place.
func newNscSite(t *testing.T) *site {
	t.Helper()
	w := &site{dir: t.TempDir()}
	operator, system := must(nkeys.CreateOperator()), must(nkeys.CreateAccount())
	conf := fmt.Sprintf("jetstream {}\noperator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n", encode(operator, operator, jwt.NewOperatorClaims),
		must(system.PublicKey()))
	conf += fmt.Sprintf("%s: %s\n", must(system.PublicKey()), encode(system, operator, jwt.NewAccountClaims))
	for cluster, roles := range map[string][][]string{
		"main":  {{"primary-provision", "db1"}, {"secondary", "db1", "db2", "db3"}, {"operator-read", "alice"}, {"operator-verify", "vera"}, {"operator-write", "carol"}},
		"other": {{"primary-provision", "db1"}, {"secondary", "db2"}},
	} {
		account := must(nkeys.CreateAccount())
		claims := func(key string) *jwt.AccountClaims {
			c := jwt.NewAccountClaims(key)
			c.Limits.DiskStorage, c.Limits.MemoryStorage, c.Limits.Streams = 8<<30, 128<<20, 5
			return c
		}
		conf += fmt.Sprintf("%s: %s\n", must(account.PublicKey()), encode(account, operator, claims))
		for _, role := range roles {
			for _, command := range nscCommands(t, w.dir, append([]string{cluster}, role...)) {
				w.addUser(t, account, cluster, command)
			}
		}
	}
	w.url = natstest.RunText(t, conf+"}\n").URL()
	w.login = func(user string) (func(*bus.Config), []nats.Option) {
		creds := filepath.Join(w.dir, user+".creds")
		return func(c *bus.Config) { c.CredsFile = creds }, []nats.Option{nats.UserCredentials(creds)}
	}
	return w
}

func encode[C jwt.Claims](key, by nkeys.KeyPair, claims func(string) C) string {
	return must(claims(must(key.PublicKey())).Encode(by))
}

// nscCommands is what nsc.sh would call nsc with, to add users.
func nscCommands(t *testing.T, dir string, args []string) [][]string {
	t.Helper()
	log := filepath.Join(dir, "nsc.log")
	store(t, log, "")
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"./nsc.sh"}, args...)...)
	cmd.Env = append(os.Environ(), "NSC=./testdata/nsc", "NSC_LOG="+log)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nsc.sh %q: %v: %s", args, err, out)
	}
	var commands [][]string
	for command := range strings.SplitSeq(load(t, log), "END\n") {
		if words := strings.Split(strings.TrimSuffix(command, "\n"), "\n"); strings.HasPrefix(command, "add\nuser\n") {
			commands = append(commands, words[2:])
		}
	}
	if len(commands) != len(args)-2 {
		t.Fatalf("nsc.sh %q adds %d users, want %d", args, len(commands), len(args)-2)
	}
	return commands
}

// addUser does what `nsc add user` does with these arguments.
func (w *site) addUser(t *testing.T, account nkeys.KeyPair, cluster string, args []string) {
	t.Helper()
	key := must(nkeys.CreateUser())
	claims := jwt.NewUserClaims(must(key.PublicKey()))
	name := ""
	for i := 0; i < len(args); i++ {
		value := func() string { i++; return args[i] }
		switch args[i] {
		case "--account":
			if got := value(); got != "PGRESYNC_"+cluster {
				t.Errorf("account %s, want that of cluster %s", got, cluster)
			}
		case "--name":
			name = value()
		case "--allow-pub":
			claims.Pub.Allow.Add(strings.Split(value(), ",")...)
		case "--allow-sub":
			claims.Sub.Allow.Add(strings.Split(value(), ",")...)
		case "--deny-pub":
			claims.Pub.Deny.Add(strings.Split(value(), ",")...)
		case "--allow-pub-response=1":
			claims.Resp = &jwt.ResponsePermission{MaxMsgs: 1}
		case "--response-ttl":
			claims.Resp.Expires = must(time.ParseDuration(value()))
		default:
			t.Fatalf("nsc add user: unexpected %q", args[i])
		}
	}
	cut := strings.LastIndexByte(name, '-')
	user := name[:cut] + "-" + cluster + name[cut:]
	creds := must(jwt.FormatUserConfig(must(claims.Encode(account)), must(key.Seed())))
	store(t, filepath.Join(w.dir, user+".creds"), string(creds))
}
