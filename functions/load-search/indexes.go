package main

import (
	"context"
	"errors"
	"time"

	"millrace/shared/document"
	"millrace/shared/search"
)

// doubtAfter is how old the look at an index may be by which what it refuses is given up. It bounds the looks that a stream of poison makes.
const doubtAfter = 5 * time.Second

// sight is what is known of an index.
type sight struct {
	at   time.Time // when it and its template were seen
	took bool      // a document since it last refused one
}

// prepare has the index made where it is missing, and looked at. A mapping that is otherwise in part holds nothing back: documents go on being written, and it is said, unless it was.
func (h *handler) prepare(ctx context.Context, d *document.Document, said bool) error {
	now := h.clock()
	var err error
	if d.Kind == document.Dead {
		err = h.index.PrepareDead(ctx, d.Index)
	} else {
		err = h.index.PrepareEnriched(ctx, d.Index, d.Model.Versions)
	}
	var mapping *search.MappingError
	if errors.As(err, &mapping) {
		err = nil
	}
	if mapping != nil && !said {
		h.refused.WithLabelValues(string(d.Kind)).Inc()
		h.logger.WarnContext(ctx, "an index has not the mapping of its contract", "index", mapping.Index, "err", mapping)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		delete(h.checked, d.Index)
		return err
	}
	for index, seen := range h.checked {
		if now.Sub(seen.at) >= checkedFor {
			delete(h.checked, index)
		}
	}
	seen := h.checked[d.Index]
	seen.at = now
	h.checked[d.Index] = seen
	return nil
}

// seen reports whether an index was looked at within that time. A clock that went back makes it be looked at again.
func (h *handler) seen(index string, within time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen, ok := h.checked[index]
	age := h.clock().Sub(seen.at)
	return ok && age >= 0 && age < within
}

// doubt looks at an index again that refused a document, and returns why that is not the document's fault; nil where it may be.
func (h *handler) doubt(ctx context.Context, d *document.Document) error {
	if h.seen(d.Index, doubtAfter) {
		return nil
	}
	return h.prepare(ctx, d, false)
}

// took says for each index of a bulk request whether what it refused alone counts against the documents: where it took another one, now or since it last refused any. Else the index
// may be at fault, for which those of other indexes prove nothing. An index that turns out to be gone is made anew before the next write.
func (h *handler) took(ops []search.Operation, results []search.Result) map[string]bool {
	type now struct{ took, refused, gone bool }
	indexes := map[string]now{}
	for i, r := range results {
		n := indexes[ops[i].Index]
		switch r.Status {
		case search.Done, search.Conflict:
			n.took = true
		case search.Refused:
			n.refused = true
		case search.Unavailable:
			n.gone = n.gone || r.Type == "index_not_found_exception"
		case search.Permanent:
		}
		indexes[ops[i].Index] = n
	}
	out := make(map[string]bool, len(indexes))
	h.mu.Lock()
	defer h.mu.Unlock()
	for index, n := range indexes {
		seen, ok := h.checked[index]
		out[index] = n.took || seen.took
		switch {
		case n.gone:
			delete(h.checked, index)
		case ok:
			seen.took = n.took || seen.took && !n.refused
			h.checked[index] = seen
		}
	}
	return out
}

// elsewhere tells whether a bulk request wrote to another index than the one asked for: what that one does is then no fault of Elasticsearch as a whole.
func elsewhere(ops []search.Operation, results []search.Result) func(index string) bool {
	took := map[string]bool{}
	for i, r := range results {
		if r.Status == search.Done || r.Status == search.Conflict {
			took[ops[i].Index] = true
		}
	}
	return func(index string) bool { return len(took) > 1 || len(took) == 1 && !took[index] }
}
