// Package lock gives a directory to one process at a time.
//
// The system takes the lock back when the process ends in whatever way, so nothing is to be cleaned up after a crash. It does not keep programs out that do not ask.
package lock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Lock is the right to a directory.
type Lock struct{ file *os.File }

// HeldError says that another process, or another lock of this one, has the directory.
type HeldError struct {
	Dir string
	// Holder is "process N", or "another process" where its number is not known.
	Holder string
}

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("the directory %s is in use by %s", e.Dir, e.Holder)
}

// Acquire makes the directory where it is absent and locks it, by a file named lock in it. It does not wait: where the directory is taken the error is a *HeldError.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	name := filepath.Join(dir, "lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		defer func() { _ = file.Close() }() // nothing was written
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		holder := "another process"
		// The holder may be about to write it; then its number is just not known.
		if content, err := os.ReadFile(name); err == nil && len(content) > 0 {
			holder = "process " + strings.TrimSpace(string(content))
		}
		return nil, &HeldError{Dir: dir, Holder: holder}
	}
	if err = file.Truncate(0); err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), file.Close())
	}
	return &Lock{file}, nil
}

// Release gives the directory back.
func (l *Lock) Release() error { return l.file.Close() }
