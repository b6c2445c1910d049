package warehouse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// scratch is a directory of this process's own, below the one that several may share. Its lock tells others that it is in use; the system takes that back when the process ends in whatever way.
type scratch struct {
	dir  string
	lock *os.File
}

// newScratch removes what dead processes left below parent and makes a directory there. Whoever does that holds a lock on parent until its own directory is locked, so that no other takes the new
// directory for one that was left.
func newScratch(parent string) (_ *scratch, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the scratch directory: %w", err)
	}
	if err := owned(parent); err != nil {
		return nil, err
	}
	all, err := os.Open(parent)
	if err != nil {
		return nil, fmt.Errorf("open the scratch directory: %w", err)
	}
	defer func() { _ = all.Close() }() // which lets go of the lock
	if err := flock(all, syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the scratch directory %s: %w", parent, err)
	}
	left, err := filepath.Glob(filepath.Join(parent, "run-*"))
	if err != nil {
		return nil, fmt.Errorf("look through the scratch directory: %w", err)
	}
	for _, dir := range left {
		if err := removeLeft(dir); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, fmt.Errorf("make the scratch directory: %w", err)
	}
	s := &scratch{dir: dir}
	s.lock, err = os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = flock(s.lock, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the scratch directory %s: %w", dir, err), s.remove())
	}
	return s, nil
}

// owned refuses a directory that somebody else has made in the directory for temporary files, where names can be guessed: its owner could put other files in the place of ours.
func owned(parent string) error {
	if filepath.Dir(filepath.Clean(parent)) != filepath.Clean(os.TempDir()) {
		return nil // whoever names another one answers for it
	}
	info, err := os.Lstat(parent)
	if err != nil {
		return fmt.Errorf("look at the scratch directory: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int64(st.Uid) != int64(os.Geteuid()) || !info.IsDir() {
		return fmt.Errorf("the scratch directory %s is not a directory of this user's own: name another one by SCRATCH", parent)
	}
	return nil
}

// flock is flock(2), which a signal can interrupt.
func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// removeLeft removes the scratch directory dir, or its lock's file, unless a process holds it. A directory without a lock is one whose owner was killed before it made it.
func removeLeft(dir string) error {
	name := dir
	if filepath.Ext(name) != ".lock" {
		name += ".lock"
	}
	old := &scratch{dir: name[:len(name)-len(".lock")]}
	lock, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return old.remove()
	}
	if err != nil {
		return fmt.Errorf("look at the scratch directory's lock: %w", err)
	}
	defer func() { _ = lock.Close() }() // nothing is written
	if err := flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil
		}
		return fmt.Errorf("look at the scratch directory's lock %s: %w", name, err)
	}
	return old.remove()
}

func (s *scratch) remove() error {
	err := errors.Join(os.RemoveAll(s.dir), os.RemoveAll(s.dir+".lock"))
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
