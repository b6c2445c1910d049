package erase

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// Person is whose events are to go.
type Person struct {
	Roots    []string // root ids of events
	Subjects []string // values of the attribute subject
}

// searcher is where documents are found and deleted; *search.Client is one. Both may be repeated; after Delete, FindBy sees what it did.
type searcher interface {
	FindBy(ctx context.Context, field string, values []string) (found []search.Held, more bool, err error)
	Delete(ctx context.Context, refs []search.Ref) error
}

// Options are where a person's events are, and whether they go.
type Options struct {
	Buckets   []*objectstore.Bucket    // whose landing logs are followed
	Warehouse *warehouse.Warehouse     // whose lock the caller holds
	DB        func() (*duck.DB, error) // called where a table has rows to lose
	Search    searcher                 // nil: search is left alone, and the report says so
	Apply     bool                     // false: only the report
	Shared    bool                     // others may commit to the warehouse meanwhile: its lock keeps nobody out
	ID        string                   // of this erasure; names no person
	Accept    []string                 // entries of landing logs that are given up, <topic id>@<sequence>: what is wrong with them, or with what they name, is told in the report and stops nothing
	// Found is told all root ids, in order, before anything is removed; its error ends the call. Whoever keeps them can erase what lands later: the raw objects that lead from a subject to its events are gone then. May be nil.
	Found  func(roots []string) error
	Clock  func() time.Time
	Logger *slog.Logger
}

// Report says what was found, and gone where Applied. Numbers of rows are of rows, copies included.
type Report struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Applied  bool      `json:"applied"`
	Roots    int       `json:"root_ids"` // events of the person, by distinct root id
	Search   []Found   `json:"search"`
	Pages    []Found   `json:"reports"`
	Tables   []Found   `json:"tables"`
	Landing  []Found   `json:"landing"`
	Expired  []string  `json:"expired"`  // tables whose older snapshots are gone
	Remains  []string  `json:"remains"`  // what is not erased by this, and until when
	Unlisted []string  `json:"missing"`  // objects that a landing log names and that are not there
	GivenUp  []string  `json:"given_up"` // what could not be looked at of entries in Options.Accept
	// Done are the steps that came to their end, Left those that did not, in their order: none but after an error, which Stopped says.
	Done    []string `json:"done"`
	Left    []string `json:"left"`
	Stopped string   `json:"stopped,omitempty"`
}

// Found is how much was found in one place.
type Found struct {
	Where   string `json:"where"`
	Objects int    `json:"objects"` // objects or files that hold rows of the person; 0 for documents
	Rows    int64  `json:"rows"`    // rows, documents or pages
}

// eraser is one call of Run.
type eraser struct {
	Options
	subjects map[string]bool
	roots    map[string]bool
	remain   []string                          // of search and tables' folders
	versions map[*landing.Log]landing.Versions // as far as they were asked for, and those of this erasure
	report   *Report
}

// Run finds the person's events and, where the options say so, removes them. An error leaves what was done so far, and the report says what that is; the same call again does the rest. The report is never nil.
func Run(ctx context.Context, person Person, o Options) (*Report, error) {
	e := &eraser{Options: o, subjects: set(person.Subjects), roots: set(person.Roots), versions: map[*landing.Log]landing.Versions{}}
	e.report = &Report{ID: o.ID, Time: o.Clock().UTC(), Applied: o.Apply}
	if len(e.subjects)+len(e.roots) == 0 {
		return e.report, errors.New("erase: whose events? root ids or subjects are needed")
	}
	var objects []*object
	of := func(kind string) func(context.Context) error {
		return func(ctx context.Context) error { return e.landing(ctx, objects, kind) }
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"find", func(ctx context.Context) (err error) {
			if objects, err = e.objects(ctx); err != nil {
				return err
			}
			return e.find(ctx, objects)
		}},
		{"search", e.search},
		{"reports", e.pages},
		{"warehouse", e.tables},
		{landing.Prefix(landing.KindEnriched), of(landing.KindEnriched)},
		{landing.Prefix(landing.KindDead), of(landing.KindDead)},
		{landing.Prefix(landing.KindRaw), of(landing.KindRaw)},
	}
	var err error
	for _, step := range steps {
		if err == nil {
			if err = step.do(ctx); err != nil {
				err = fmt.Errorf("erase: %s: %w", strings.TrimSuffix(step.name, "/"), err)
				e.report.Stopped = err.Error()
			}
		}
		if err != nil {
			e.report.Left = append(e.report.Left, step.name)
		} else {
			e.report.Done = append(e.report.Done, step.name)
		}
	}
	e.remains()
	return e.report, err
}

