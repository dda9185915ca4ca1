//go:build !linux

package pgops

import (
	"context"
	"net"
)

// dialAs connects as who one is: elsewhere a thread has no user of its own, so
// that root needs a line of pg_ident.conf where pg_hba.conf says peer.
func dialAs(ctx context.Context, _ int, dial dialFunc, network, address string) (net.Conn, error) {
	return dial(ctx, network, address)
}
