package secondary

import (
	"context"

	"github.com/pgresync/pgresync/messages"
)

var (
	_ Follower = dbHand{}
	_ Witness  = dbHand{}
)

func (d dbHand) WALClaims(ctx context.Context) ([]messages.WALClaim, error) {
	return make([]messages.WALClaim, 1), d.point(ctx, "read the own log")
}

func (d dbHand) Upstream(ctx context.Context) (string, error) {
	if err := d.point(ctx, "read primary_conninfo"); err != nil {
		return "", err
	}
	if pg := d.serving(); pg != nil {
		return pg.upstream, nil
	}
	return "", messages.ErrUnavailable
}

func (d dbHand) Follow(ctx context.Context, conninfo string) error {
	return d.act(ctx, "point it at another primary", func() error {
		if pg := d.serving(); pg != nil {
			pg.upstream = conninfo
			return nil
		}
		return messages.ErrUnavailable
	})
}