// find finds the root ids and tells them.
func (e *eraser) find(ctx context.Context, objects []*object) error {
	if len(e.subjects) > 0 {
		if err := e.discover(ctx, objects); err != nil {
			return err
		}
	}
	e.report.Roots = len(e.roots)
	if e.Found != nil && e.Apply {
		return e.Found(slices.Sorted(maps.Keys(e.roots)))
	}
	return nil
}

// set is the values without empty ones.
func set(values []string) map[string]bool {
	m := map[string]bool{}
	for _, v := range values {
		if v != "" {
			m[v] = true
		}
	}
	return m
}

// theirs says whether a row is the person's.
func (e *eraser) theirs(root, subject string) bool {
	return root != "" && e.roots[root] || subject != "" && e.subjects[subject]
}

// discover finds the root ids of the subjects, wherever there are rows with a subject.
func (e *eraser) discover(ctx context.Context, objects []*object) error {
	note := func(root, subject string) {
		if e.subjects[subject] && root != "" {
			e.roots[root] = true
		}
	}
	for _, o := range objects {
		if _, err := e.scan(ctx, o, func(r row) { note(r.root, r.subject) }); err != nil {
			return err
		}
	}
	if err := e.eachFile(ctx, func(_ *warehouse.Table, _ warehouse.File, rows func(func(row)) error) error {
		return rows(func(r row) { note(r.root, r.subject) })
	}); err != nil {
		return err
	}
	if e.Search != nil {
		held, _, err := e.Search.FindBy(ctx, "subject", slices.Sorted(maps.Keys(e.subjects)))
		if err != nil {
			return err
		}
		for _, h := range held {
			if h.RootID != "" {
				e.roots[h.RootID] = true
			}
		}
	}
	return nil
}

// mostStuck is how many times documents that were deleted may be there again: events that come anew meanwhile are no fault.
const mostStuck = 3

// search deletes the documents, until there are none.
func (e *eraser) search(ctx context.Context) error {
	if e.Search == nil {
		return nil
	}
	found := map[string]map[search.Ref]bool{}
	defer func() {
		for _, index := range slices.Sorted(maps.Keys(found)) {
			e.report.Search = append(e.report.Search, Found{Where: index, Rows: int64(len(found[index]))})
		}
	}()
	for _, by := range []struct {
		field  string
		values map[string]bool
	}{{"root_id", e.roots}, {"subject", e.subjects}} {
		stuck := 0 // rounds that found nothing new
		for values := slices.Sorted(maps.Keys(by.values)); len(values) > 0; {
			held, more, err := e.Search.FindBy(ctx, by.field, values)
			if err != nil {
				return err
			}
			refs := make([]search.Ref, len(held))
			for i, h := range held {
				refs[i] = h.Ref
			}
			if e.Apply && len(refs) > 0 {
				if err := e.Warehouse.Held(ctx); err != nil {
					return err
				}
				if err := e.Search.Delete(ctx, refs); err != nil {
					return err
				}
			}
			fresh := false
			for _, h := range held {
				if found[h.Index] == nil {
					found[h.Index] = map[search.Ref]bool{}
				}
				fresh = fresh || !found[h.Index][h.Ref]
				found[h.Index][h.Ref] = true
			}
			if stuck++; fresh {
				stuck = 0
			}
			if e.Apply && len(refs) > 0 && stuck == mostStuck {
				return fmt.Errorf("%d documents of %s are there again each time that they are deleted: something writes them, or they were written with a routing", len(refs), refs[0].Index)
			}
			if !e.Apply {
				if more {
					e.remain = append(e.remain, "search has more documents than are counted here: it does not give all of one event at once, and those that are counted would have to go first")
				}
				break
			}
			if len(refs) == 0 {
				break
			}
		}
	}
	return nil
}

