package zfsops

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// markPrefix begins the name of every user property of ours.
const markPrefix = "pgresync:"

// infoColumns are the columns of List, in the order in which parseInfo reads them.
var infoColumns = []string{
	"name", "type", "guid", "mountpoint", "mounted", "canmount", "origin", "readonly",
	"used", "referenced", "available", "written", "recordsize", "compression", "encryption",
	"receive_resume_token",
}

// List describes root and all file systems below it, parents first. It returns
// messages.ErrNotFound when root is not there, and messages.ErrRefused when
// there is a volume below it.
func (z *ZFS) List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	a := on("list", root)
	if err := checkName(string(root)); err != nil {
		return nil, err
	}
	out, err := z.output(ctx, a, "list", "-Hp", "-r", "-t", "filesystem,volume", "-o", strings.Join(infoColumns, ","), string(root))
	if err != nil {
		return nil, err
	}
	infos, err := parseInfos(a, out)
	if err != nil {
		return nil, err
	}
	out, err = z.output(ctx, a, "get", "-Hp", "-r", "-t", "filesystem", "-s", sourceLocal, "-o", "name,property,value,source", "all", string(root))
	if err != nil {
		return nil, err
	}
	return infos, a.wrap(addMarks(infos, out))
}

func parseInfos(a act, out []byte) ([]messages.DatasetInfo, error) {
	rows, err := parseTable(out, len(infoColumns))
	if err != nil {
		return nil, a.wrap(err)
	}
	infos := make([]messages.DatasetInfo, 0, len(rows))
	for _, row := range rows {
		if row[1] != "filesystem" {
			return nil, a.is(messages.ErrRefused, "%s is a %s, and pgresync handles file systems only: move it out of this tree", row[0], row[1])
		}
		info, err := parseInfo(row)
		if err != nil {
			return nil, a.wrap(err)
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(x, y messages.DatasetInfo) int { return cmp.Compare(x.Name, y.Name) })
	return infos, nil
}

func parseInfo(row []string) (messages.DatasetInfo, error) {
	var errs []error
	size := func(s string) uint64 {
		v, err := parseSize(s)
		errs = append(errs, err)
		return v
	}
	name, err1 := messages.ParseDataset(row[0])
	guid, err2 := messages.ParseGUID(row[2])
	info := messages.DatasetInfo{
		Name: name, GUID: guid,
		Mountpoint: row[3], Mounted: row[4] == "yes", CanMount: row[5],
		Origin: messages.SnapshotName(orEmpty(row[6])), ReadOnly: row[7] == "on",
		Used: size(row[8]), Referenced: size(row[9]), Available: size(row[10]), Written: size(row[11]),
		RecordSize: size(row[12]), Compression: row[13], Encryption: row[14],
		Marks: map[string]string{},
	}
	if token := orEmpty(row[15]); token != "" {
		errs = append(errs, info.Token.UnmarshalText([]byte(token)))
	}
	return info, errors.Join(append(errs, err1, err2)...)
}

// addMarks fills Marks from zfs get -s local: an inherited mark says nothing of
// the child (zfsprops(7), user properties).
func addMarks(infos []messages.DatasetInfo, out []byte) error {
	props, err := parseProperties(out)
	if err != nil {
		return err
	}
	marks := make(map[string]map[string]string, len(infos))
	for _, info := range infos {
		marks[string(info.Name)] = info.Marks
	}
	for _, p := range props {
		// A dataset that appeared between the two commands is not in infos.
		if m := marks[p.name]; m != nil && p.local() && strings.HasPrefix(p.key, markPrefix) {
			m[p.key] = p.value.value
		}
	}
	return nil
}

// Histories lists the snapshots and bookmarks of root and of every file system
// below it, foreign ones included, oldest first. A file system without any has
// an empty history.
func (z *ZFS) Histories(ctx context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error) {
	a := on("list snapshots of", root)
	if err := checkName(string(root)); err != nil {
		return nil, err
	}
	out, err := z.output(ctx, a, "list", "-Hp", "-r", "-t", "filesystem,snapshot,bookmark", "-o", "name,guid,createtxg", string(root))
	if err != nil {
		return nil, err
	}
	histories, err := parseHistories(out)
	return histories, a.wrap(err)
}

func parseHistories(out []byte) (map[messages.Dataset]messages.History, error) {
	rows, err := parseTable(out, 3)
	if err != nil {
		return nil, err
	}
	histories := map[messages.Dataset]messages.History{}
	for _, row := range rows {
		if !strings.ContainsAny(row[0], "@#") {
			d := messages.Dataset(row[0])
			histories[d] = append(histories[d], messages.History{}...)
			continue
		}
		s, err := parseSnapshot(row)
		if err != nil {
			return nil, err
		}
		histories[s.Name.Dataset()] = append(histories[s.Name.Dataset()], s)
	}
	for _, h := range histories {
		h.Sort()
	}
	return histories, nil
}

// parseSnapshot does not check the name: a foreign snapshot may begin with '-',
// which we never pass on to a command, but its being there matters.
func parseSnapshot(row []string) (s messages.Snapshot, err error) {
	s.Name = messages.SnapshotName(row[0])
	s.Bookmark = s.Name.IsBookmark()
	s.GUID, err = messages.ParseGUID(row[1])
	err = errors.Join(err, s.CreateTXG.UnmarshalText([]byte(row[2])))
	return s, err
}
