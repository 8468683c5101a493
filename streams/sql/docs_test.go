package sql

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocs runs what docs/sql.md shows: the statements of each block, whose last query gives
// the rows of the block of text that follows.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	engine := engineOn(t, newCluster(t), &memoryLog{}, registryOf{})
	var got []string
	shown := 0
	blocks := strings.Split(string(page), "```")
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		if kind == "console" {
			continue // What is asked with psql is run by the test of pgwire.
		}
		if kind == "text" {
			want := strings.Split(strings.TrimSpace(text), "\n")
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("docs/sql.md shows %q, and it gives %q", want, got)
			}
			shown++
			continue
		}
		parts, _, err := Split(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if strings.HasPrefix(strings.TrimSpace(part.Text), "SELECT") {
				a := &answer{}
				if _, err := engine.Query(t.Context(), Request{Text: part.Text}, a); err != nil {
					t.Fatalf("%s: %v", part.Text, err)
				}
				got = a.out[1:]
			} else if _, err := engine.Execute(t.Context(), Request{Text: part.Text}); err != nil {
				t.Fatalf("%s: %v", part.Text, err)
			}
		}
	}
	if shown < 4 {
		t.Errorf("docs/sql.md shows %d results: has the way of writing them changed?", shown)
	}
}
