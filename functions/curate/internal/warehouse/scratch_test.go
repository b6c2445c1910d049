package warehouse

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A run that starts while another sweeps what dead ones left must keep its directory: it would fail in the middle of its work, or at once, for files that another took away.
func TestScratchRace(t *testing.T) {
	parent := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				s, err := newScratch(parent)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(s.dir); err != nil {
					t.Errorf("the directory is gone as soon as it is there: %v", err)
				}
				if err := os.WriteFile(filepath.Join(s.dir, "file"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := s.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a run left that was killed before it had made its lock, or behind its directory, must go too: nobody else would ever remove it.
func TestScratchLeft(t *testing.T) {
	parent := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(parent, "run-1", "duckdb"), 0o700), os.WriteFile(filepath.Join(parent, "run-1", "object"), []byte("x"), 0o600), os.WriteFile(filepath.Join(parent, "run-2.lock"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	running, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) != 4 {
		t.Errorf("left: %v, %v; want two directories with their locks", left, err)
	}
	if err := errors.Join(running.remove(), s.remove()); err != nil {
		t.Error(err)
	}
}

// Nobody else on the machine may read the files of a run, or put others in their place by making the directory first, whose name anybody can guess.
func TestScratchIsOurOwn(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s, err := newScratch(filepath.Join(tmp, "millrace-curate-1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.dir, filepath.Dir(s.dir)} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(tmp, "planted")); err != nil {
		t.Fatal(err)
	}
	if _, err := newScratch(filepath.Join(tmp, "planted")); err == nil {
		t.Error("a link that somebody planted is taken for the scratch directory")
	}
	if os.Geteuid() != 0 {
		return // a directory of another user's cannot be made
	}
	foreign := filepath.Join(tmp, "foreign")
	if err := errors.Join(os.Mkdir(foreign, 0o777), os.Chown(foreign, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	if _, err := newScratch(foreign); err == nil {
		t.Error("another user's directory is taken for the scratch directory")
	}
}
