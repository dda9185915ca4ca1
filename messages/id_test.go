package messages_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

func TestIDsSortByTimeAndAreDistinct(t *testing.T) {
	var ids []string
	for i := range 100 {
		now := sampleTime.Add(time.Duration(i) * time.Millisecond)
		ids = append(ids, string(messages.NewSnapshotID(now)))
		var s messages.SnapshotID
		var r messages.ResyncID
		if err := s.UnmarshalText([]byte(ids[i])); err != nil {
			t.Fatal(err)
		}
		if err := r.UnmarshalText([]byte(messages.NewResyncID(now))); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Error("ids do not sort by time, or repeat")
	}
	one, two := messages.NewMessageID(sampleTime), messages.NewMessageID(sampleTime)
	if one == two {
		t.Error("two ids of one millisecond are equal")
	}
}

func TestSnapshotIDOf(t *testing.T) {
	own := messages.Dataset("tank/pg data").Snapshot(snapID.ShortName())
	if id, ok := messages.SnapshotIDOf(own); !ok || id != snapID {
		t.Errorf("SnapshotIDOf(%q) = %q, %v", own, id, ok)
	}
	bookmark := messages.SnapshotName("tank#" + snapID.ShortName())
	if id, ok := messages.SnapshotIDOf(bookmark); !ok || id != snapID {
		t.Errorf("SnapshotIDOf(%q) = %q, %v", bookmark, id, ok)
	}
	inherited := messages.SnapshotName("tank#" + snapID.InheritedName(big))
	if id, ok := messages.SnapshotIDOf(inherited); !ok || id != snapID || inherited == bookmark {
		t.Errorf("SnapshotIDOf(%q) = %q, %v", inherited, id, ok)
	}
	// What looks like ours is not: it would be destroyed (I-2).
	for _, n := range []messages.SnapshotName{
		"tank@hourly", "tank@pgresync-", "tank@pgresync-x", "tank@pgresync-by-hand-before-upgrade", "tank", "", "tank@" + messages.SnapshotName(snapID),
		"tank@my-" + messages.SnapshotName(snapID.ShortName()), "tank@" + messages.SnapshotName(snapID.ShortName()) + "x",
		"tank@pgresync-" + messages.SnapshotName(strings.ToUpper(string(snapID))), "pgresync-" + messages.SnapshotName(snapID),
		"tank@" + messages.SnapshotName(snapID.InheritedName(1)), bookmark + ".", bookmark + ".by-hand", bookmark + ".a.b",
	} {
		if id, ok := messages.SnapshotIDOf(n); ok {
			t.Errorf("SnapshotIDOf(%q) = %q", n, id)
		}
	}
}

// Both sides and every version compute the same id, or N standbys would cost N sends.
func TestStreamIDIsStable(t *testing.T) {
	for _, tt := range []struct {
		to, from messages.GUID
		flags    messages.SendFlags
		token    messages.ResumeToken
		want     messages.StreamID
	}{
		{1, 0, messages.FlagsPlain, "", "1d579ea9e13934c00f0179b4b391093e"},
		{12, 11, messages.FlagsPlain, "", "e033b76265730f0e201dc97d3ae3448d"},
		{12, 11, messages.FlagsRaw, "", "b2319012e74ebbd8fae6fe40a229be86"},
		{big, big - 1, messages.FlagsRaw, "1-ab12-c0ffee", "753388e8195dfcdd324353f1e428e9d4"},
	} {
		got := messages.NewStreamID(tt.to, tt.from, tt.flags, tt.token)
		if got != tt.want {
			t.Errorf("NewStreamID(%d, %d, %q, %q) = %s, want %s", tt.to, tt.from, tt.flags, tt.token, got, tt.want)
		}
	}
}

func TestStreamIDTellsStreamsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			to, from messages.GUID
			flags    messages.SendFlags
			token    messages.ResumeToken
		}
		gen := rapid.Custom(func(t *rapid.T) key {
			return key{
				messages.GUID(rapid.Uint64Range(0, 200).Draw(t, "to")), messages.GUID(rapid.Uint64Range(0, 200).Draw(t, "from")),
				rapid.SampledFrom([]messages.SendFlags{messages.FlagsPlain, messages.FlagsRaw}).Draw(t, "flags"),
				messages.ResumeToken(rapid.StringMatching(`|1-[0-9a-f]{1,3}`).Draw(t, "token")),
			}
		})
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		x, y := messages.NewStreamID(a.to, a.from, a.flags, a.token), messages.NewStreamID(b.to, b.from, b.flags, b.token)
		if (a == b) != (x == y) {
			t.Fatalf("%v is %s, %v is %s", a, x, b, y)
		}
		if err := new(messages.StreamID).UnmarshalText([]byte(x)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSlotNames(t *testing.T) {
	name := messages.SlotName("db-1", resyncID)
	if want := "pgresync_db_1_00000000000002"; name != want {
		t.Errorf("SlotName = %q, want %q", name, want)
	}
	if got := messages.SlotName("db", "short"); got != "pgresync_db_short" {
		t.Errorf("SlotName of a short id = %q", got)
	}
	for _, tt := range []struct {
		slot string
		node messages.NodeName
		want bool
	}{
		{name, "db-1", true},
		{name, "db", false},
		{name, "db-1-0", false},
		{name, "b-1", false},
		{name + "x", "db-1", false},
		{"x" + name, "db-1", false},
		{strings.TrimPrefix(name, "pgresync_"), "db-1", false},
		{"pgresync_db_1_replica_of_bill", "db-1", false},
		{"pgresync_db_1_", "db-1", false},
		{"pgresync_db_1_0000000000000L", "db-1", false},
		{"", "db-1", false},
	} {
		if got := messages.SlotIsOf(tt.slot, tt.node); got != tt.want {
			t.Errorf("SlotIsOf(%q, %q) = %v", tt.slot, tt.node, got)
		}
	}
}

var genNode = rapid.Custom(func(t *rapid.T) messages.NodeName {
	// Few letters make collisions likely, if there can be any.
	return messages.NodeName(rapid.StringMatching(`[01ab]([01ab-]{0,30}[01ab])?`).Draw(t, "node"))
})

// A slot is of exactly one node, and PostgreSQL accepts its name: it is dropped by
// that node's word alone.
func TestSlotIsOfOneNodeOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genNode.Draw(t, "a"), genNode.Draw(t, "b")
		slot := messages.SlotName(a, messages.NewResyncID(sampleTime))
		if !messages.SlotIsOf(slot, a) || len(slot) > 63 || strings.Trim(slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Fatalf("slot %q of %q", slot, a)
		}
		if messages.SlotIsOf(slot, b) != (a == b) {
			t.Fatalf("slot %q of %q is taken for %q's", slot, a, b)
		}
	})
}

func TestSlotKeeps(t *testing.T) {
	const seg = 16 << 20
	for _, tt := range []struct {
		name string
		slot messages.SlotState
		lsn  messages.LSN
		want bool
	}{
		{"reserved before it", messages.SlotState{RestartLSN: 2 * seg, WALStatus: messages.WALReserved}, 3 * seg, true},
		{"extended is kept, too", messages.SlotState{RestartLSN: 2 * seg, WALStatus: messages.WALExtended}, 3 * seg, true},
		{"whole segments are kept", messages.SlotState{RestartLSN: 2*seg + 99, WALStatus: messages.WALReserved}, 2 * seg, true},
		{"reserved after it", messages.SlotState{RestartLSN: 3 * seg, WALStatus: messages.WALReserved}, 3*seg - 1, false},
		{"about to be removed", messages.SlotState{RestartLSN: 2 * seg, WALStatus: messages.WALUnreserved}, 3 * seg, false},
		{"lost", messages.SlotState{RestartLSN: 2 * seg, WALStatus: messages.WALLost}, 3 * seg, false},
		{"nothing reserved", messages.SlotState{WALStatus: messages.WALReserved}, 3 * seg, false},
		{"no word of its state", messages.SlotState{RestartLSN: 2 * seg}, 3 * seg, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.slot.Keeps(tt.lsn, seg); got != tt.want {
				t.Errorf("Keeps = %v, want %v", got, tt.want)
			}
		})
	}
}
