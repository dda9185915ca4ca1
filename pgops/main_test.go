package pgops_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/pgops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func database(t *testing.T, c *pgtest.Cluster, role string, opts ...pgops.Option) *pgops.Database {
	t.Helper()
	db, err := pgops.NewDatabase(c.Conninfo(role), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(context.WithoutCancel(t.Context())) })
	return db
}
