package metrics

import (
	"github.com/pgresync/pgresync/messages"
)

var (
	poolSize   = describe("pool_size_bytes", "Size of the pool.")
	poolFree   = describe("pool_free_bytes", "What is free of it.")
	poolOnline = describe("pool_online", "1 when the pool's health is ONLINE.")

	used      = describe("dataset_used_bytes", "What the datasets below a root use with their snapshots; which is live or lineage.", "which")
	available = describe("dataset_available_bytes", "What the pool, or a quota, leaves to that root.", "which")
	snapshots = describe("snapshots", "Snapshots of pgresync at that root, without those of its children.", "which")
	bookmarks = describe("bookmarks", "Bookmarks of pgresync at that root.", "which")
	holds     = describe("snapshots_held", "Snapshots at that root that carry a hold.", "which")

	slotWAL    = describe("slot_retained_bytes", "WAL that a replication slot of pgresync retains on this node.", "slot")
	slotActive = describe("slot_active", "1 while a standby uses the slot.", "slot")
	slotLost   = describe("slot_lost", "1 when the slot's WAL is gone: the standby that used it has to be resynced.", "slot")
	slotXmin   = describe("slot_holds_xmin", "1 when the slot holds back vacuum.", "slot")

	storeBytes = describe("jetstream_bytes", "What a JetStream stream of the cluster stores; which is events, state, presence, parts or announcements.", "which")
	storeMax   = describe("jetstream_limit_bytes", "The limit of the same; absent when it has none.", "which")
	storeMsgs  = describe("jetstream_messages", "Messages in it.", "which")
)

// Pool is one pool.
func Pool(p messages.PoolInfo) []Sample {
	return []Sample{gauge(poolSize, p.Size), gauge(poolFree, p.Free), truth(poolOnline, p.Health == "ONLINE")}
}

// Tree is the root of a tree of datasets, "live" or "lineage", and its history.
func Tree(which string, d messages.DatasetInfo, h messages.History, held int) []Sample {
	var snaps, marks int
	for _, v := range h {
		switch _, ours := messages.SnapshotIDOf(v.Name); {
		case !ours:
		case v.Bookmark:
			marks++
		default:
			snaps++
		}
	}
	return []Sample{
		gauge(used, d.Used, which), gauge(available, d.Available, which),
		gauge(snapshots, snaps, which), gauge(bookmarks, marks, which), gauge(holds, held, which),
	}
}

// Slots are those of pgresync on a server that has written, or replayed, WAL up to head.
func Slots(slots []messages.SlotUse, head messages.LSN) []Sample {
	var out []Sample
	for _, s := range slots {
		retained := uint64(0)
		if s.RestartLSN != 0 {
			retained = head.Sub(s.RestartLSN)
		}
		out = append(out, gauge(slotWAL, retained, s.Name), truth(slotActive, s.Active, s.Name),
			truth(slotLost, s.WALStatus == messages.WALLost, s.Name), truth(slotXmin, s.HoldsXmin, s.Name))
	}
	return out
}

// Store is one JetStream stream; Limit is 0 or less when it has none.
type Store struct {
	Which    string
	Bytes    uint64
	Messages uint64
	Limit    int64
}

// Stores are the cluster's JetStream streams.
func Stores(all []Store) []Sample {
	var out []Sample
	for _, s := range all {
		out = append(out, gauge(storeBytes, s.Bytes, s.Which), gauge(storeMsgs, s.Messages, s.Which))
		if s.Limit > 0 {
			out = append(out, gauge(storeMax, s.Limit, s.Which))
		}
	}
	return out
}
