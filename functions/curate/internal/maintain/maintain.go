package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
)

const (
	// LeastKeep is the least time for which what was current stays readable, and for which an object that nobody names stays.
	LeastKeep = 24 * time.Hour
	// doneProperty is the property of ops.landing that holds when maintenance last ended well, RFC 3339, and failedProperty when it last did not, if that was later.
	doneProperty   = "millrace.maintained"
	failedProperty = "millrace.maintenance_failed"
	// pause is how long a maintenance that failed is left alone: it reads every table, and what stopped it is seldom gone in a minute.
	pause = time.Hour
)

// landing is the table that remembers when maintenance was done: it is there as soon as anything is.
var landing = warehouse.Name{Namespace: "ops", Table: "landing"}

// Options say what to work on, and how. Warehouse, DB and Contracts are required.
type Options struct {
	Warehouse *warehouse.Warehouse
	DB        func() (*duck.DB, error) // called where there is something to merge
	Contracts *contract.Set
	Models    *model.Set       // whose tables hold rows of sources; nil: none
	Logger    *slog.Logger     // nil: none
	Clock     func() time.Time // nil: time.Now

	Target    int64         // bytes of a file that is large enough; 0: 128 MiB
	Files     int           // so many small files of about one size in one partition are merged; 0: 8; at least 2
	Keep      time.Duration // for how long what was current stays readable; 0, and less than it: LeastKeep
	Snapshots int           // so many snapshots stay whatever their age; 0: 10
	Orphans   time.Duration // the age from which an object that nobody names is deleted; 0, and less than it: LeastKeep

	OpsKeep time.Duration // for how long rows of ops.* about runs and measurements, dead letters and reports are kept; 0: for ever

	DryRun bool // look, write nothing
}

// Result is what was done, or with DryRun what would be.
type Result struct {
	DryRun     bool        `json:"dry_run"`
	Retention  []Retired   `json:"retention"`
	Compaction []Compacted `json:"compaction"`
	Expiry     []Expired   `json:"expiry"`
	Sweep      Swept       `json:"sweep"`
}

// Retired is what retention took from a table, or from the reports of runs.
type Retired struct {
	Table  string   `json:"table"`  // or _reports
	Days   []string `json:"days"`   // whole ones, YYYY-MM-DD, in order; none where the table is not partitioned by what retention counts from
	Before string   `json:"before"` // the first day that stays
	Files  int      `json:"files"`  // removed or, where they have other rows too, written again
	Rows   int64    `json:"rows"`
	Bytes  int64    `json:"bytes"`
}

// Compacted is what was merged in a table.
type Compacted struct {
	Table      string `json:"table"`
	Partitions int    `json:"partitions"`
	Files      int    `json:"files"` // that were merged
	Into       int    `json:"into"`  // files; 0 in a dry run
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"` // of the files that were merged
}

// Expired is how many snapshots of a table went and how many stay.
type Expired struct {
	Table string `json:"table"`
	Gone  int    `json:"gone"`
	Stay  int    `json:"stay"`
}

// Swept are the objects that nobody named.
type Swept struct {
	Objects int   `json:"objects"` // that were deleted
	Bytes   int64 `json:"bytes"`
	Young   int   `json:"young"` // that are not old enough: a later sweep's, or about to be committed
	// Unknown are folders of which the catalog knows no table and that no Drop marked: another catalog's perhaps. They are left alone.
	Unknown []string `json:"unknown"`
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Target = cmp.Or(o.Target, 128<<20)
	o.Files = max(cmp.Or(o.Files, 8), 2)
	o.Snapshots = max(cmp.Or(o.Snapshots, 10), 1)
	o.Keep = max(o.Keep, LeastKeep)
	o.Orphans = max(o.Orphans, LeastKeep)
}

// Due reports whether the last maintenance that ended well is longer ago than every, and the last one that failed longer than an hour; false where there is nothing to maintain yet.
func Due(ctx context.Context, w *warehouse.Warehouse, now time.Time, every time.Duration) (bool, error) {
	t, err := w.Load(ctx, landing)
	if errors.Is(err, warehouse.ErrNoTable) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if failed, err := time.Parse(time.RFC3339, t.Properties()[failedProperty]); err == nil && now.Sub(failed) < min(pause, every) {
		return false, nil
	}
	last, err := time.Parse(time.RFC3339, t.Properties()[doneProperty])
	return err != nil || now.Sub(last) >= every, nil //nolint:nilerr // never done, or by somebody who wrote something else: then it is time
}

