package landing

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Place is where a drain puts an object. A drain numbers its objects, so that no two places are one.
type Place struct {
	Kind        string // KindRaw, KindEnriched or KindDead
	Type, Model string // of enriched objects; "_" where the records have none that is valid
	Day         string // YYYY-MM-DD
	Drain       string // the drain's id, a UUIDv7
	N           int
}

// Prefix is what the keys of a kind's objects begin with.
func Prefix(kind string) string { return "landing/" + kind + "/" }

// Dir is what the keys of the place's day begin with.
func (p Place) Dir() string {
	dir := Prefix(p.Kind)
	if p.Kind == KindEnriched {
		dir += url.PathEscape(p.Type) + "/" + p.Model + "/"
	}
	return dir + "date=" + p.Day + "/"
}

// Key returns the object's key.
func (p Place) Key() string { return p.Dir() + p.Drain + "-" + strconv.Itoa(p.N) + objectSuffix }

const objectSuffix = ".parquet"

// ParsePlace is the inverse of Place.Key; ok is false for a key that no drain makes.
func ParsePlace(key string) (p Place, ok bool) {
	rest, ok := strings.CutPrefix(key, "landing/")
	if !ok {
		return Place{}, false
	}
	parts := strings.Split(rest, "/")
	switch p.Kind = parts[0]; {
	case (p.Kind == KindRaw || p.Kind == KindDead) && len(parts) == 3:
	case p.Kind == KindEnriched && len(parts) == 5:
		var err error
		if p.Type, err = url.PathUnescape(parts[1]); err != nil {
			return Place{}, false
		}
		p.Model = parts[2]
	default:
		return Place{}, false
	}
	day, name := parts[len(parts)-2], parts[len(parts)-1]
	p.Day = strings.TrimPrefix(day, "date=")
	if _, err := time.Parse(time.DateOnly, p.Day); err != nil {
		return Place{}, false
	}
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return Place{}, false
	}
	p.Drain = name[:i]
	n, err := strconv.Atoi(strings.TrimSuffix(name[i+1:], objectSuffix))
	if p.N = n; err != nil || n < 0 || p.Started().IsZero() || p.Key() != key {
		return Place{}, false
	}
	return p, true
}

// Started returns when the drain began, by its own clock, to the millisecond; the zero Time where its id is no UUIDv7 in its usual spelling.
func (p Place) Started() time.Time {
	id, err := uuid.Parse(p.Drain)
	if err != nil || id.Version() != 7 || id.String() != p.Drain {
		return time.Time{}
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

// Since returns what lies before the keys of all drains of the place's day that began at t or later, and behind those of the drains before.
func (p Place) Since(t time.Time) string {
	ms := max(t.UnixMilli(), 0)
	return fmt.Sprintf("%s%08x-%04x", p.Dir(), ms>>16, ms&0xffff)
}
