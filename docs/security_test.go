package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that the table of security.md names exists, and every row has one.
func TestEveryRowOfTheSecurityTableNamesATest(t *testing.T) {
	page, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]*)\(`)
	for _, file := range files(t, "_test.go") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			known[m[1]] = true
		}
	}
	rows, cited := 0, regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]*)`")
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 || strings.HasPrefix(line, "| boundary") {
			continue
		}
		rows++
		names := cited.FindAllStringSubmatch(cells[3], -1)
		if len(names) == 0 {
			t.Errorf("no test guards: %s", line)
		}
		for _, m := range names {
			if !known[m[1]] {
				t.Errorf("test %s of security.md does not exist", m[1])
			}
		}
	}
	if rows < 10 {
		t.Fatalf("found %d rows in the table", rows)
	}
}

// A new module is a decision that somebody made with open eyes.
func TestDependenciesAreReviewed(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	reviewed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		reviewed[m[1]] = false
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+`).FindAllStringSubmatch(string(mod), -1) {
		if _, ok := reviewed[m[1]]; !ok {
			t.Errorf("module %s is in go.mod and not in docs/dependencies.md: review it, and say there what it is for", m[1])
		}
		reviewed[m[1]] = true
	}
	for module, used := range reviewed {
		if !used {
			t.Errorf("module %s is in docs/dependencies.md and no longer in go.mod", module)
		}
	}
}
