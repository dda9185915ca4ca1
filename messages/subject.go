package messages

import (
	"fmt"
	"strings"
)

// Subjects builds and parses the NATS names of one cluster; no other place does.
type Subjects struct{ Cluster ClusterName }

func (s Subjects) base() string { return "pgresync." + string(s.Cluster) + "." }

// Stream is the JetStream stream of events and triggers.
func (s Subjects) Stream() string { return "PGRESYNC_" + string(s.Cluster) }

// PartsStream is the JetStream stream of part announcements.
func (s Subjects) PartsStream() string { return "PGRESYNC_" + string(s.Cluster) + "_PARTS" }

// Bucket is the Object Store bucket of parts, and the KV bucket of lease and
// stream records: JetStream prefixes them differently.
func (s Subjects) Bucket() string { return "pgresync-" + string(s.Cluster) }

// PresenceBucket is the KV bucket of node status records. No cluster's name has
// an underscore, so that it is no other cluster's Bucket.
func (s Subjects) PresenceBucket() string { return "pgresync-" + string(s.Cluster) + "_nodes" }

// Events is the wildcard of all events.
func (s Subjects) Events() string { return s.base() + "event.>" }

// Event is the subject of one event: type, then node.
func (s Subjects) Event(t EventType, n NodeName) string {
	return s.base() + "event." + string(t) + "." + string(n)
}

// EventsOf is the wildcard of one type of event.
func (s Subjects) EventsOf(t EventType) string { return s.base() + "event." + string(t) + ".*" }

// Triggers is the wildcard of all triggers.
func (s Subjects) Triggers() string { return s.base() + "trigger.>" }

// TriggerSnapshot asks the publisher for a snapshot.
func (s Subjects) TriggerSnapshot() string { return s.base() + "trigger.snapshot" }

// TriggerResync asks one node (or AllNodes) to resync.
func (s Subjects) TriggerResync(node string) string { return s.base() + "trigger.resync." + node }

// Parts is the wildcard of all announcements; StreamParts of one upload's.
func (s Subjects) Parts() string { return s.base() + "stream.>" }

// StreamParts is the wildcard of one upload's announcements.
func (s Subjects) StreamParts(id StreamID, attempt MessageID) string {
	return s.base() + "stream." + string(id) + "." + string(attempt) + ".>"
}

// Part announces one part.
func (s Subjects) Part(id StreamID, attempt MessageID, index int) string {
	return fmt.Sprintf("%sstream.%s.%s.part.%08d", s.base(), id, attempt, index)
}

// StreamEnd announces the end of an upload, good or bad.
func (s Subjects) StreamEnd(id StreamID, attempt MessageID) string {
	return s.base() + "stream." + string(id) + "." + string(attempt) + ".end"
}

// Consumed is the core NATS subject on which a reader hints that it took a part.
func (s Subjects) Consumed(id StreamID, attempt MessageID) string {
	return s.base() + "consumed." + string(id) + "." + string(attempt)
}

// PartObject is the name of one part in the bucket.
func PartObject(id StreamID, attempt MessageID, index int) string {
	return fmt.Sprintf("%s/%s/%08d", id, attempt, index)
}

// Service is a request subject of the publisher: facts, snapshot, slot, stream,
// estimate.
// The publisher is part of it because micro services share requests among equal
// subjects, and the asker because server permissions guard subjects: a node must
// not drop another one's slot.
func (s Subjects) Service(publisher NodeName, endpoint string, asker NodeName) string {
	return s.base() + "svc." + string(publisher) + "." + endpoint + "." + string(asker)
}

// ServiceOf is the wildcard of one endpoint's askers.
func (s Subjects) ServiceOf(publisher NodeName, endpoint string) string {
	return s.base() + "svc." + string(publisher) + "." + endpoint + ".*"
}

// ParseAsker reads the asker out of a Service subject.
func ParseAsker(subject string) (NodeName, error) {
	n, err := ParseNodeName(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil {
		return "", fmt.Errorf("asker in subject %q: %w", clip(subject), err)
	}
	return n, nil
}

// MayReply reports whether an answer may go to subject, which the asker chose. The
// server does not check it against the asker's permissions, so that an answer to
// a subject of ours would be a document in the publisher's name.
func (s Subjects) MayReply(subject string) bool {
	return subject != "" && !strings.HasPrefix(subject, "$") && !strings.HasPrefix(subject, "pgresync.")
}

// Operator is a request subject of one sidecar for its operator. The prefix is not
// that of Service, so that permissions can tell the two kinds of askers apart.
func (s Subjects) Operator(n NodeName, sidecar string, verb OperatorVerb) string {
	return s.base() + "op." + string(n) + "." + sidecar + "." + string(verb)
}

// LeaseKey is the KV key of the lease.
const LeaseKey = "lease"

// StreamKey is the KV key of one stream's record.
func StreamKey(id StreamID) string { return "stream." + string(id) }

// NodeKey is the presence key of a node's sidecar.
func NodeKey(n NodeName, sidecar string) string { return "node." + string(n) + "." + sidecar }

// TriggerTarget is what a trigger's subject asks for.
type TriggerTarget struct {
	// Snapshot is set for a snapshot trigger; otherwise Node or All is.
	Snapshot bool
	All      bool
	Node     NodeName
}

// CheckTriggerSubject refuses what is no trigger of any cluster.
func CheckTriggerSubject(subject string) error {
	tokens := strings.SplitN(subject, ".", 3)
	if len(tokens) < 3 || tokens[0] != "pgresync" {
		return fmt.Errorf("trigger subject %q: want pgresync.<cluster>.trigger.…", clip(subject))
	}
	cluster, err := ParseClusterName(tokens[1])
	if err == nil {
		_, err = Subjects{Cluster: cluster}.ParseTrigger(subject)
	}
	return err
}

// ParseTrigger reads a trigger's subject.
func (s Subjects) ParseTrigger(subject string) (TriggerTarget, error) {
	rest, ok := strings.CutPrefix(subject, s.base()+"trigger.")
	if !ok {
		return TriggerTarget{}, fmt.Errorf("trigger subject %q: want %strigger.…", clip(subject), s.base())
	}
	if rest == "snapshot" {
		return TriggerTarget{Snapshot: true}, nil
	}
	node, ok := strings.CutPrefix(rest, "resync.")
	if !ok {
		return TriggerTarget{}, fmt.Errorf("trigger subject %q: want …trigger.snapshot or …trigger.resync.<node|all>", clip(subject))
	}
	if node == AllNodes {
		return TriggerTarget{All: true}, nil
	}
	n, err := ParseNodeName(node)
	if err != nil {
		return TriggerTarget{}, fmt.Errorf("trigger subject %q: %w", clip(subject), err)
	}
	return TriggerTarget{Node: n}, nil
}
