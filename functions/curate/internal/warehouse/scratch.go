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

func newScratch(parent string) (*scratch, error) {
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return nil, fmt.Errorf("make the scratch directory: %w", err)
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
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the scratch directory %s: %w", dir, err)
	}
	return &scratch{dir, lock}, nil
}

// removeLeft removes the scratch directory dir, or its lock's file, unless a process holds it.
func removeLeft(dir string) error {
	name := dir
	if filepath.Ext(name) != ".lock" {
		name += ".lock"
	}
	lock, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its owner is about to make it, or removed it
	}
	if err != nil {
		return fmt.Errorf("look at the scratch directory's lock: %w", err)
	}
	defer func() { _ = lock.Close() }() // nothing is written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil
		}
		return fmt.Errorf("look at the scratch directory's lock %s: %w", name, err)
	}
	return (&scratch{dir: name[:len(name)-len(".lock")]}).remove()
}

func (s *scratch) remove() error {
	err := errors.Join(os.RemoveAll(s.dir), os.RemoveAll(s.dir+".lock"))
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
