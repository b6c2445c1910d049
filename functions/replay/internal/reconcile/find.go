package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"millrace/shared/event"
	"millrace/shared/search"
)

// wanted are documents of enriched events that are looked for together.
type wanted struct {
	list    []want
	indexes []wantedIndex
	known   map[string]uint16
}

// want is one of them, whose id is its root id.
type want struct {
	root  uuid.UUID
	hash  prefix
	index uint16
	found bool
}

// prefix is what is kept of a data hash: 64 bits, as text.
type prefix [16]byte

// wantedIndex is an index with the time in which collect took its events.
type wantedIndex struct {
	name     string
	from, to time.Time
}

// mostIndexes bounds wanted.indexes, beyond which documents are asked for by their ids.
const mostIndexes = 1 << 12

// add takes a document; false says that it has to be asked for by its id.
func (w *wanted) add(root uuid.UUID, ref search.Ref, hash, collected string) bool {
	at, err := event.ParseTime(collected)
	if err != nil {
		return false
	}
	n, ok := w.known[ref.Index]
	if !ok {
		if len(w.indexes) >= mostIndexes {
			return false
		}
		if w.known == nil {
			w.known = map[string]uint16{}
		}
		n = uint16(len(w.indexes))
		w.known[ref.Index] = n
		w.indexes = append(w.indexes, wantedIndex{ref.Index, at, at})
	}
	index := &w.indexes[n]
	if at.Before(index.from) {
		index.from = at
	}
	if at.After(index.to) {
		index.to = at
	}
	one := want{root: root, index: n}
	copy(one.hash[:], hash)
	w.list = append(w.list, one)
	return true
}

// find looks for the documents that are wanted: by a scan of their index where there are many of them and few others, and for what that did not find, by their ids.
func (r *run) find(ctx context.Context) error {
	w := &r.wanted
	slices.SortFunc(w.list, func(a, b want) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		return bytes.Compare(a.root[:], b.root[:])
	})
	for rest := w.list; len(rest) > 0; {
		n := rest[0].index
		end, _ := slices.BinarySearchFunc(rest, n+1, func(one want, n uint16) int { return int(one.index) - int(n) })
		if err := r.scanIndex(ctx, w.indexes[n], rest[:end]); err != nil {
			return err
		}
		rest = rest[end:]
	}
	refs, of := make([]search.Ref, 0, lookups), make([]int, 0, lookups)
	ask := func() error {
		if len(refs) == 0 {
			return nil
		}
		versions, err := r.versions(ctx, refs)
		if err != nil {
			return err
		}
		for i, v := range versions {
			one := &w.list[of[i]]
			var hash prefix
			copy(hash[:], v.Hash)
			one.found = v.Found && hash == one.hash
		}
		refs, of = refs[:0], of[:0]
		return nil
	}
	for i := range w.list {
		if w.list[i].found {
			continue
		}
		refs, of = append(refs, search.Ref{Index: w.indexes[w.list[i].index].name, ID: w.list[i].root.String()}), append(of, i)
		if len(refs) == lookups {
			if err := ask(); err != nil {
				return err
			}
		}
	}
	if err := ask(); err != nil {
		return err
	}
	for _, one := range w.list {
		if one.found {
			r.mark(one.root, inSearch)
		} else {
			r.mark(one.root, lacksSearch)
		}
	}
	clear(w.known)
	w.list, w.indexes = w.list[:0], w.indexes[:0]
	return nil
}

// scanIndex marks those of the documents, which are of one index and in order, that a scan of it finds.
func (r *run) scanIndex(ctx context.Context, index wantedIndex, list []want) error {
	if len(list) < scanFrom || r.noScan {
		return nil
	}
	others, err := r.o.Scanner.Count(ctx, index.name, index.from, index.to)
	if err != nil || others > scanMost*int64(len(list)) {
		return err
	}
	err = r.o.Scanner.Scan(ctx, index.name, index.from, index.to, func(id, hash []byte) error {
		root, err := uuid.ParseBytes(id)
		if err != nil {
			return nil //nolint:nilerr // it is none of those that are looked for
		}
		var short prefix
		copy(short[:], hash)
		at, _ := slices.BinarySearchFunc(list, root, func(one want, root uuid.UUID) int { return bytes.Compare(one.root[:], root[:]) })
		for ; at < len(list) && list[at].root == root; at++ {
			if list[at].hash == short {
				list[at].found = true
			}
		}
		return nil
	})
	if errors.Is(err, search.ErrNoScan) {
		r.noScan = true
		return nil
	}
	return err
}

// versions asks for documents by their ids.
func (r *run) versions(ctx context.Context, refs []search.Ref) ([]search.Version, error) {
	versions, err := r.o.Documents.Versions(ctx, refs)
	if err != nil {
		return nil, err
	}
	if len(versions) != len(refs) {
		return nil, fmt.Errorf("search answered for %d documents in place of %d", len(versions), len(refs))
	}
	return versions, nil
}
