package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/command"
)

// TestNewcomer gives the commands of docs/getting-started.md, and then those of
// docs/doctor.md, as they stand there, to two clean nodes, and holds what the pages
// show against what they print. The pages with the true output are left among the
// results.
func TestNewcomer(t *testing.T) {
	bin, out := requireLab(t)
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: bin, Out: out, Tail: tail})
	must(t, err)
	t.Cleanup(func() {
		must(t, w.Close())
		_ = command.Command{Path: "userdel", Args: []string{"pgresync"}}.Run(context.WithoutCancel(t.Context())) // there is none after an early failure
	})
	if got := strings.Join(follow(t, w, bin, out, "getting-started.md"), " "); !strings.Contains(got, "streaming") {
		t.Errorf("at the end of the page: %q, want a standby that streams", got)
	}
	follow(t, w, bin, out, "doctor.md")
}

// follow does what a page says, and returns what its last command printed.
func follow(t *testing.T, w *world.World, bin, out, name string) (printed []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(bin, name))
	must(t, err)
	var written []string
	for _, b := range blocks(string(page)) {
		switch b.kind {
		case "text":
			if b.node == "sh" {
				continue
			}
			compare(t, b.body, printed)
			written = append(written, "```text\n"+strings.Join(printed, "\n")+"\n```\n")
			continue
		case "sh":
			printed = newcomerTypes(t, w, bin, b)
		}
		written = append(written, b.raw)
	}
	must(t, os.WriteFile(filepath.Join(out, name), []byte(strings.Join(written, "")), 0o600))
	return printed
}

// block is a piece of a page: prose, or what stands between two fences.
type block struct{ kind, node, body, raw string }

var fence = regexp.MustCompile("(?ms)^```([a-z]+) ?([a-z0-9]*)\n(.*?)^```\n")

// blocks cuts a page at its fences; prose has no kind.
func blocks(page string) (out []block) {
	at := 0
	for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
		out = append(out, block{raw: page[at:m[0]]}, block{
			kind: page[m[2]:m[3]], node: page[m[4]:m[5]], body: page[m[6]:m[7]], raw: page[m[0]:m[1]],
		})
		at = m[1]
	}
	return append(out, block{raw: page[at:]})
}

// newcomerTypes runs a block on its node. Two pools of one kernel cannot have one name,
// and the lab has its own addresses: nothing else is changed.
func newcomerTypes(t *testing.T, w *world.World, bin string, b block) []string {
	t.Helper()
	n := w.Node(b.node)
	if n == nil {
		t.Fatalf("the page has a block for %q, which is no node:\n%s", b.node, b.body)
	}
	script := strings.NewReplacer("tank/", n.Pool()+"/", "10.0.0.", "10.77.0.").Replace(b.body)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	got, err := n.Run(ctx, "bash", "-euo", "pipefail", "-c", `PATH="$0:$PATH"; cd /; `+script, bin)
	t.Logf("%s, %s:\n%s\n%s", n.Name, time.Since(began).Round(time.Second), script, got)
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	back := strings.NewReplacer(n.Pool(), "tank", "10.77.0.", "10.0.0.").Replace(got)
	return strings.Split(back, "\n")
}

// Whatever differs from run to run: ids, numbers, times, units of size, and the width of columns.
var (
	varying = regexp.MustCompile(`[0-9a-z]{24,26}|[0-9.]+[mµn]?[hms][0-9hms.]*|[0-9]+(\.[0-9]+)?( ?[KMG]?i?B)?`)
	spaces  = regexp.MustCompile(`\s+`)
)

func plainly(line string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(varying.ReplaceAllString(line, "N"), " "))
}

// compare wants every line that the page shows among those that were printed.
func compare(t *testing.T, shown string, printed []string) {
	t.Helper()
	var got []string
	for _, line := range printed {
		got = append(got, plainly(line))
	}
	for line := range strings.Lines(shown) {
		if want := plainly(line); want != "" && !slices.Contains(got, want) {
			t.Errorf("the page shows %q, which was not printed:\n%s", strings.TrimSpace(line), fmt.Sprint(strings.Join(printed, "\n")))
		}
	}
}
