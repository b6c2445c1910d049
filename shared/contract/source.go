package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Suffix is how the names of contract files end.
const Suffix = ".odcs.yaml"

// errUnsupportedLocation is wrapped by Open's error for a location that names neither a directory nor nothing.
var errUnsupportedLocation = errors.New("only a directory is supported")

// Source is a set of contracts that is read again as its files change. It is safe for concurrent use.
type Source struct {
	dir     string
	accept  []func(*Set) error
	current atomic.Pointer[Set]

	mu    sync.Mutex       // held while the files are read
	print string           // of the files that were read last, "" to read them again
	files map[string]*file // by path
}

// file is what was last read of one path.
type file struct {
	path, print string
	contract    *Contract // nil where the file is wrong
	wrong       *Invalid  // why; nil where it is not
	good        *Contract // what was taken from this path last
}

// Open reads the contracts at location: "" for the embedded ones alone, or a directory (a path, or a file:// URL), of which every file
// that ends with [Suffix] is one contract, in addition to the embedded ones; one for an embedded type and version takes its place. Folders
// within it are not looked into. A file that is wrong is no error: the set names it ([Set.Invalid]) and does without it.
//
// Each accept is called, in order, with every set before it is taken, and refuses it by an error: what uses the contracts may need more
// of them than this package can know. A [*Refusal] in that error speaks of one contract, whose file then counts as wrong, and accept is called again
// with a set without it; with any other error nothing is taken. None is called concurrently.
func Open(ctx context.Context, location string, accept ...func(*Set) error) (*Source, error) {
	s := &Source{accept: accept}
	if strings.Contains(location, "://") {
		dir, ok := strings.CutPrefix(location, "file://")
		if !ok || !strings.HasPrefix(dir, "/") {
			return nil, fmt.Errorf("open contracts at %s: %w", location, errUnsupportedLocation)
		}
		location = dir
	}
	s.dir = location
	if _, err := s.Reload(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Set returns the contracts as they are now. A batch that has to see one set takes it once.
func (s *Source) Set() *Set { return s.current.Load() }

// Model is that of the set as it is now.
func (s *Source) Model(eventType string, model int) (Model, error) {
	return s.Set().Model(eventType, model)
}

// Reload reads the files that were added or changed (by name, size and time), or could not be read before, and reports whether the set, or what is
// wrong with its files, is new. With an error (the directory cannot be listed, or accept refuses all) the set stays as it was; the same files do not give accept's
// error again. It may be called concurrently, and beside Follow: whoever sees a change, or its error, is the only one that is told.
func (s *Source) Reload(ctx context.Context) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed, print, err := s.list()
	if err != nil {
		return false, err
	}
	if print == s.print && s.Set() != nil {
		return false, nil
	}
	files, unread, err := s.read(ctx, listed)
	if err != nil {
		return false, err
	}
	set, err := s.settle(ctx, files)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	s.files, s.print = files, print
	if unread {
		s.print = "" // nothing about the file need change for it to be readable
	}
	if err != nil {
		return false, err
	}
	if old := s.Set(); old != nil && same(old, set) {
		return false, nil
	}
	s.current.Store(set)
	return true, nil
}

// settle makes a set of the files and asks for consent. What is refused by itself counts as wrong from then on.
func (s *Source) settle(ctx context.Context, files map[string]*file) (*Set, error) {
	for {
		set, taken, err := assemble(files, s.Set())
		if err != nil {
			return nil, err
		}
		if old := s.Set(); old == nil || !same(old, set) {
			for i := 0; i < len(s.accept) && err == nil; i++ {
				err = s.accept[i](set)
			}
		}
		if err == nil {
			for path, c := range taken {
				files[path].good = c
			}
			return set, nil
		}
		// Every turn takes one contract out of one file, so this ends.
		var r *Refusal
		if ctx.Err() != nil || !errors.As(err, &r) || !refuse(files, taken, r) {
			return nil, fmt.Errorf("contracts in %s: %w", s.dir, err)
		}
	}
}

// refuse notes that a file's contract is not to be taken. It reports false for one that is of no file.
func refuse(files map[string]*file, taken map[string]*Contract, r *Refusal) bool {
	for path, c := range taken {
		if c != r.Contract {
			continue
		}
		f := files[path]
		if f.contract == c {
			f.contract, f.wrong = nil, &Invalid{File: path, EventType: c.EventType, Version: c.Version, Err: r.Err}
		}
		if f.good == c {
			f.good = nil
		}
		return true
	}
	return false
}

// watch calls Reload at every tick until ctx ends or ticks is closed, and reports each new set and each error; report is
// called by its goroutine and must not block for long.
func (s *Source) watch(ctx context.Context, ticks <-chan time.Time, report func(changed bool, err error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-ticks:
			if !ok {
				return
			}
		}
		changed, err := s.Reload(ctx)
		if ctx.Err() != nil {
			return
		}
		if changed || err != nil {
			report(changed, err)
		}
	}
}

// Follow calls Reload at every interval until ctx ends, and returns nil then. It reports each new set and each error; report is called by its goroutine and must not block for long.
func (s *Source) Follow(ctx context.Context, interval time.Duration, report func(changed bool, err error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	s.watch(ctx, ticker.C, report)
	return nil
}

// list returns what is to be read, path by fingerprint, and a fingerprint of all.
func (s *Source) list() (files map[string]string, print string, err error) {
	if s.dir == "" {
		return nil, "embedded", nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, "", fmt.Errorf("list contracts: %w", err)
	}
	files = map[string]string{}
	var b strings.Builder
	b.WriteString("directory\n") // an empty one, too, is told from one that was not listed
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), Suffix) || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(s.dir, entry.Name())
		of := ""                                    // a link to nowhere is read, and its error told
		if info, err := os.Stat(path); err == nil { // follows links: Kubernetes mounts a ConfigMap's files as links
			if info.IsDir() {
				continue
			}
			of = fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
		}
		fmt.Fprintf(&b, "%s\x00%s\n", entry.Name(), of)
		files[path] = of
	}
	return files, b.String(), nil
}

// read returns the files as they are now; those with the fingerprint that they had are not read again. It reports whether there is one that could not be
// read, which says nothing about its contract.
func (s *Source) read(ctx context.Context, listed map[string]string) (files map[string]*file, unread bool, err error) {
	files = make(map[string]*file, len(listed))
	for path, print := range listed {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		old := s.files[path]
		if old != nil && print != "" && old.print == print {
			f := *old
			files[path] = &f
			continue
		}
		f := &file{path: path, print: print}
		if old != nil {
			f.good = old.good
		}
		data, err := readFile(path)
		if err == nil {
			if f.contract, err = Parse(path, data); err != nil {
				f.wrong = &Invalid{File: path, Err: err}
				f.wrong.EventType, f.wrong.Version = claim(data)
			}
		} else {
			f.print, unread = "", true
			f.wrong = &Invalid{File: path, Err: fmt.Errorf("read contract: %w", err)}
			if f.good != nil {
				f.wrong.EventType, f.wrong.Version = f.good.EventType, f.good.Version
			}
		}
		files[path] = f
	}
	return files, unread, nil
}

// readFile reads no more of a file than is needed to see that it is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return data, errors.Join(err, f.Close())
}
