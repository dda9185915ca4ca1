package secondary

import (
	"context"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// unfinished is the manifest of a pass that was cut, if its partial receive can
// still be continued: a newer snapshot would make the token worthless, and a seed
// of a day would begin again because of a cut that outlasted one resync's patience.
// What came later follows in the next pass, which is an increment.
//
// Nil when there is nothing to go on with; whatever is wrong with the remains, a
// new snapshot is the way out.
func (s *Service) unfinished(ctx context.Context, f *messages.PrimaryFacts, branches []plan.Branch,
	own map[messages.RelName]messages.History,
) *messages.Manifest {
	j := s.journal()
	full := j.Full && !resting(j.Phase)
	if full && j.Branch == "" {
		return nil // a full copy shares nothing with what was there
	}
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return nil
	}
	m := lastPass(info[0])
	if m == nil || !sendable(m, f) || s.matches(ctx, m) != nil {
		return nil
	}
	pp, err := plan.Pass(m, f.History, branches, plan.Options{
		Full: full, NewBranch: newBranch(j), Current: j.Branch, Live: own,
	})
	if err != nil {
		return nil
	}
	for _, step := range pp.Steps {
		if step.Token != "" {
			return m
		}
	}
	return nil
}

// lastPass is what was last planned to be received, nil when that is not known.
func lastPass(root messages.DatasetInfo) *messages.Manifest {
	m := &messages.Manifest{}
	if messages.UnpackProperty(root.Marks[messages.PropManifest], m) != nil {
		return nil
	}
	return m
}

// sendable reports whether the publisher has all of a snapshot yet.
func sendable(m *messages.Manifest, f *messages.PrimaryFacts) bool {
	for _, d := range m.Travelling() {
		if v, ok := f.History(d.Name).ByGUID(d.GUID); !ok || v.Bookmark {
			return false
		}
	}
	return true
}

// goesOn reports whether a partial receive is worth its room: all there are were left
// by the last pass, and can be continued as long as its snapshot is kept. A publisher
// that does not answer has said nothing against it.
func (s *Service) goesOn(root messages.DatasetInfo) bool {
	m := lastPass(root)
	return m != nil && (s.facts == nil || sendable(m, s.facts))
}
