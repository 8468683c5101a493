package house_test

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameWhatIsThere keeps the documents true to the tree: every file and folder
// that docs/architecture.md and README.md name exists.
func TestDocsNameWhatIsThere(t *testing.T) {
	named := regexp.MustCompile("`([a-z][a-zA-Z0-9_./-]*)`")
	for _, doc := range []string{"docs/architecture.md", "README.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			name := m[1]
			if strings.HasPrefix(name, "org.") || strings.HasPrefix(name, "io.") || !isPath(name) {
				continue
			}
			found++
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
		if found == 0 {
			t.Errorf("%s names no file: has the way of writing them changed?", doc)
		}
	}
}

// isPath tells whether a word of code is meant as a file or folder of the repository.
func isPath(name string) bool {
	for _, end := range []string{".go", ".md", ".yml"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	first, _, nested := strings.Cut(name, "/")
	if !nested {
		return false
	}
	switch first {
	case "cmd", "connect", "config", "sources", "sinks", "transforms", "converters", "registry", "worker", "streams", "rest", "internal", "bench", "docs":
		return true
	}
	return false
}

// TestStreamsDocNamesWhatIsThere keeps docs/streams.md true to the packages: every name of
// theirs in it exists.
func TestStreamsDocNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("docs/streams.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	house(t, func(path string, _ *token.FileSet, f *ast.File, _ []byte) {
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != "streams" && filepath.Dir(dir) != "streams" {
			return
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				owner := f.Name.Name
				if d.Recv != nil {
					owner = receiver(d.Recv.List[0].Type)
				}
				there[owner+"."+d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						there[f.Name.Name+"."+s.Name.Name] = true
					}
				}
			}
		}
	})
	names := regexp.MustCompile("`((?:streams|window|join|cogroup|serde|streamstest|Stream|Table|Grouped|Windows)\\.[A-Z]\\w*)`").FindAllStringSubmatch(string(text), -1)
	if len(names) < 40 {
		t.Fatalf("only %d names found", len(names))
	}
	for _, m := range names {
		if !there[m[1]] {
			t.Errorf("docs/streams.md names %s, which is not there", m[1])
		}
	}
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
