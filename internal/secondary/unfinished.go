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
	if j.Full && j.Branch == "" {
		return nil // a full copy shares nothing with what was there
	}
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return nil
	}
	m := &messages.Manifest{}
	if messages.UnpackProperty(info[0].Marks[messages.PropManifest], m) != nil || s.matches(ctx, m) != nil {
		return nil
	}
	for _, d := range m.Travelling() {
		if v, ok := f.History(d.Name).ByGUID(d.GUID); !ok || v.Bookmark {
			return nil
		}
	}
	pp, err := plan.Pass(m, f.History, branches, plan.Options{
		Full: j.Full, NewBranch: newBranch(j), Current: j.Branch, Live: own,
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
