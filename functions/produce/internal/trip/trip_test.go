package trip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/functions/produce/internal/record"
	"millrace/shared/contract"
)

const folder = "../../../../../shared/data/nyc_taxi/"

var id = record.Identity{Source: "/produce/t", Prefix: "f"}

func realTrips(t *testing.T, name string) *Reader {
	t.Helper()
	f, err := os.Open(folder + name)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the real data set %s is not here", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), f, info.Size(), name, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), f.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

type event struct {
	ID      string          `json:"id"`
	Time    *time.Time      `json:"time"`
	Payload json.RawMessage `json:"payload"`
}

func next(t *testing.T, r *Reader) (event, bool) {
	t.Helper()
	rec, err := r.Next(t.Context())
	if errors.Is(err, io.EOF) {
		return event{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	var e event
	if err := json.Unmarshal(rec.Body, &e); err != nil {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	return e, true
}

const (
	january = "yellow_tripdata_2023-01_first100k.parquet"
	cleaned = "yellow_tripdata_2023-01_first100k_lowercase_clean.parquet"
	august  = "yellow_2024-08_rows2097153-2979183_8money_columns.parquet"
)

// Guards against a payload that the shipped contract refuses: of the 100,000 real trips it refuses exactly one, of 62,359 miles.
func TestRealTripsFitTheContract(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := set.Find(EventType, SchemaVersion)
	if !ok {
		t.Fatal("there is no contract")
	}
	r := realTrips(t, january)
	var n, negative, idle, refused int
	for {
		e, ok := next(t, r)
		if !ok {
			break
		}
		n++
		if v := c.Check(e.Payload); len(v) > 0 {
			refused++
			if v[0].Pointer != "/trip_distance" {
				t.Errorf("row %d: %v", n, v)
			}
		}
		var p struct {
			Fare float64  `json:"fare_amount"`
			N    *float64 `json:"passenger_count"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if p.Fare < 0 {
			negative++
		}
		if p.N != nil && *p.N == 0 {
			idle++
		}
	}
	if n != 100000 || refused != 1 || negative != 1002 || idle != 1749 {
		t.Errorf("%d trips, %d refused, %d negative fares, %d without passengers; want 100000, 1, 1002, 1749", n, refused, negative, idle)
	}
}

// Guards against two spellings of the same columns becoming two payloads: the cleaned copy's first trip is the original's, byte for byte.
func TestSpellingsBecomeOnePayload(t *testing.T) {
	a, _ := next(t, realTrips(t, january))
	b, _ := next(t, realTrips(t, cleaned))
	want := `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1,"trip_distance":0.97,"RatecodeID":1,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,"payment_type":2,"fare_amount":9.3,"extra":1,"mta_tax":0.5,"tip_amount":0,"tolls_amount":0,"improvement_surcharge":1,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0}`
	if string(a.Payload) != want || string(b.Payload) != want {
		t.Errorf("got\n%s\n%s\nwant\n%s", a.Payload, b.Payload, want)
	}
	if at := time.Date(2023, 1, 1, 5, 32, 10, 0, time.UTC); a.Time == nil || !a.Time.Equal(at) {
		t.Errorf("time %v, want %s", a.Time, at)
	}
	c, _ := next(t, realTrips(t, august))
	if want := `{"extra":0,"mta_tax":0.5,"tip_amount":1.82,"tolls_amount":0,"improvement_surcharge":1,"total_amount":10.92,"congestion_surcharge":2.5,"airport_fee":0}`; string(c.Payload) != want || c.Time != nil {
		t.Errorf("2024: %s at %v, want %s and no time", c.Payload, c.Time, want)
	}
}

// Guards against a skip that lands on another row than the one counted, within a row group and beyond it.
func TestSkip(t *testing.T) {
	var rows []trip2024
	for i := range 1000 {
		rows = append(rows, trip2024{Distance: float64(i + 1)})
	}
	file := write(t, rows, parquet.MaxRowsPerRowGroup(300))
	for _, skip := range []int64{0, 1, 63, 299, 300, 301, 650, 900, 998} {
		r, err := open(t, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Skip(skip); err != nil {
			t.Fatal(err)
		}
		row := skip
		for {
			e, ok := next(t, r)
			if !ok {
				break
			}
			row++
			if !strings.Contains(string(e.Payload), fmt.Sprintf(`"trip_distance":%d,`, row)) || e.ID != fmt.Sprintf("f-%d", row) {
				t.Fatalf("after %d rows, row %d is %s %s", skip, row, e.ID, e.Payload)
			}
		}
		if row != 1000 {
			t.Errorf("after a skip of %d the last row is %d", skip, row)
		}
	}
	for _, skip := range []int64{1000, 1005} {
		r, err := open(t, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Skip(skip); err != nil {
			t.Fatal(err)
		}
		if _, ok := next(t, r); ok {
			t.Errorf("there is a row after %d rows", skip)
		}
	}
}

// TLC's types of 2024, whose real file has only the columns of money: 32-bit ids, whole passengers, microseconds.
type trip2024 struct {
	VendorID    *int32   `parquet:"VendorID,optional"`
	Pickup      int64    `parquet:"tpep_pickup_datetime,timestamp(microsecond:local)"`
	Dropoff     int64    `parquet:"tpep_dropoff_datetime,timestamp(microsecond:utc)"`
	Passengers  *int64   `parquet:"passenger_count,optional"`
	Distance    float64  `parquet:"trip_distance"`
	RatecodeID  *int64   `parquet:"RatecodeID,optional"`
	Flag        string   `parquet:"store_and_fwd_flag"`
	PULocation  int32    `parquet:"PULocationID"`
	Fare        float32  `parquet:"fare_amount"`
	Airport_fee *float64 `parquet:"Airport_fee,optional"`
	CBD         float64  `parquet:"cbd_congestion_fee"`
}

func write[T any](t *testing.T, rows []T, o ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, o...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t *testing.T, b []byte) (*Reader, error) {
	t.Helper()
	return Open(t.Context(), bytes.NewReader(b), int64(len(b)), "t.parquet", id)
}

func ptr[T any](v T) *T { return &v }

// Guards against types that differ from year to year: each must be the same JSON, nulls stay null, unknown columns are named and left out.
func TestTypesOf2024(t *testing.T) {
	at := time.Date(2024, 8, 3, 17, 5, 6, 0, time.UTC)
	rows := []trip2024{
		{VendorID: ptr(int32(2)), Pickup: at.UnixMicro(), Dropoff: at.UnixMicro() + 250000, Passengers: ptr(int64(3)), Distance: 1e6, RatecodeID: ptr(int64(99)), Flag: "N", PULocation: 237, Fare: 12.1, Airport_fee: ptr(1.75), CBD: .75},
		{Pickup: -1, Dropoff: at.UnixMicro(), Distance: 0},
	}
	r, err := open(t, write(t, rows))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"VendorID":2,"tpep_pickup_datetime":"2024-08-03T17:05:06","tpep_dropoff_datetime":"2024-08-03T13:05:06.25","passenger_count":3,"trip_distance":1000000,"RatecodeID":99,"store_and_fwd_flag":"N","PULocationID":237,"fare_amount":12.1,"airport_fee":1.75}`,
		`{"VendorID":null,"tpep_pickup_datetime":"1969-12-31T23:59:59.999999","tpep_dropoff_datetime":"2024-08-03T13:05:06","passenger_count":null,"trip_distance":0,"RatecodeID":null,"store_and_fwd_flag":"","PULocationID":0,"fare_amount":0,"airport_fee":null}`,
	}
	for i, w := range want {
		e, _ := next(t, r)
		if string(e.Payload) != w {
			t.Errorf("row %d\n%s, want\n%s", i+1, e.Payload, w)
		}
		if i == 0 && !e.Time.Equal(time.Date(2024, 8, 3, 21, 5, 6, 0, time.UTC)) {
			t.Errorf("time %s, want the pickup as New York's summer time", e.Time)
		}
	}
	if !slices.Equal(r.Unknown(), []string{"cbd_congestion_fee"}) || !slices.Contains(r.Missing(), "DOLocationID") {
		t.Errorf("unknown %v, missing %v", r.Unknown(), r.Missing())
	}
}

// Guards against sending other people's data as yellow taxi trips.
func TestFilesThatAreNoYellowTaxiTrips(t *testing.T) {
	f := func(b []byte, want string) {
		t.Helper()
		if _, err := open(t, b); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "t.parquet") {
			t.Errorf("error %v, want it to name the file and to say %q", err, want)
		}
	}
	f(write(t, []struct{ Name string }{{"x"}}), "its columns are Name")
	f(write(t, []struct {
		Pickup int64   `parquet:"lpep_pickup_datetime"`
		Fare   float64 `parquet:"fare_amount"`
	}{{1, 2}}), "no file of yellow taxi trips")
	f(write(t, []struct {
		A int64 `parquet:"VendorID"`
		B int64 `parquet:"vendorid"`
	}{{1, 2}}), "letter case aside")
	f(write(t, []struct {
		A []int64 `parquet:"VendorID"`
	}{{[]int64{1}}}), "nested or repeated")
	f(write(t, []struct {
		A int32 `parquet:"VendorID,date"`
	}{{1}}), "has the type DATE")
}

// Guards against a broken file giving any event: it is cut, and spoiled, at many places, and must be refused or read as it was; and
// it must never panic.
func TestDamagedFilesAreRefused(t *testing.T) {
	var rows []trip2024
	for i := range 400 {
		rows = append(rows, trip2024{VendorID: ptr(int32(i % 3)), Pickup: int64(i) * 1e9, Distance: float64(i) / 3, Flag: "N", PULocation: int32(i % 263)})
	}
	whole := write(t, rows, parquet.MaxRowsPerRowGroup(150))
	for cut := 1; cut < len(whole); cut += 97 {
		b := whole[:len(whole)-cut]
		if _, err := open(t, b); err == nil || !strings.Contains(err.Error(), "t.parquet") {
			t.Fatalf("cut by %d bytes: %v", cut, err)
		}
	}
	refused := 0
	for at := 4; at < len(whole); at += 31 {
		b := bytes.Clone(whole)
		b[at] ^= 0xa5
		r, err := open(t, b)
		if err != nil {
			refused++
			continue
		}
		// What passed the check must be readable to its end, whatever its values have become.
		for {
			if _, err := r.Next(t.Context()); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("byte %d: passed the check, then: %v", at, err)
				break
			}
		}
	}
	if refused == 0 {
		t.Error("no damage was found at all")
	}
}

// Guards against a payload key that the contract spells otherwise.
func TestFieldsAreTheContracts(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := set.Find(EventType, SchemaVersion)
	if !ok {
		t.Fatal("there is no contract")
	}
	want := map[string]bool{}
	for _, f := range Fields {
		want[f] = true
	}
	got := map[string]bool{}
	for _, f := range c.Payload {
		got[f.Name] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("the contract has %v, the payload %v", got, want)
	}
}

// Guards against a wall clock read in the wrong zone, and against the hour that New York has twice.
func TestInstant(t *testing.T) {
	f := func(wall, want string) {
		t.Helper()
		w, err := time.Parse(LocalLayout, wall)
		if err != nil {
			t.Fatal(err)
		}
		if got := Instant(w).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", wall, got, want)
		}
	}
	f("2023-01-01T00:32:10", "2023-01-01T05:32:10Z")
	f("2023-07-01T00:00:00", "2023-07-01T04:00:00Z")
	f("2023-11-05T01:30:00", "2023-11-05T05:30:00Z")
}
