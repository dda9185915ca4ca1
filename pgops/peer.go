package pgops

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// dialFunc is what pgconn connects with.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// asRole has root connect over a socket as the operating system user with the
// role's name, as `runuser -u postgres -- psql` does. Debian's pg_hba.conf says
// peer, by which root would be nobody (PostgreSQL 15, auth-peer). Without such a
// user, without root, and over TCP, dial stays as it is.
func asRole(role, host string, dial dialFunc) dialFunc {
	if os.Geteuid() != 0 || !strings.HasPrefix(host, "/") {
		return dial
	}
	u, err := user.Lookup(role)
	if err != nil {
		return dial
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil || uid <= 0 {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "unix" {
			return dial(ctx, network, address)
		}
		conn, err := dialAs(ctx, uid, dial, network, address)
		if errors.Is(err, fs.ErrPermission) {
			return dial(ctx, network, address) // the socket's directory is closed to that user
		}
		return conn, err
	}
}
