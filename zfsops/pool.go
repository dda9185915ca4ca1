package zfsops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Pool reads the state of a pool.
func (z *ZFS) Pool(ctx context.Context, pool string) (messages.PoolInfo, error) {
	a := on("read pool", pool)
	if err := checkName(pool); err != nil || strings.ContainsAny(pool, "/@#") {
		return messages.PoolInfo{}, a.wrap(errors.Join(err, fmt.Errorf("want the name of a pool")))
	}
	out, err := z.command(z.opts.Zpool, "list", "-Hp", "-o", "guid,size,free,capacity,health", pool).Output(ctx)
	if err != nil {
		return messages.PoolInfo{}, a.failed(err)
	}
	info, err := parsePool(out)
	return info, a.wrap(err)
}

func parsePool(out []byte) (info messages.PoolInfo, err error) {
	rows, err := parseTable(out, 5)
	if err != nil {
		return info, err
	}
	if len(rows) != 1 {
		return info, fmt.Errorf("unexpected output: %d rows for one pool", len(rows))
	}
	row := rows[0]
	var errs [4]error
	info.GUID, errs[0] = messages.ParseGUID(row[0])
	info.Size, errs[1] = parseSize(row[1])
	info.Free, errs[2] = parseSize(row[2])
	info.Capacity, errs[3] = strconv.Atoi(strings.TrimSuffix(row[3], "%"))
	info.Health = row[4]
	return info, errors.Join(errs[:]...)
}
