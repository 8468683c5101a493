package house_test

import (
	"os"
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
