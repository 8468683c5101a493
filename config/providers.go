package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSecretBytes bounds the file a secret is read from.
const maxSecretBytes = 1 << 20

// variables reads environment variables.
type variables struct {
	lookup  func(string) (string, bool)
	allowed func(string) bool
}

func notOwn(name string) bool {
	return !strings.HasPrefix(name, "CONNECT_") && !strings.HasPrefix(name, "TIDEMILL_")
}

func newVariables(params map[string]string) (provider, bool, error) {
	v := variables{lookup: os.LookupEnv, allowed: func(string) bool { return true }}
	text := params["allowlist.pattern"]
	if text == "" {
		return v, false, nil
	}
	// As in Java, the pattern must match the whole name.
	pattern, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return nil, false, fmt.Errorf("allowlist.pattern: %w", err)
	}
	v.allowed = pattern.MatchString
	return v, true, nil
}

func (v variables) get(path, key string) (string, error) {
	if path != "" {
		return "", errors.New("a reference to a variable has no path")
	}
	if !v.allowed(key) {
		return "", fmt.Errorf("the variable %s is not on the list of allowed ones", key)
	}
	value, ok := v.lookup(key)
	if !ok {
		return "", fmt.Errorf("the variable %s is not set", key)
	}
	return value, nil
}

// files reads secrets from files below the given roots (any, when there are none).
// read is given the open folder or file.
type files struct {
	roots []string
	read  func(opener, string, string) (string, error)
}

// opener opens a file by a path that is allowed.
type opener func(path string) (fs.File, error)

func newFiles(read func(opener, string, string) (string, error)) func(map[string]string) (provider, bool, error) {
	return func(params map[string]string) (provider, bool, error) {
		f := files{read: read}
		for root := range strings.SplitSeq(params["allowed.paths"], ",") {
			root = strings.TrimSpace(root)
			if root == "" {
				continue
			}
			if !filepath.IsAbs(root) {
				return nil, false, fmt.Errorf("allowed.paths: %s is not an absolute path", root)
			}
			f.roots = append(f.roots, filepath.Clean(root))
		}
		return f, len(f.roots) > 0, nil
	}
}

func (f files) get(path, key string) (string, error) {
	if path == "" {
		return "", errors.New("the reference has no path: write ${provider:/path:key}")
	}
	if !filepath.IsAbs(path) {
		return "", errors.New("the path must be absolute")
	}
	return f.read(f.open, filepath.Clean(path), key)
}

// open opens a file below one of the roots. Symbolic links are followed only where
// they stay below the root: os.Root sees to that.
func (f files) open(path string) (fs.File, error) {
	if len(f.roots) == 0 {
		return openRegular(os.DirFS("/"), strings.TrimPrefix(path, "/"))
	}
	for _, root := range f.roots {
		dir, rel := root, strings.TrimPrefix(path, root+"/")
		switch {
		case path == root: // The limit names the file itself.
			dir, rel = filepath.Dir(root), filepath.Base(root)
		case root == "/":
			rel = strings.TrimPrefix(path, "/")
		case rel == path:
			continue
		}
		r, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return openRegular(r.FS(), rel)
	}
	return nil, fmt.Errorf("%s lies outside the allowed paths %s", path, strings.Join(f.roots, ", "))
}

// openRegular opens a file that is no pipe or device, on which reading could wait
// for ever.
func openRegular(in fs.FS, path string) (fs.File, error) {
	info, err := fs.Stat(in, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return in.Open(path)
}

func readAll(open opener, path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err == nil && len(data) > maxSecretBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSecretBytes)
	}
	return data, err
}

// readKey reads one key of a .properties file.
func readKey(open opener, path, key string) (string, error) {
	data, err := readAll(open, path)
	if err != nil {
		return "", err
	}
	settings, err := parseProperties(path, data)
	if err != nil {
		// The parser's own text could quote the file.
		return "", fmt.Errorf("%s is not a .properties file", path)
	}
	value, ok := settings[key]
	if !ok {
		return "", fmt.Errorf("%s has no key %s", path, key)
	}
	return value, nil
}

// readWhole reads a file whose content is the secret. One newline at the end, which
// editors and echo leave there, is not part of it.
func readWhole(open opener, path, key string) (string, error) {
	if key == "" || key == "." || key == ".." || strings.ContainsAny(key, `/\`) {
		return "", errors.New("the key must be the name of a file in the folder")
	}
	data, err := readAll(open, filepath.Join(path, key))
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), err
}
