package house_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// The limits of the house. They hold from the first day; a room that outgrows
// them is redesigned, not exempted.
const (
	maxFileLines       = 700
	medianFileLines    = 150
	p90FileLines       = 400
	maxFuncLines       = 80
	p90FuncLines       = 40
	maxParams          = 5
	maxInterfaceSize   = 5
	maxExported        = 40
	maxExportedConnect = 90
)

// room gathers what the limits speak of, for one package.
type room struct {
	exported map[string]bool
	doc      bool
}

// house walks every Go file that is not a test.
func house(t *testing.T, visit func(path string, fset *token.FileSet, f *ast.File, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || path != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path, fset, f, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSizes keeps files, functions, parameter lists and interfaces small.
func TestSizes(t *testing.T) {
	var files, funcs []int
	house(t, func(path string, fset *token.FileSet, f *ast.File, src []byte) {
		lines := bytes.Count(src, []byte("\n"))
		if f.Name.Name != "main" || lines > 3 {
			files = append(files, lines)
		}
		if lines > maxFileLines {
			t.Errorf("%s has %d lines; the limit is %d: split it by what it speaks of", path, lines, maxFileLines)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				size := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
				funcs = append(funcs, size)
				if size > maxFuncLines {
					t.Errorf("%s: func %s has %d lines; the limit is %d", fset.Position(n.Pos()), n.Name.Name, size, maxFuncLines)
				}
				if c := n.Type.Params.NumFields(); c > maxParams {
					t.Errorf("%s: func %s takes %d parameters; the limit is %d", fset.Position(n.Pos()), n.Name.Name, c, maxParams)
				}
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: no init(): register by a value handed over in cmd", fset.Position(n.Pos()))
				}
			case *ast.InterfaceType:
				if c := n.Methods.NumFields(); c > maxInterfaceSize {
					t.Errorf("%s: an interface with %d methods; the limit is %d: split off optional abilities", fset.Position(n.Pos()), c, maxInterfaceSize)
				}
			}
			return true
		})
	})
	percentile(t, "lines of a file, median", files, 50, medianFileLines)
	percentile(t, "lines of a file, 90th percentile", files, 90, p90FileLines)
	percentile(t, "lines of a function, 90th percentile", funcs, 90, p90FuncLines)
}

func percentile(t *testing.T, what string, of []int, p, limit int) {
	t.Helper()
	if len(of) == 0 {
		return
	}
	sort.Ints(of)
	if got := of[(len(of)-1)*p/100]; got > limit {
		t.Errorf("%s is %d; the limit is %d", what, got, limit)
	}
}

// TestDocs keeps every exported name documented, every package introduced by
// a doc.go (main packages by their main.go) and no package too wide.
func TestDocs(t *testing.T) {
	rooms := map[string]*room{}
	house(t, func(path string, fset *token.FileSet, f *ast.File, _ []byte) {
		dir := filepath.ToSlash(filepath.Dir(path))
		r := rooms[dir]
		if r == nil {
			r = &room{exported: map[string]bool{}}
			rooms[dir] = r
		}
		base := filepath.Base(path)
		if f.Doc != nil && (base == "doc.go" || f.Name.Name == "main") {
			r.doc = true
		}
		for _, name := range undocumented(f, r.exported) {
			t.Errorf("%s: exported %s has no comment", path, name)
		}
	})
	for dir, r := range rooms {
		if !r.doc {
			t.Errorf("%s has no doc.go that introduces the package", dir)
		}
		limit := maxExported
		if dir == "connect" {
			limit = maxExportedConnect
		}
		if len(r.exported) > limit {
			t.Errorf("%s exports %d names; the limit is %d", dir, len(r.exported), limit)
		}
		switch filepath.Base(dir) {
		case "util", "utils", "common", "shared", "helper", "helpers", "types":
			t.Errorf("%s: name the package after what it is", dir)
		}
	}
}

// undocumented adds the top-level exported names of f to seen (constants of one
// block count once: they are one enumeration) and returns those without comment.
func undocumented(f *ast.File, seen map[string]bool) (missing []string) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() {
				continue
			}
			if d.Recv == nil {
				seen[d.Name.Name] = true
			}
			if d.Doc == nil && (d.Recv == nil || exportedReceiver(d)) {
				missing = append(missing, d.Name.Name)
			}
		case *ast.GenDecl:
			missing = append(missing, undocumentedSpecs(d, seen)...)
		}
	}
	return missing
}

func exportedReceiver(d *ast.FuncDecl) bool {
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// enumeration tells whether d lists the constants of a type: they count with it.
func enumeration(d *ast.GenDecl) bool {
	first, ok := d.Specs[0].(*ast.ValueSpec)
	if !ok || d.Tok != token.CONST || !d.Lparen.IsValid() {
		return false
	}
	typ, ok := first.Type.(*ast.Ident)
	return ok && typ.IsExported()
}

func undocumentedSpecs(d *ast.GenDecl, seen map[string]bool) (missing []string) {
	for i, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			seen[s.Name.Name] = true
			if d.Doc == nil && s.Doc == nil {
				missing = append(missing, s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if !name.IsExported() {
					continue
				}
				if !enumeration(d) && (d.Tok != token.CONST || i == 0 || !d.Lparen.IsValid()) {
					seen[name.Name] = true
				}
				if d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing = append(missing, name.Name)
				}
			}
		}
	}
	return missing
}
