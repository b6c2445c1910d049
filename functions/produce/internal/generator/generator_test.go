package generator

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"millrace/functions/produce/internal/record"
	"millrace/shared/contract"
)

func settings() Settings {
	return Settings{Seed: 7, BadShare: .2, Start: time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC), Source: "/produce/generate"}
}

func take(t *testing.T, r *Reader, n int) []record.Record {
	t.Helper()
	var out []record.Record
	for range n {
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// Guards against a second run that makes other events, and against a skipped run that does: the identities would then name two things.
func TestTheSameSettingsMakeTheSameEvents(t *testing.T) {
	a, b, tail := take(t, New(settings(), 0), 500), take(t, New(settings(), 0), 500), take(t, New(settings(), 400), 100)
	for i := range a {
		if !bytes.Equal(a[i].Body, b[i].Body) {
			t.Fatalf("row %d differs:\n%s\n%s", i+1, a[i].Body, b[i].Body)
		}
		if i >= 400 && !bytes.Equal(a[i].Body, tail[i-400].Body) {
			t.Fatalf("row %d differs after a skip", i+1)
		}
	}
	for _, change := range []func(*Settings){
		func(s *Settings) { s.Seed = 8 },
		func(s *Settings) { s.BadShare = .3 },
		func(s *Settings) { s.Kinds = []Kind{TooFar} },
		func(s *Settings) { s.Start = s.Start.Add(time.Hour) },
	} {
		s := settings()
		change(&s)
		if New(s, 0).id.ID(1) == New(settings(), 0).id.ID(1) {
			t.Errorf("other settings %+v, the same id", s)
		}
	}
}

// Guards against a generator whose good trips are refused, whose bad ones pass, or whose counts do not add up: checked against
// the shipped contract and against what collect may see at the top level.
func TestEachKindIsWhatItSays(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	r := New(settings(), 0)
	got := map[Kind]int64{}
	for _, rec := range take(t, r, n) {
		kind := r.kind(r.rand(rec.Row))
		got[kind]++
		if rec.Alone != (kind == NotJSON) || json.Valid(rec.Body) == (kind == NotJSON) {
			t.Fatalf("%s: alone is %v: %s", kind, rec.Alone, rec.Body)
		}
		if kind == NotJSON {
			continue
		}
		var top map[string]json.RawMessage
		if err := json.Unmarshal(rec.Body, &top); err != nil {
			t.Fatal(err)
		}
		_, typed := top["event_type"]
		_, sourced := top["source"]
		if typed == (kind == NoEventType) || sourced == (kind == IDWithoutSource) || (len(top) > 6) != (kind == UnknownTopLevel) {
			t.Fatalf("%s: %s", kind, rec.Body)
		}
		var version string
		if err := json.Unmarshal(top["schema_version"], &version); err != nil {
			t.Fatal(err)
		}
		c, known := set.Find("YellowTaxiTripRecords", version)
		if known == (kind == UnknownVersion) {
			t.Fatalf("%s: version %s", kind, version)
		}
		if !known {
			continue
		}
		refused := len(c.Check(top["payload"])) > 0
		if want := kind.FoundBy() == "enrich"; refused != want {
			t.Fatalf("%s: refused by the contract: %v: %s", kind, refused, rec.Body)
		}
	}
	var bad int64
	for kind, want := range r.Count(1, n) {
		if got[kind] != want {
			t.Errorf("%d events are %s, Count says %d", got[kind], kind, want)
		}
		if kind != Good {
			bad += want
		}
	}
	if share := float64(bad) / n; math.Abs(share-.2) > .02 {
		t.Errorf("the share of bad events is %.3f, want about 0.2", share)
	}
	if len(got) != len(Kinds)+1 {
		t.Errorf("kinds made: %v", got)
	}
}

// Guards against trips that no meter would print: totals that are not the sum, arrivals before departures, zones that do not exist.
func TestTripsAddUp(t *testing.T) {
	s := settings()
	s.BadShare = 0
	var zero, negative int
	for _, rec := range take(t, New(s, 0), 5000) {
		var e struct {
			Time    time.Time
			Payload struct {
				Pickup  string  `json:"tpep_pickup_datetime"`
				Dropoff string  `json:"tpep_dropoff_datetime"`
				Miles   float64 `json:"trip_distance"`
				PU      int     `json:"PULocationID"`
				DO      int     `json:"DOLocationID"`
				People  int     `json:"passenger_count"`
				Fare    float64 `json:"fare_amount"`
				Extra   float64 `json:"extra"`
				Mta     float64 `json:"mta_tax"`
				Tip     float64 `json:"tip_amount"`
				Tolls   float64 `json:"tolls_amount"`
				Imp     float64 `json:"improvement_surcharge"`
				Total   float64 `json:"total_amount"`
				Cong    float64 `json:"congestion_surcharge"`
				Airport float64 `json:"airport_fee"`
			}
		}
		if err := json.Unmarshal(rec.Body, &e); err != nil {
			t.Fatal(err)
		}
		p := e.Payload
		if sum := p.Fare + p.Extra + p.Mta + p.Tip + p.Tolls + p.Imp + p.Cong + p.Airport; math.Abs(sum-p.Total) > .005 {
			t.Fatalf("the parts make %.2f: %s", sum, rec.Body)
		}
		if p.Pickup >= p.Dropoff || p.Miles <= 0 || p.Miles > 100 || p.PU < 1 || p.PU > 263 || p.DO < 1 || p.DO > 263 || e.Time.IsZero() {
			t.Fatalf("not a trip: %s", rec.Body)
		}
		if p.People == 0 {
			zero++
		}
		if p.Fare < 0 {
			negative++
		}
	}
	if zero == 0 || negative == 0 {
		t.Errorf("%d trips without passengers, %d with a negative fare: quality rules have nothing to find", zero, negative)
	}
}
