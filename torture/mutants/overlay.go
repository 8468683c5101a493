package mutants

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// files returns the mutant's files: the path of each below root, and what it holds.
func (m *Mutant) files(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, e := range m.Edits {
		text, ok := files[e.File]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(root, e.File)); err != nil {
				return nil, err
			}
		}
		if n := strings.Count(string(text), e.From); n != 1 {
			return nil, fmt.Errorf("%s: the text to replace stands %d times in %s:\n%s", m.Name, n, e.File, e.From)
		}
		if e.From == e.To {
			return nil, fmt.Errorf("%s changes nothing in %s", m.Name, e.File)
		}
		files[e.File] = []byte(strings.Replace(string(text), e.From, e.To, 1))
	}
	return files, nil
}

// overlay writes the mutant's files and the list of them that the go command takes into
// dir, and returns the path of the list.
func (m *Mutant) overlay(root, dir string) (string, error) {
	files, err := m.files(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range files {
		to := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, name)] = to
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// Build builds the command with the mutant, nil for none, and the given build tags into
// a file of dir, whose path it returns. root is the folder of the module.
func Build(ctx context.Context, root, dir, tags string, m *Mutant) (string, error) {
	binary := filepath.Join(dir, "tidemill")
	return binary, compile(ctx, root, m, "-tags", tags, "-o", binary, "./cmd/tidemill")
}

// buildFleet builds the program of the streams application that is tortured.
func buildFleet(ctx context.Context, root, dir string, m *Mutant) (string, error) {
	binary := filepath.Join(dir, "torture")
	return binary, compile(ctx, root, m, "-o", binary, "./torture")
}

// compile has the compiler build with the mutant; its files lie beside what is built.
func compile(ctx context.Context, root string, m *Mutant, args ...string) error {
	args = append([]string{"build", "-ldflags", "-s -w"}, args...)
	if m != nil {
		list, err := m.overlay(root, filepath.Dir(args[len(args)-2]))
		if err != nil {
			return err
		}
		args = slices.Insert(args, 1, "-overlay", list)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", args[len(args)-1], err, out)
	}
	return nil
}

// Root returns the folder of the module around the working directory.
func Root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
