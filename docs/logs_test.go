package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var keyForm = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// zerolog's own, which no line of the source names.
var implied = map[string]bool{"error": true}

// levels begin a line or a logger's context.
var levels = []string{"Trace", "Debug", "Info", "Warn", "Error", "WithLevel", "With"}

// fieldMethods take a key first.
var fieldMethods = []string{
	"Str", "Strs", "Stringer", "Int", "Int64", "Uint64", "Float64", "Bool", "Dur", "Time", "Any", "Interface", "AnErr", "Bytes", "Hex", "RawJSON",
}

func TestEveryLogKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile("logs.md")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		used[m[1]] = implied[m[1]] || slices.Contains([]string{"warn", "info", "debug"}, m[1])
	}
	constants := logConstants(t)
	lines := 0
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") || !strings.HasPrefix(file, "../cmd/") && !strings.HasPrefix(file, "../internal/") {
			continue
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			key, ok := keyOf(call, constants)
			if !ok {
				return true
			}
			lines++
			if _, documented := used[key]; !documented || !keyForm.MatchString(key) {
				t.Errorf("%s: log key %q is not in docs/logs.md, or not snake_case: one thing has one name", fset.Position(call.Pos()), key)
			}
			used[key] = true
			return true
		})
	}
	if lines < 60 {
		t.Fatalf("only %d fields were found", lines)
	}
	for key, is := range used {
		if !is {
			t.Errorf("docs/logs.md documents %q, which nothing logs", key)
		}
	}
}

// keyOf is the key of a call that adds a field to a log line, false for other calls.
func keyOf(call *ast.CallExpr, constants map[string]string) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 2 || !slices.Contains(fieldMethods, method.Sel.Name) || !logs(method.X) {
		return "", false
	}
	switch arg := call.Args[0].(type) {
	case *ast.BasicLit:
		key, err := strconv.Unquote(arg.Value)
		return key, err == nil
	case *ast.SelectorExpr:
		return constants[arg.Sel.Name], true
	case *ast.Ident:
		return constants[arg.Name], true
	}
	return "not a constant", true
}

// logs reports whether a chain of calls begins at a logger, or in a hook at the event.
func logs(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "e" // the event that a hook gets
	case *ast.CallExpr:
		s, ok := e.Fun.(*ast.SelectorExpr)
		return ok && (slices.Contains(levels, s.Sel.Name) || logs(s.X))
	}
	return false
}

// logConstants are the keys that internal/daemon names.
func logConstants(t *testing.T) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "internal/daemon/keys.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				out[v.Names[0].Name], _ = strconv.Unquote(lit.Value)
			}
		}
		return true
	})
	return out
}
