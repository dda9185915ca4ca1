package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Want is what the proof of a rejoin asks for; zero fields but StopLSN, SystemID
// and Timeline are not asked for.
type Want struct {
	// StopLSN is the manifest's: the copy must have replayed it.
	StopLSN  messages.LSN
	SystemID messages.SystemID
	// Timeline is the manifest's.
	Timeline messages.TimelineHistory
	// PrimaryHosts are the hosts that primary_conninfo may name; PrimaryPort the port.
	PrimaryHosts []string
	PrimaryPort  int
	SlotName     string
}

// Proven reports whether the new copy is a standby that streams: in recovery,
// from the expected primary, on its timeline, replayed past the stop LSN, and the
// primary agrees. missing is what the proof still lacks, in words.
func Proven(w Want, id *messages.Identity, r messages.Receiver, primary *messages.PrimaryFacts) (ok bool, missing string) {
	for _, check := range []func() string{
		func() string { return lacksIdentity(w, id, r) },
		func() string { return lacksPrimary(w, primary) },
		func() string { return lacksStream(w, r, primary) },
	} {
		if missing := check(); missing != "" {
			return false, missing
		}
	}
	return true, ""
}

func lacksIdentity(w Want, id *messages.Identity, r messages.Receiver) string {
	switch {
	case id == nil:
		return "PostgreSQL does not answer yet"
	case id.SystemID != w.SystemID:
		return fmt.Sprintf("system identifier is %s, want %s", id.SystemID, w.SystemID)
	case id.Role != messages.RoleStandby || !r.InRecovery:
		return "PostgreSQL is out of recovery"
	}
	return ""
}

func lacksPrimary(w Want, p *messages.PrimaryFacts) string {
	switch {
	case p == nil:
		return "the primary has not said yet whether it sees this standby"
	case p.Identity.SystemID != w.SystemID || p.Identity.Role != messages.RolePrimary:
		return fmt.Sprintf("the publisher %s is no primary of system identifier %s", p.Node, w.SystemID)
	case !p.Identity.Timeline.Contains(w.Timeline.Current, w.StopLSN):
		return fmt.Sprintf("the primary %s left timeline %s before %s", p.Node, w.Timeline.Current, w.StopLSN)
	}
	return ""
}

func lacksStream(w Want, r messages.Receiver, p *messages.PrimaryFacts) string {
	sameHost := func(h string) bool { return strings.EqualFold(h, r.SenderHost) }
	switch {
	case !r.Streaming:
		return "no wal receiver streams"
	case len(w.PrimaryHosts) > 0 && !slices.ContainsFunc(w.PrimaryHosts, sameHost):
		return fmt.Sprintf("streams from %s, want %s", r.SenderHost, strings.Join(w.PrimaryHosts, " or "))
	case w.PrimaryPort != 0 && r.SenderPort != w.PrimaryPort:
		return fmt.Sprintf("streams from port %d, want %d", r.SenderPort, w.PrimaryPort)
	case w.SlotName != "" && r.SlotName != w.SlotName:
		return fmt.Sprintf("streams through slot %q, want %q", r.SlotName, w.SlotName)
	case r.Timeline != p.Identity.Timeline.Current:
		return fmt.Sprintf("streams timeline %s, want %s", r.Timeline, p.Identity.Timeline.Current)
	case r.ReplayLSN < w.StopLSN:
		return fmt.Sprintf("replayed to %s, want %s", r.ReplayLSN, w.StopLSN)
	case !p.Streaming || w.SlotName != "" && !activeSlot(p.Slots, w.SlotName):
		return fmt.Sprintf("the primary %s does not see this standby streaming", p.Node)
	}
	return ""
}

func activeSlot(slots []messages.SlotState, name string) bool {
	return slices.ContainsFunc(slots, func(s messages.SlotState) bool { return s.Name == name && s.Active })
}
