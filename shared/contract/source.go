package contract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Suffix is how the names of contract files end.
const Suffix = ".odcs.yaml"

// ErrUnsupportedLocation is wrapped by Open's error for a location that names neither a directory nor nothing.
var ErrUnsupportedLocation = errors.New("only a directory is supported")

// Source is a set of contracts that is read again as its files change. It is safe for concurrent use.
type Source struct {
	dir     string
	accept  []func(*Set) error
	current atomic.Pointer[Set]

	mu    sync.Mutex // held while the files are read
	print string     // of the files that current was made of, or that failed last
}

// Open reads the contracts at location: "" for the embedded ones alone, or a directory (a path, or a file:// URL), of which every file
// that ends with [Suffix] is one contract, in addition to the embedded ones; one for an embedded type and version takes its place. Folders
// within it are not looked into. The error names each file that is wrong.
//
// Each accept is called, in order, with every set before it is taken, and refuses it by an error: what uses the contracts may need more
// of them than this package can know. None is called concurrently.
func Open(ctx context.Context, location string, accept ...func(*Set) error) (*Source, error) {
	s := &Source{accept: accept}
	if strings.Contains(location, "://") {
		dir, ok := strings.CutPrefix(location, "file://")
		if !ok || !strings.HasPrefix(dir, "/") {
			return nil, fmt.Errorf("open contracts at %s: %w", location, ErrUnsupportedLocation)
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

// Reload reads the directory again if a file was added, removed or changed (by name, size and time), and reports whether
// the set is a new one. With an error the set stays as it was; the same files do not give the same error again. It may be called concurrently, and
// beside Watch: whoever sees a change, or its error, is the only one that is told.
func (s *Source) Reload(ctx context.Context) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, print, err := s.list()
	if err != nil {
		return false, err
	}
	if print == s.print && s.Set() != nil {
		return false, nil
	}
	set, err := s.read(ctx, names)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	for i := 0; i < len(s.accept) && err == nil; i++ {
		err = s.accept[i](set)
	}
	s.print = print
	if err != nil {
		return false, err
	}
	s.current.Store(set)
	return true, nil
}

// Watch calls Reload at every tick until ctx ends or ticks is closed, and reports each new set and each error; report is
// called by Watch's goroutine and must not block for long.
func (s *Source) Watch(ctx context.Context, ticks <-chan time.Time, report func(changed bool, err error)) {
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

// Follow is Watch at every interval; it returns nil when ctx ends.
func (s *Source) Follow(ctx context.Context, interval time.Duration, report func(changed bool, err error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	s.Watch(ctx, ticker.C, report)
	return nil
}

// list returns the paths of the contract files and a fingerprint of them.
func (s *Source) list() (paths []string, print string, err error) {
	if s.dir == "" {
		return nil, "embedded", nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, "", fmt.Errorf("list contracts: %w", err)
	}
	var b strings.Builder
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), Suffix) || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(s.dir, entry.Name())
		info, err := os.Stat(path) // follows links: Kubernetes mounts a ConfigMap's files as links
		if err != nil {
			return nil, "", fmt.Errorf("list contracts: %w", err)
		}
		if info.IsDir() {
			continue
		}
		fmt.Fprintf(&b, "%s\x00%d\x00%d\n", entry.Name(), info.Size(), info.ModTime().UnixNano())
		paths = append(paths, path)
	}
	return paths, b.String(), nil
}

func (s *Source) read(ctx context.Context, paths []string) (*Set, error) {
	list, err := readEmbedded()
	if err != nil {
		return nil, err
	}
	shippedOnes := len(list)
	var errs []error
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("read contract: %w", err))
			continue
		}
		c, err := Parse(path, data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		i := slices.IndexFunc(list[:shippedOnes], func(old *Contract) bool { return old.URI == c.URI })
		if i >= 0 {
			list = slices.Delete(list, i, i+1)
			shippedOnes--
		}
		list = append(list, c)
	}
	set, err := NewSet(list...)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("contracts in %s: %w", s.dir, err)
	}
	return set, nil
}
