package maintain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
)

// sweeper is one sweep.
type sweeper struct {
	*Options
	bucket *objectstore.Bucket
	prefix string
	cutoff time.Time
	named  map[string]bool // keys
	ours   map[string]bool // folders: of a table that the catalog knows, or marked as dropped; looked up once
	known  map[string]bool // folders of tables that the catalog knows
	marks  map[string]bool // marks to delete in the end, by key: whether all else in their folder is gone
	result Swept
}

// sweep deletes what is named nowhere. All tables are read first: where one cannot be, nothing is deleted.
func (o *Options) sweep(ctx context.Context) (Swept, error) {
	s := &sweeper{Options: o, cutoff: o.Clock().Add(-o.Orphans), named: map[string]bool{}, ours: map[string]bool{}, known: map[string]bool{}, marks: map[string]bool{}}
	s.bucket, s.prefix = o.Warehouse.Store()
	if strings.Contains("/"+s.prefix+"/", "/landing/") {
		return s.result, fmt.Errorf("the warehouse's prefix %q is that of landing objects", s.prefix)
	}
	tables, err := o.Warehouse.Every(ctx)
	if err != nil {
		return s.result, err
	}
	seen := map[string]bool{}
	for _, t := range tables {
		if key, err := o.Warehouse.Key(t.Location() + "/x"); err == nil { // one in another bucket has no folder here
			s.known[s.folder(key)] = true
		}
		err := t.Named(ctx, seen, func(path string) {
			if key, err := o.Warehouse.Key(path); err == nil {
				s.named[key] = true
			}
		})
		if err != nil {
			return s.result, err
		}
	}
	err = s.list(ctx)
	for _, key := range slices.Sorted(maps.Keys(s.marks)) {
		if err == nil && s.marks[key] {
			err = s.remove(ctx, key)
		}
	}
	slices.Sort(s.result.Unknown)
	if s.result.Objects > 0 && !o.DryRun {
		o.Logger.Info("objects that nobody named are deleted", "objects", s.result.Objects, "bytes", s.result.Bytes)
	}
	return s.result, err
}

func (s *sweeper) list(ctx context.Context) error {
	for after := ""; ; {
		page, err := s.bucket.List(ctx, s.prefix+"/", after, 0)
		if err != nil {
			return err
		}
		for _, object := range page {
			if err := s.object(ctx, object); err != nil {
				return err
			}
		}
		if len(page) < objectstore.MaxList {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

func (s *sweeper) object(ctx context.Context, o objectstore.Info) error {
	if s.named[o.Key] {
		return nil
	}
	if _, ok := reportDay(strings.TrimPrefix(o.Key, s.prefix+"/")); ok {
		return nil // its age is retention's business
	}
	folder := s.folder(o.Key)
	ours, err := s.isOurs(ctx, folder)
	if err != nil {
		return err
	}
	mark := s.mark(folder)
	switch {
	case !ours:
		if !slices.Contains(s.result.Unknown, folder) {
			s.result.Unknown = append(s.result.Unknown, folder)
		}
	case !o.Modified.Before(s.cutoff):
		s.result.Young++
		s.marks[mark] = false // it says that the folder may be swept: it goes last
	case o.Key == mark:
		if _, decided := s.marks[mark]; !decided {
			s.marks[mark] = true
		}
		s.result.Objects++
		s.result.Bytes += o.Size
	default:
		s.result.Objects++
		s.result.Bytes += o.Size
		return s.remove(ctx, o.Key)
	}
	return nil
}

func (s *sweeper) remove(ctx context.Context, key string) error {
	if s.DryRun {
		return nil
	}
	return s.bucket.Delete(ctx, key)
}

// folder is the table's folder in which the key lies, below the prefix: namespace/table. A key that lies in none is its own.
func (s *sweeper) folder(key string) string {
	parts := strings.SplitN(strings.TrimPrefix(key, s.prefix+"/"), "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func (s *sweeper) mark(folder string) string {
	return s.prefix + "/" + folder + "/" + warehouse.DroppedMark
}

// isOurs reports whether the folder may be swept.
func (s *sweeper) isOurs(ctx context.Context, folder string) (bool, error) {
	if s.known[folder] {
		return true, nil
	}
	if ours, ok := s.ours[folder]; ok {
		return ours, nil
	}
	_, err := s.bucket.Get(ctx, s.mark(folder))
	if err != nil && !errors.Is(err, objectstore.ErrNotFound) {
		return false, err
	}
	s.ours[folder] = err == nil
	return err == nil, nil
}