// remains says what this does not erase.
func (e *eraser) remains() {
	add := func(format string, args ...any) {
		e.report.Remains = append(e.report.Remains, fmt.Sprintf(format, args...))
	}
	if len(e.report.Left) > 0 && e.Apply {
		add("what is not done of this erasure: %s. The same command does it; what is done stays done", strings.Join(e.report.Left, ", "))
	}
	add("Kafka keeps the events until the topics' retention is over (168h for raw and enriched events, 720h for dead letters, where provision made them), and consumers of your own what they took from there. " +
		"Events that were not drained yet land after this: erase again after the next drain")
	if e.Found == nil && len(e.subjects) > 0 {
		add("where a subject is a pseudonym in enriched rows, those that land after this can no longer be found by it, since the raw objects that lead there lost the events: --remember keeps root ids for that")
	}
	if len(e.report.Search) > 0 && e.Apply {
		add("replay reconcile names the events as missing in search for as long as Kafka has them")
	}
	if e.Search == nil {
		add("search was not asked: ELASTICSEARCH_URL is not set")
	}
	if len(e.report.Tables) > 0 {
		add("marts hold the person's part of sums until the next run of curate recomputes them; sums of days of which retention took rows keep it")
	}
	add("buckets that keep versions of objects keep the old ones until their own rules remove them; so do copies and backups")
	e.report.Remains = append(e.report.Remains, e.remain...)
	if len(e.report.Unlisted) > 0 {
		add("%d objects that landing logs name are not there and were not looked at", len(e.report.Unlisted))
	}
	if len(e.report.GivenUp) > 0 {
		add("given up by INGEST_ACCEPT, and not looked at: %s", strings.Join(e.report.GivenUp, "; "))
	}
}

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	done := "would be removed (nothing was changed: --apply does it)"
	if r.Applied {
		done = "removed"
	}
	if len(r.Left) > 0 {
		done = "broken off at " + r.Left[0] + "; the numbers are of what was come to"
	}
	fmt.Fprintf(&b, "erasure %s at %s: %d events by root id, %s\n", r.ID, r.Time.Format(time.RFC3339), r.Roots, done)
	if len(r.Left) > 0 {
		fmt.Fprintf(&b, "  done: %s\n  not done: %s\n", cmp.Or(strings.Join(r.Done, ", "), "nothing"), strings.Join(r.Left, ", "))
	}
	for _, part := range []struct {
		name, what, objects string
		found               []Found
	}{{"search", "documents", "", r.Search}, {"reports", "pages", "", r.Pages}, {"warehouse", "rows", "files", r.Tables}, {"landing", "rows", "objects", r.Landing}} {
		if len(part.found) == 0 {
			fmt.Fprintf(&b, "  %-10s nothing\n", part.name)
		}
		for _, f := range part.found {
			fmt.Fprintf(&b, "  %-10s %s: %d %s", part.name, f.Where, f.Rows, part.what)
			if part.objects != "" {
				fmt.Fprintf(&b, " in %d %s", f.Objects, part.objects)
			}
			b.WriteByte('\n')
		}
	}
	if len(r.Expired) > 0 {
		fmt.Fprintf(&b, "  older snapshots expired: %s\n", strings.Join(r.Expired, ", "))
	}
	b.WriteString("What remains:\n")
	for _, s := range r.Remains {
		fmt.Fprintf(&b, "  - %s\n", s)
	}
	return b.String()
}
