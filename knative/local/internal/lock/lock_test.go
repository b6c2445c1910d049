package lock

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Two servers on the same files would destroy them: the second must be told who has them, and get them once they are given back.
func TestOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Acquire(dir); !errors.As(err, &held) || held.Dir != dir || held.Holder != "process "+strconv.Itoa(os.Getpid()) {
		t.Errorf("got %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// The reason why the lock cannot be written must not get lost: a device stands for a disk that refuses.
func TestALockThatCannotBeWrittenSaysWhy(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	held, err := Acquire(dir)
	if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, %v", held, err)
	}
}
