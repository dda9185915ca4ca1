package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// goal is a manifest whose datasets are "name=@x9": identity and txg of the target. A
// name that begins with '-' does not travel; "." is the root.
func goal(tb testing.TB, datasets ...string) *messages.Manifest {
	tb.Helper()
	m := &messages.Manifest{}
	for _, d := range datasets {
		name, target, _ := strings.Cut(d, "=")
		name, stays := strings.CutPrefix(name, "-")
		s := history(tb, target)[0]
		m.Datasets = append(m.Datasets, messages.ManifestDataset{
			Name: rel(name), GUID: s.GUID, CreateTXG: s.CreateTXG, Travels: !stays,
		})
	}
	return m
}

func rel(name string) messages.RelName {
	if name == "." {
		return ""
	}
	return messages.RelName(name)
}

// tree is "dataset: versions" lines; "token" among the versions is a partial receive.
func tree(tb testing.TB, name messages.RelName, datasets ...string) plan.Branch {
	tb.Helper()
	b := plan.Branch{Name: name, Histories: map[messages.RelName]messages.History{}, Tokens: map[messages.RelName]messages.ResumeToken{}}
	for _, d := range datasets {
		ds, versions, _ := strings.Cut(d, ":")
		if rest, ok := strings.CutSuffix(versions, "token"); ok {
			versions, b.Tokens[rel(ds)] = rest, "1-ab-cd"
		}
		b.Histories[rel(ds)] = history(tb, versions)
	}
	return b
}

func publisher(tb testing.TB, datasets ...string) func(messages.RelName) messages.History {
	tb.Helper()
	b := tree(tb, "", datasets...)
	return func(n messages.RelName) messages.History { return b.Histories[n] }
}

// show writes a plan in one line per step.
func show(p plan.PassPlan) []string {
	head := fmt.Sprintf("%s %s", p.Kind, p.Branch)
	if p.NewBranch {
		head += " new"
	}
	out := []string{head}
	for _, s := range p.Steps {
		line := fmt.Sprintf("%s -> %c", s.Into, rune(s.To))
		switch {
		case s.Have:
			line += " have"
		case s.Base.GUID == 0:
			line += " full"
		default:
			line += " from " + write([]messages.Snapshot{s.Base})
		}
		if s.Origin.GUID != 0 {
			line += " clone of " + write([]messages.Snapshot{s.Origin})
		}
		if s.Token != "" {
			line += " token"
		}
		for _, c := range s.Create {
			out = append(out, "create "+string(c))
		}
		out = append(out, line)
	}
	for _, r := range p.Remove {
		out = append(out, "remove "+string(r))
	}
	return out
}
