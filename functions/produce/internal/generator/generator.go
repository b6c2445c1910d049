// Package generator makes yellow taxi trips that look like New York's, and a stated share of bad ones.
//
// Each event is a pure function of the settings and its row: the same settings give the same bytes and the same ids, whatever
// was skipped before, and other settings give other ids, so that no two runs claim one identity with different payloads. It draws
// no entropy and reads no clock. What it makes resembles real trips in its ranges and relations, not in its statistics: do not
// train on it.
package generator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/trip"
	"millrace/shared/rawjson"
)

// Kind is what is wrong with an event, or Good.
type Kind string

// The kinds of events. See Kinds for who finds them out.
const (
	Good             Kind = "good"
	WrongType        Kind = "wrong_type"         // a number is a word
	MissingField     Kind = "missing_field"      // a required field is not there
	TooFar           Kind = "too_far"            // more than 1,000 miles
	UnknownVersion   Kind = "unknown_version"    // a schema version that no contract has
	PayloadNotObject Kind = "payload_not_object" // the payload is an array
	NoEventType      Kind = "no_event_type"      // the top level lacks event_type
	UnknownTopLevel  Kind = "unknown_top_level"  // the top level has a field that is none of its own
	IDWithoutSource  Kind = "id_without_source"  // an id that is nobody's
	NotJSON          Kind = "not_json"           // the payload breaks off, so that the body is not JSON
)

// Kinds are the bad kinds in the order of the report.
var Kinds = []Kind{
	WrongType, MissingField, TooFar, UnknownVersion, PayloadNotObject,
	NoEventType, UnknownTopLevel, IDWithoutSource, NotJSON,
}

// FoundBy names the function that makes the kind a dead letter: collect, whose receipt then says dead_lettered, or enrich, after a receipt that
// says accepted. It is empty for Good.
func (k Kind) FoundBy() string {
	switch k {
	case Good:
		return ""
	case NoEventType, UnknownTopLevel, IDWithoutSource, NotJSON:
		return "collect"
	case WrongType, MissingField, TooFar, UnknownVersion, PayloadNotObject:
	}
	return "enrich"
}

// Settings are all that a generation depends on.
type Settings struct {
	Seed uint64
	// BadShare is the probability of a bad event, from 0 to 1.
	BadShare float64
	// Kinds are the bad kinds to choose from, each as likely; none means all.
	Kinds []Kind
	// Start is when, by New York's wall clock, the trips begin; they follow at Pace.
	Start time.Time
	// Source is the events' source.
	Source string
}

// Pace is the time between two pickups: some 3 million trips a month, as in 2023.
const Pace = 870 * time.Millisecond

// Reader gives the events of one generation. It has no end.
type Reader struct {
	s   Settings
	id  record.Identity
	row int64
}

// New returns the generation that begins after the first skip rows.
func New(s Settings, skip int64) *Reader {
	if len(s.Kinds) == 0 {
		s.Kinds = Kinds
	}
	h := sha256.New()
	fmt.Fprintf(h, "1 %d %v %q %s", s.Seed, s.BadShare, s.Kinds, s.Start.Format(trip.LocalLayout))
	return &Reader{s: s, id: record.Identity{Source: s.Source, Prefix: hex.EncodeToString(h.Sum(nil))[:16]}, row: skip}
}

