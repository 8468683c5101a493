package failpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// TestPointsAreThoseOfTheCode keeps the list and the code the same: each name stands at
// one place, as a literal, and has a sentence.
func TestPointsAreThoseOfTheCode(t *testing.T) {
	listed := map[string]failpoint.Point{}
	for _, p := range failpoint.Points() {
		if listed[p.Name].Name != "" {
			t.Errorf("%s is listed twice", p.Name)
		}
		listed[p.Name] = p
		if !strings.HasSuffix(p.About, ".") {
			t.Errorf("%s has no sentence", p.Name)
		}
	}
	places := map[string]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "failpoint" || d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for name, here := range points(t, path) {
			if places[name] != "" {
				t.Errorf("%s stands at two places: %s and %s", name, places[name], here.at)
			}
			places[name] = here.at
			if listed[name].Name == "" {
				t.Errorf("%s: %s is not in the list: add it to points.go", here.at, name)
			} else if listed[name].Fails != here.fails {
				t.Errorf("%s: the list says of %s that it may fail: %v", here.at, name, listed[name].Fails)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range listed {
		if places[name] == "" {
			t.Errorf("%s is in the list and nowhere in the code", name)
		}
	}
}

// stand is where a failpoint stands, and whether with Fail.
type stand struct {
	at    string
	fails bool
}

// points returns the names that a file passes to At and Fail, and where.
func points(t *testing.T, path string) map[string]stand {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]stand{}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "At" && sel.Sel.Name != "Fail" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "failpoint" {
			return true
		}
		at := fset.Position(call.Pos()).String()
		name, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: the name must be a literal", at)
			return true
		}
		text, err := strconv.Unquote(name.Value)
		if err != nil {
			t.Fatal(err)
		}
		if found[text].at != "" {
			t.Errorf("%s stands at two places: %s and %s", text, found[text].at, at)
		}
		found[text] = stand{at, sel.Sel.Name == "Fail"}
		return true
	})
	return found
}
