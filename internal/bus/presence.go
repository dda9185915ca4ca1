package bus

import (
	"context"

	"github.com/pgresync/pgresync/messages"
)

// PutStatus writes a node's presence record. It vanishes PresenceTTL after the
// last time; renew it every third of that.
func (b *Bus) PutStatus(ctx context.Context, s messages.NodeStatus) error {
	return b.put(ctx, b.names.PresenceBucket(), messages.NodeKey(s.Node, s.Sidecar), &s)
}

// Nodes lists the sidecars that are present, by node and sidecar.
func (b *Bus) Nodes(ctx context.Context) ([]messages.NodeStatus, error) {
	return list(ctx, b, b.names.PresenceBucket(), "node.", func(s *messages.NodeStatus) (messages.ClusterName, string) {
		return s.Cluster, messages.NodeKey(s.Node, s.Sidecar)
	})
}

// PutStream writes a stream's record. It vanishes LeaseTTL after the last time:
// the publisher renews it while the upload runs, and a dead publisher's records
// end with its lease.
func (b *Bus) PutStream(ctx context.Context, r messages.StreamRecord) error {
	return b.put(ctx, b.names.Bucket(), messages.StreamKey(r.Stream), &r)
}

// Streams lists the records of streams, by id.
func (b *Bus) Streams(ctx context.Context) ([]messages.StreamRecord, error) {
	return list(ctx, b, b.names.Bucket(), "stream.", func(r *messages.StreamRecord) (messages.ClusterName, string) {
		return r.Cluster, messages.StreamKey(r.Stream)
	})
}
