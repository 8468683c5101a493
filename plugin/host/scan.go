package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// askLimit is how long a file may take to say what it holds.
const askLimit = time.Minute

// atOnce is how many files are asked at a time.
const atOnce = 4

// program is an executable file, as it was when it was asked what it holds.
type program struct {
	path    string
	mark    mark
	sum     string
	classes []line.Class
	// changed looks at the directories again, since the file is not what it was. Nil while
	// it is asked for the first time.
	changed func()
}

// scan looks at the directories. The caller holds scanning.
func (h *Host) scan() connect.Plugins {
	h.mu.Lock()
	before := h.files
	h.mu.Unlock()
	var order []string
	now := map[string]*program{}
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for _, path := range h.candidates() {
		m, err := trusted(path)
		if err != nil {
			h.say(path, err.Error())
			continue
		}
		order = append(order, path)
		if old := before[path]; old != nil && old.mark == m {
			now[path] = old
			continue
		}
		fresh := &program{path: path, mark: m}
		now[path] = fresh
		asking.Go(func() error {
			h.ask(fresh)
			fresh.changed = func() { h.Plugins(true) }
			return nil
		})
	}
	_ = asking.Wait() // What is wrong with a file is said of that file.
	h.mu.Lock()
	h.files = now
	h.mu.Unlock()
	return h.collect(order, now)
}

// candidates are the executable files of the directories, in order.
func (h *Host) candidates() (paths []string) {
	for _, dir := range h.dirs {
		if err := trustedDir(dir); err != nil {
			h.say(dir, err.Error())
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			h.say(dir, "plugin.path: the directory cannot be read: "+err.Error())
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case e.IsDir():
				h.say(path, "plugin.path: a directory within a directory is not looked into: put executables directly into those of plugin.path")
			case strings.HasSuffix(e.Name(), ".jar"):
				h.say(path, "plugin.path: plugins for the Java machine cannot be run here")
			default:
				if info, err := e.Info(); err == nil && (info.Mode()&0o111 != 0 || info.Mode()&os.ModeSymlink != 0) {
					paths = append(paths, path)
				}
			}
		}
	}
	return paths
}

// ask starts a file and asks what it holds. A file that cannot tell holds nothing, until
// it changes.
func (h *Host) ask(p *program) {
	var err error
	if p.sum, err = checksum(p.path); err != nil {
		h.say(p.path, "plugin.invalid: "+err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	var d line.Description
	body, err := p.question(ctx, h.log, line.Describe, nil)
	if err == nil {
		d, err = line.Unpack[line.Description](body)
	}
	if err != nil {
		h.say(p.path, "plugin.invalid: the file does not say what it holds, and is left alone until it changes: "+err.Error())
		return
	}
	for _, reason := range d.Refused {
		h.log.Warn("plugin.refused: "+reason, "file", p.path)
	}
	for _, c := range d.Classes {
		if err := checkClass(c); err != nil {
			h.log.Warn("plugin.refused: "+c.Class+": "+err.Error(), "file", p.path)
			continue
		}
		p.classes = append(p.classes, c)
		h.log.Info("plugin found", "class", c.Class, "version", c.Version, "file", p.path, "sha256", p.sum)
	}
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// collect makes the list of plugins. Of a class and version that two files hold, the first
// file's is taken.
func (h *Host) collect(order []string, files map[string]*program) (all connect.Plugins) {
	type name struct {
		role           line.Role
		class, version string
	}
	holder := map[name]string{}
	for _, path := range order {
		p := files[path]
		for _, c := range p.classes {
			n := name{c.Role, c.Class, c.Version}
			if first, twice := holder[n]; twice {
				h.say(path+" "+c.Class, "plugin.duplicate: "+c.Class+" "+c.Version+" is held by "+first+" too, whose it is")
				continue
			}
			holder[n] = path
			switch c.Role {
			case line.Source:
				all.Sources = append(all.Sources, entry(c, func() connect.SourceConnector { return &sourceConnector{connector{program: p, class: c, log: h.log}} }))
			case line.Sink:
				all.Sinks = append(all.Sinks, entry(c, func() connect.SinkConnector { return &sinkConnector{connector{program: p, class: c, log: h.log}} }))
			case line.Transform:
				all.Transforms = append(all.Transforms, entry(c, func() connect.Transform { return &transform{judge{step: newStep(p, c, h.log)}} }))
			case line.Predicate:
				all.Predicates = append(all.Predicates, entry(c, func() connect.Predicate { return &predicate{judge{step: newStep(p, c, h.log)}} }))
			case line.Converter:
				all.Converters = append(all.Converters, entry(c, func() connect.Converter { return &converter{step: newStep(p, c, h.log)} }))
			}
		}
	}
	return all
}

func entry[T any](c line.Class, make func() T) connect.Plugin[T] {
	return connect.Plugin[T]{Class: c.Class, Aliases: c.Aliases, Version: c.Version, Doc: c.Doc, Config: definition(c), New: make}
}
