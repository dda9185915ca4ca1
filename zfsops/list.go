package zfsops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// markPrefix begins the name of every user property of ours.
const markPrefix = "pgresync:"

// infoProperties are the native properties that List reads.
var infoProperties = []string{
	"type", "guid", "mountpoint", "mounted", "canmount", "origin", "readonly",
	"used", "referenced", "available", "written", "quota", "refquota", "recordsize", "compression", "encryption",
	"receive_resume_token",
}

// List describes root and all file systems below it, parents first. It returns
// messages.ErrNotFound when root is not there, and messages.ErrRefused when
// there is a volume below it. It is one process, and reads no property whose value
// is somebody else's text.
func (z *ZFS) List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	a := on("list", root)
	out, err := z.infoRows(ctx, a, "filesystem,volume", root)
	if err != nil {
		return nil, err
	}
	return parseInfos(a, out)
}

// Survey is List where others' datasets are as well, in a pool say: volumes are left
// out, and so is what has a name that pgresync gives to nothing.
func (z *ZFS) Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	a := on("survey", root)
	out, err := z.infoRows(ctx, a, "filesystem", root)
	if err != nil {
		return nil, err
	}
	rows, err := parseProperties(out)
	if err != nil {
		return nil, a.wrap(err)
	}
	rows = slices.DeleteFunc(rows, func(p property) bool { return checkName(p.name) != nil })
	return infosOf(a, byDataset(rows))
}

func (z *ZFS) infoRows(ctx context.Context, a act, types string, root messages.Dataset) ([]byte, error) {
	if err := checkName(string(root)); err != nil {
		return nil, err
	}
	properties := strings.Join(slices.Concat(infoProperties, messages.DatasetMarks()), ",")
	return z.output(ctx, a, "get", "-Hp", "-r", "-t", types, "-o", "name,property,value,source", properties, string(root))
}

func parseInfos(a act, out []byte) ([]messages.DatasetInfo, error) {
	rows, err := parseProperties(out)
	if err != nil {
		return nil, a.wrap(err)
	}
	datasets := byDataset(rows)
	for name, properties := range datasets {
		if t := properties["type"].value; t != "filesystem" {
			return nil, a.is(messages.ErrRefused, "%s is a %s, and pgresync handles file systems only: move it out of this tree", name, t)
		}
	}
	return infosOf(a, datasets)
}

func infosOf(a act, datasets map[string]map[string]value) ([]messages.DatasetInfo, error) {
	var infos []messages.DatasetInfo
	for name, properties := range datasets {
		info, err := parseInfo(name, properties)
		if err != nil {
			return nil, a.wrap(err)
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(x, y messages.DatasetInfo) int { return cmp.Compare(x.Name, y.Name) })
	return infos, nil
}

func byDataset(rows []property) map[string]map[string]value {
	out := map[string]map[string]value{}
	for _, p := range rows {
		if out[p.name] == nil {
			out[p.name] = map[string]value{}
		}
		out[p.name][p.key] = p.value
	}
	return out
}

func parseInfo(dataset string, properties map[string]value) (messages.DatasetInfo, error) {
	var errs []error
	text := func(key string) string {
		v, ok := properties[key]
		if !ok {
			errs = append(errs, fmt.Errorf("unexpected output: no %s of %s", key, dataset))
		}
		return v.value
	}
	size := func(key string) uint64 {
		v, err := parseSize(text(key))
		errs = append(errs, err)
		return v
	}
	name, err := messages.ParseDataset(dataset)
	errs = append(errs, err)
	guid, err := messages.ParseGUID(text("guid"))
	errs = append(errs, err)
	info := messages.DatasetInfo{
		Name: name, GUID: guid,
		Mountpoint: text("mountpoint"), Mounted: text("mounted") == "yes", CanMount: text("canmount"),
		Origin: messages.SnapshotName(orEmpty(text("origin"))), ReadOnly: text("readonly") == "on",
		Used: size("used"), Referenced: size("referenced"), Available: size("available"), Written: size("written"),
		Quota: size("quota"), RefQuota: size("refquota"),
		RecordSize: size("recordsize"), Compression: text("compression"), Encryption: text("encryption"),
		Marks: marks(properties),
	}
	if token := orEmpty(text("receive_resume_token")); token != "" {
		errs = append(errs, info.Token.UnmarshalText([]byte(token)))
	}
	return info, errors.Join(errs...)
}

// marks are our user properties that are set on the dataset itself: an inherited
// mark says nothing of the child (zfsprops(7), user properties).
func marks(properties map[string]value) map[string]string {
	out := map[string]string{}
	for key, v := range properties {
		if v.local() && strings.HasPrefix(key, markPrefix) {
			out[key] = v.value
		}
	}
	return out
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
