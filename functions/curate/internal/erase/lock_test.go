//go:build cgo

package erase

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// Guards what another run is about to commit: an erasure whose lock is lost, after whichever of its writes, deletes no object of a table any more and rewrites none of landing, but for the one on its way. The same
// erasure under a new lock does the rest.
func TestLockLost(t *testing.T) {
	for n := 1; ; n++ {
		l := newLake(t)
		err := l.eraseLosing(n, Person{Subjects: []string{"subject-ada"}})
		if err == nil {
			if n < 5 {
				t.Errorf("the erasure wrote %d times", n-1)
			}
			break
		}
		if !errors.Is(err, warehouse.ErrLockLost) {
			t.Errorf("lost at write %d: %v", n, err)
		}
		if n%4 != 1 {
			continue // each takes its time
		}
		if err := l.eraseLosing(0, Person{Subjects: []string{"subject-ada"}}); err != nil {
			t.Errorf("again: %v", err)
		}
		if found := l.traces(root(0)); len(found) > 0 {
			t.Errorf("lost at write %d, and given again: %q", n, found)
		}
	}
}

// eraseLosing erases under the lock, and removes its file at the nth write, 0 for none.
func (l *lake) eraseLosing(n int, person Person) (err error) {
	l.t.Helper()
	file := strings.TrimPrefix(l.catalog, "sqlite://") + ".lake.lock"
	l.with(func(w *warehouse.Warehouse, db func() (*duck.DB, error)) {
		unlock, lockErr := w.Lock(context.Background())
		if lockErr != nil {
			l.t.Fatal(lockErr)
		}
		defer func() { _ = unlock() }() // a file that is closed
		writes, landed := 0, 0
		l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
			lost := n > 0 && writes >= n
			switch {
			case method == "PUT" && !strings.HasPrefix(key, "landing/_erased/"):
				writes++
				if lost && strings.HasPrefix(key, "landing/") {
					if landed++; landed > 1 {
						l.t.Errorf("lost at write %d: %s was rewritten", n, key)
					}
				}
				if writes == n {
					if err := os.Remove(file); err != nil {
						l.t.Error(err)
					}
				}
			case method == "DELETE" && lost && strings.Contains(key, "/data/"):
				l.t.Errorf("lost at write %d: %s was deleted", n, key)
			}
			return objectstoretest.Serve
		})
		defer l.s3.Fail(nil)
		_, err = Run(context.Background(), person, Options{
			Buckets: []*objectstore.Bucket{l.public, l.private}, Warehouse: w, DB: db, Search: l.index, Apply: true, ID: "e-1", Clock: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		})
	})
	return err
}
