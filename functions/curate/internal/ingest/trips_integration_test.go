//go:build integration

package ingest

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"

	"millrace/functions/internal/pipeline"
	"millrace/shared/contract"
)

// trip is a trip as the TLC has it, with the names of its columns.
type trip struct {
	VendorID       *int64   `parquet:"VendorID,optional" json:"VendorID"`
	Pickup         *int64   `parquet:"tpep_pickup_datetime,optional" json:"-"`
	Dropoff        *int64   `parquet:"tpep_dropoff_datetime,optional" json:"-"`
	PickupText     string   `parquet:"-" json:"tpep_pickup_datetime"`
	DropoffText    string   `parquet:"-" json:"tpep_dropoff_datetime"`
	PassengerCount *float64 `parquet:"passenger_count,optional" json:"passenger_count"`
	TripDistance   *float64 `parquet:"trip_distance,optional" json:"trip_distance"`
	RatecodeID     *float64 `parquet:"RatecodeID,optional" json:"RatecodeID"`
	StoreAndFwd    *string  `parquet:"store_and_fwd_flag,optional" json:"store_and_fwd_flag"`
	PULocationID   *int64   `parquet:"PULocationID,optional" json:"PULocationID"`
	DOLocationID   *int64   `parquet:"DOLocationID,optional" json:"DOLocationID"`
	PaymentType    *int64   `parquet:"payment_type,optional" json:"payment_type"`
	FareAmount     *float64 `parquet:"fare_amount,optional" json:"fare_amount"`
	Extra          *float64 `parquet:"extra,optional" json:"extra"`
	MTATax         *float64 `parquet:"mta_tax,optional" json:"mta_tax"`
	TipAmount      *float64 `parquet:"tip_amount,optional" json:"tip_amount"`
	TollsAmount    *float64 `parquet:"tolls_amount,optional" json:"tolls_amount"`
	Improvement    *float64 `parquet:"improvement_surcharge,optional" json:"improvement_surcharge"`
	TotalAmount    *float64 `parquet:"total_amount,optional" json:"total_amount"`
	Congestion     *float64 `parquet:"congestion_surcharge,optional" json:"congestion_surcharge"`
	AirportFee     *float64 `parquet:"airport_fee,optional" json:"airport_fee"`
}

// Guards the count on real data: 100,000 trips through the deployed load-lake are 100,000 rows, and columns' sums are those of the file.
func TestRealTrips(t *testing.T) {
	root, err := pipeline.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "..", "shared", "data", "nyc_taxi", "yellow_tripdata_2023-01_first100k.parquet")
	trips, err := parquet.ReadFile[trip](file)
	if err != nil {
		t.Skipf("real trips are not here: %v", err)
	}
	l := newLoader(t)
	if l.contracts, err = contract.Embedded(); err != nil {
		t.Fatal(err)
	}
	var messages []*sarama.ProducerMessage
	var fares, locations, pickups float64
	negative := 0
	for i, x := range trips {
		const layout = "2006-01-02T15:04:05"
		x.PickupText, x.DropoffText = time.Unix(0, *x.Pickup).UTC().Format(layout), time.Unix(0, *x.Dropoff).UTC().Format(layout)
		payload, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, l.message(enriched, "YellowTaxiTripRecords", "0-0-1", fmt.Sprint(i), payload))
		fares += *x.FareAmount
		locations += float64(*x.PULocationID)
		pickups += float64(*x.Pickup / 1e9)
		if *x.FareAmount < 0 {
			negative++
		}
	}
	l.send(messages...)
	l.drain(enriched)
	before := usage(t)
	begin := time.Now()
	res := l.must()
	t.Logf("%d rows: %s, %s of processor time", res.Rows(), time.Since(begin).Round(time.Millisecond), usage(t)-before)
	if len(res.Alarms) > 0 || res.Rows() != int64(len(trips)) {
		t.Errorf("%+v", res)
	}
	var n, distinct, less int
	var f, p, s float64
	got := l.query(`select count(*), count(distinct root_id), count(*) filter (where payload.fare_amount < 0), sum(payload.fare_amount), sum(payload.pulocationid)::double, sum(epoch(payload.tpep_pickup_datetime))
		from events.enriched_yellowtaxitriprecords_0 where enrichment.pickup_zone = 'JFK' and enrichment.notes = ['a', 'b'] and _rescued is null`)
	if _, err := fmt.Sscan(got, &n, &distinct, &less, &f, &p, &s); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if n != 100_000 || distinct != n || less != negative || negative != 1002 || math.Abs(f-fares) > 1e-3 || p != locations || s != pickups {
		t.Errorf("got %s, want %d %d %f %f %f", got, len(trips), negative, fares, locations, pickups)
	}
}