// Run does what there is to do, table by table; what fails in one, ErrConflict included, keeps no other from its turn, and the errors come joined. What is then named nowhere and old enough is
// deleted, unless a table could not be read. The caller holds the warehouse's lock.
func Run(ctx context.Context, o Options) (Result, error) {
	o.defaults()
	r := Result{DryRun: o.DryRun}
	names, err := o.Warehouse.Tables(ctx)
	if err != nil {
		return r, fmt.Errorf("maintain: %w", err)
	}
	policies, errs := o.policies()
	if err := o.reports(ctx, &r); err != nil {
		errs = append(errs, fmt.Errorf("retention of reports: %w", err))
	}
	for _, name := range names {
		if err := o.table(ctx, name, policies, &r); err != nil {
			errs = append(errs, fmt.Errorf("maintain %s: %w", name, err))
		}
		if ctx.Err() != nil {
			return r, errors.Join(errs...)
		}
	}
	if r.Sweep, err = o.sweep(ctx); err != nil {
		errs = append(errs, fmt.Errorf("sweep the warehouse: %w", err))
	}
	if !o.DryRun {
		if err := o.note(ctx, len(errs) == 0); err != nil {
			errs = append(errs, fmt.Errorf("maintain: %w", err))
		}
	}
	return r, errors.Join(errs...)
}

// note keeps when maintenance ended, and how.
func (o *Options) note(ctx context.Context, well bool) error {
	t, err := o.Warehouse.Load(ctx, landing)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	now := o.Clock().UTC().Format(time.RFC3339)
	props := map[string]string{failedProperty: now}
	if well {
		props = map[string]string{doneProperty: now, failedProperty: ""}
	}
	_, err = o.Warehouse.Commit(ctx, t, warehouse.Change{Properties: props})
	return err
}

func (o *Options) table(ctx context.Context, name warehouse.Name, policies map[warehouse.Name]policy, r *Result) error {
	t, err := o.Warehouse.Load(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	// Retention that cannot be applied keeps nothing else from being done.
	t, late := o.retire(ctx, t, policies, r)
	if late != nil {
		late = fmt.Errorf("retention: %w", late)
		if ctx.Err() != nil || errors.Is(late, warehouse.ErrConflict) {
			return late
		}
		if t, err = o.Warehouse.Load(ctx, name); err != nil { // some of it may be committed
			return errors.Join(late, err)
		}
	}
	return errors.Join(late, o.tidy(ctx, t, r))
}

// tidy merges small files and lets snapshots expire.
func (o *Options) tidy(ctx context.Context, t *warehouse.Table, r *Result) (err error) {
	if t, err = o.compact(ctx, t, r); err != nil {
		return fmt.Errorf("compaction: %w", err)
	}
	if err := o.expire(ctx, t, r); err != nil {
		return fmt.Errorf("expiry: %w", err)
	}
	return nil
}

// expire lets snapshots go whose successors are older than o.Keep, but for the newest o.Snapshots.
func (o *Options) expire(ctx context.Context, t *warehouse.Table, r *Result) error {
	snapshots := t.Snapshots()
	stay := expiry(snapshotTimes(t), o.Clock().Add(-o.Keep), o.Snapshots)
	if stay >= len(snapshots) {
		return nil
	}
	e := Expired{t.Name.String(), len(snapshots) - stay, stay}
	if !o.DryRun {
		if _, err := o.Warehouse.Expire(ctx, t, stay); err != nil {
			return err
		}
		o.Logger.Info("snapshots expired", "table", e.Table, "gone", e.Gone, "stay", e.Stay)
	}
	r.Expiry = append(r.Expiry, e)
	return nil
}

func snapshotTimes(t *warehouse.Table) []time.Time {
	var times []time.Time
	for _, s := range t.Snapshots() {
		times = append(times, time.UnixMilli(s.TimestampMs))
	}
	return times
}

// expiry returns how many of the snapshots made at the times, the newest first, stay: least of them, and each that was current after the cutoff.
func expiry(made []time.Time, cutoff time.Time, least int) int {
	stay := min(least, len(made))
	for i := stay; i < len(made); i++ {
		if i == 0 || made[i-1].After(cutoff) {
			stay = i + 1
			continue
		}
		break
	}
	return stay
}