// ParseKinds reads names of bad kinds.
func ParseKinds(names []string) ([]Kind, error) {
	var out []Kind
	for _, n := range names {
		k := Kind(n)
		if !slices.Contains(Kinds, k) {
			return nil, fmt.Errorf("%q is no kind of bad event: %s", n, strings.Trim(fmt.Sprint(Kinds), "[]"))
		}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out, nil
}

// Count returns how many events of each kind the rows from first (counted from 1) have, n of them.
func (r *Reader) Count(first, n int64) map[Kind]int64 {
	out := map[Kind]int64{}
	for row := first; row < first+n; row++ {
		out[r.kind(r.rand(row))]++
	}
	return out
}

func (r *Reader) rand(row int64) *rand.Rand { return rand.New(rand.NewPCG(r.s.Seed, uint64(row))) }

// kind draws an event's kind; these are always the first numbers drawn for a row.
func (r *Reader) kind(rng *rand.Rand) Kind {
	bad, which := rng.Float64(), rng.IntN(len(r.s.Kinds))
	if bad < r.s.BadShare {
		return r.s.Kinds[which]
	}
	return Good
}

// Next implements record.Reader; it never returns io.EOF.
func (r *Reader) Next(ctx context.Context) (record.Record, error) {
	if err := ctx.Err(); err != nil {
		return record.Record{}, err
	}
	r.row++
	rng := r.rand(r.row)
	kind := r.kind(rng)
	t := r.trip(rng)
	id := r.id.ID(r.row)
	at, version := trip.Instant(t.pickup), trip.SchemaVersion
	omit, replace := "", map[string]string{}
	switch kind {
	case WrongType:
		field := pick(rng, []string{"trip_distance", "fare_amount", "PULocationID", "passenger_count"})
		replace[field] = `"many"`
	case MissingField:
		omit = pick(rng, []string{"VendorID", "tpep_pickup_datetime", "PULocationID", "trip_distance", "total_amount"})
	case TooFar:
		replace["trip_distance"] = strconv.Itoa(1001 + rng.IntN(60000))
	case UnknownVersion:
		version = "9-9-9"
	case Good, PayloadNotObject, NoEventType, UnknownTopLevel, IDWithoutSource, NotJSON:
	}
	payload := t.payload(omit, replace)
	rec := record.Record{Row: r.row, ID: id}
	switch kind {
	case PayloadNotObject:
		payload = append(append([]byte{'['}, payload...), ']')
	case NotJSON:
		payload = payload[:len(payload)/2]
		rec.Alone, rec.ID = true, ""
	case Good, WrongType, MissingField, TooFar, UnknownVersion, NoEventType, UnknownTopLevel, IDWithoutSource:
	}
	b := record.AppendEvent(nil, trip.EventType, version, id, r.s.Source, at, payload)
	switch kind {
	case NoEventType:
		b = cut(b, `"event_type":"`+trip.EventType+`",`)
		rec.ID = ""
	case UnknownTopLevel:
		b = append([]byte(`{"eventType":"`+trip.EventType+`",`), b[1:]...)
		rec.ID = ""
	case IDWithoutSource:
		b = cut(b, `"source":`+string(rawjson.AppendString(nil, r.s.Source))+`,`)
		rec.ID = ""
	case Good, WrongType, MissingField, TooFar, UnknownVersion, PayloadNotObject, NotJSON:
	}
	rec.Body = b
	return rec, nil
}

// cut removes the first piece from b.
func cut(b []byte, piece string) []byte {
	return []byte(strings.Replace(string(b), piece, "", 1))
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// made is one trip; money is in cents.
type made struct {
	pickup, dropoff                                              time.Time
	vendor, passengers, rate, from, to, payment                  int
	miles                                                        float64
	flag                                                         string
	fare, extra, mta, tip, tolls, improvement, congestion, aport int64
}

// Zones of TLC's list: where most trips are, and the two airports that yellow taxis serve.
var (
	busy     = []int{237, 236, 161, 132, 186, 162, 142, 230, 138, 170, 163, 239, 234, 48, 68, 141, 164, 79, 107, 140, 238, 249, 263, 229, 246, 113, 90, 43, 114, 100, 231, 262, 233, 137, 50, 144, 143, 75, 151, 148}
	jfk, lga = 132, 138
)

func (r *Reader) trip(rng *rand.Rand) made {
	t := made{vendor: 2, passengers: 1, rate: 1, payment: 1, flag: "N", mta: 50, improvement: 100}
	if rng.Float64() < .27 {
		t.vendor = 1
	}
	t.passengers = weighted(rng, []float64{.017, .75, .15, .035, .02, .016, .012})
	t.payment = 1 + weighted(rng, []float64{.79, .185, .01, .015})
	if rng.Float64() < .006 {
		t.flag = "Y"
	}
	t.from, t.to = zone(rng), zone(rng)
	t.pickup = r.s.Start.Add(time.Duration(r.row-1)*Pace + time.Duration(rng.IntN(600))*time.Second).Truncate(time.Second)
	airport := t.from == jfk || t.to == jfk || t.from == lga || t.to == lga
	if airport {
		t.miles = 8 + rng.Float64()*12
	} else {
		t.miles = min(45, math.Exp(.55+.75*rng.NormFloat64()))
	}
	t.miles = math.Round(t.miles*100) / 100
	mph := 7 + rng.Float64()*9
	if airport {
		mph += 12
	}
	t.dropoff = t.pickup.Add(time.Duration((t.miles/mph*3600)+60+float64(rng.IntN(90))) * time.Second)
	minutes := t.dropoff.Sub(t.pickup).Minutes()
	t.fare = 300 + 10*int64(math.Round(t.miles*26+minutes*2))
	if (t.from == jfk) != (t.to == jfk) && rng.Float64() < .8 {
		t.rate, t.fare = 2, 7000
	}
	switch h := t.pickup.Hour(); {
	case h >= 20 || h < 6:
		t.extra = 100
	case h >= 16 && t.pickup.Weekday() != time.Saturday && t.pickup.Weekday() != time.Sunday:
		t.extra = 250
	}
	if slices.Contains(busy, t.from) && t.from != jfk && t.from != lga {
		t.congestion = 250
	}
	if t.from == jfk || t.from == lga {
		t.aport = 125
	}
	if airport && rng.Float64() < .45 {
		t.tolls = 655
	}
	if t.payment == 1 && rng.Float64() < .95 {
		t.tip = int64(float64(t.fare+t.extra+t.congestion) * pick(rng, []float64{.1, .18, .2, .2, .25, .3}))
	}
	if rng.Float64() < .009 { // a charge taken back, as the real files have them: a matter for quality rules, not a bad event
		t.payment = 4
		for _, m := range []*int64{&t.fare, &t.extra, &t.mta, &t.improvement, &t.congestion, &t.aport, &t.tolls} {
			*m = -*m
		}
		t.tip = 0
	}
	return t
}

func zone(rng *rand.Rand) int {
	if rng.Float64() < .12 {
		return 1 + rng.IntN(263)
	}
	// The first ones of the list are the busiest.
	return busy[int(float64(len(busy))*math.Pow(rng.Float64(), 1.5))]
}

func weighted(rng *rand.Rand, weights []float64) int {
	x := rng.Float64()
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// payload writes the trip, without the field omit, and with some values replaced.
func (t made) payload(omit string, replace map[string]string) []byte {
	total := t.fare + t.extra + t.mta + t.tip + t.tolls + t.improvement + t.congestion + t.aport
	values := []string{
		strconv.Itoa(t.vendor), quoted(t.pickup), quoted(t.dropoff), strconv.Itoa(t.passengers), strconv.FormatFloat(t.miles, 'f', -1, 64),
		strconv.Itoa(t.rate), `"` + t.flag + `"`, strconv.Itoa(t.from), strconv.Itoa(t.to), strconv.Itoa(t.payment),
		money(t.fare), money(t.extra), money(t.mta), money(t.tip), money(t.tolls), money(t.improvement), money(total), money(t.congestion), money(t.aport),
	}
	b := []byte{'{'}
	for i, f := range trip.Fields {
		if f == omit {
			continue
		}
		v := values[i]
		if r, ok := replace[f]; ok {
			v = r
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, `"`+f+`":`+v...)
	}
	return append(b, '}')
}

func quoted(at time.Time) string { return `"` + at.Format(trip.LocalLayout) + `"` }

func money(cents int64) string { return strconv.FormatFloat(float64(cents)/100, 'f', -1, 64) }
