package mutants

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMutantsApply makes sure that each mutant still means what it meant: its texts
// stand exactly once where they are expected.
func TestMutantsApply(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range All() {
		if names[m.Name] || !strings.HasPrefix(m.Name, "bug_") {
			t.Errorf("%s: the name is taken, or does not begin with bug_", m.Name)
		}
		names[m.Name] = true
		if !strings.HasSuffix(m.Breaks, ".") || len(m.Edits) == 0 {
			t.Errorf("%s does not say what it breaks", m.Name)
		}
		if _, err := m.files(root); err != nil {
			t.Error(err)
		}
	}
	if len(names) < 24 {
		t.Errorf("there are %d mutants, and fewer than 24 prove little", len(names))
	}
}

// TestMutantsCompile makes sure that the compiler takes the mutants: those that change
// different files are looked at together, and only the packages that they change.
func TestMutantsCompile(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	check := newChecker(t, root, All())
	for _, round := range rounds(All()) {
		changed, names := map[string][]byte{}, []string{}
		for _, m := range round {
			files, err := m.files(root)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, m.Name)
			maps.Copy(changed, files)
		}
		for dir := range check.packages {
			if err := check.check(dir, changed); err != nil {
				t.Errorf("%s: %v", strings.Join(names, ", "), err)
			}
		}
	}
}

// checker checks the types of packages whose files are changed, against what the
// compiler knows of the packages that they import.
type checker struct {
	root     string
	packages map[string][]string // Files by folder, from the root.
	exports  map[string]string
}

func newChecker(t *testing.T, root string, all []Mutant) *checker {
	c := &checker{root: root, packages: map[string][]string{}, exports: map[string]string{}}
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles"}
	for _, m := range all {
		for _, e := range m.Edits {
			c.packages[filepath.Dir(e.File)] = nil
		}
	}
	for dir := range c.packages {
		args = append(args, "./"+dir)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
		}
		if err := d.Decode(&p); err == io.EOF {
			return c
		} else if err != nil {
			t.Fatal(err)
		}
		c.exports[p.ImportPath] = p.Export
		if dir, err := filepath.Rel(root, p.Dir); err == nil {
			if _, ours := c.packages[dir]; ours {
				c.packages[dir] = p.GoFiles
			}
		}
	}
}

// check checks the package of a folder, if a file of it is changed.
func (c *checker) check(dir string, changed map[string][]byte) error {
	fset, touched := token.NewFileSet(), false
	var files []*ast.File
	for _, name := range c.packages[dir] {
		path := filepath.Join(dir, name)
		var src any
		if text, ok := changed[path]; ok {
			touched, src = true, text
		}
		f, err := parser.ParseFile(fset, filepath.Join(c.root, path), src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if !touched {
		return nil
	}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(c.exports[path]) })}
	_, err := config.Check(dir, fset, files, nil)
	return err
}

// rounds divides mutants so that no two of one round change the same file.
func rounds(all []Mutant) [][]Mutant {
	var list [][]Mutant
	var taken []map[string]bool
	for _, m := range all {
		at := slices.IndexFunc(taken, func(files map[string]bool) bool {
			return !slices.ContainsFunc(m.Edits, func(e Edit) bool { return files[e.File] })
		})
		if at < 0 {
			at = len(list)
			list, taken = append(list, nil), append(taken, map[string]bool{})
		}
		list[at] = append(list[at], m)
		for _, e := range m.Edits {
			taken[at][e.File] = true
		}
	}
	return list
}
