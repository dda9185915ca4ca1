package pgops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/pgops"
)

// As Debian's pg_hba.conf has it: only the operating system's user of the same name
// gets in, which root is not.
func TestRootConnectsAsTheRolesUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	c := pgtest.New(t, pgtest.Options{})
	c.Write(t, "pg_hba.conf", "local all all peer\nhost all all all reject\n")
	pgtest.Run(t.Context(), t, filepath.Join(c.BinDir, "pg_ctl"), "reload", "-D", c.DataDir)
	db, err := pgops.NewDatabase(fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", c.SocketDir, c.Port, pgtest.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	if _, err := db.Identity(t.Context()); err != nil {
		t.Errorf("as root: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Error("the test's process is not root any more")
	}
}
