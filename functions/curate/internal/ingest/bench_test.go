package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"millrace/shared/contract"
	"millrace/shared/landing"
)

// landedTrip is a row as load-lake writes it, with its encodings.
type landedTrip struct {
	EventType     *string         `parquet:"event_type,optional,dict"`
	SchemaVersion *string         `parquet:"schema_version,optional,dict"`
	Assumed       *string         `parquet:"version_assumed,optional,dict"`
	RootID        *string         `parquet:"root_id,optional"`
	ID            *string         `parquet:"id,optional"`
	Source        *string         `parquet:"source,optional,dict"`
	Subject       *string         `parquet:"subject,optional,dict"`
	Time          *time.Time      `parquet:"time,optional,timestamp(microsecond)"`
	CollectorID   *string         `parquet:"collector_id,optional,dict"`
	CollectorTime *time.Time      `parquet:"collector_tstamp,optional,timestamp(microsecond)"`
	DataHash      *string         `parquet:"data_hash,optional"`
	DataSchema    *string         `parquet:"data_schema,optional,dict"`
	ContentType   *string         `parquet:"content_type,optional,dict"`
	PartitionKey  *string         `parquet:"partition_key,optional"`
	Stage         *string         `parquet:"stage,optional,dict"`
	ReplayID      *string         `parquet:"replay_id,optional,dict"`
	ReplayCount   *int64          `parquet:"replay_count,optional"`
	Extensions    *string         `parquet:"extensions,optional"`
	Headers       *string         `parquet:"kafka_headers,optional"`
	Key           []byte          `parquet:"kafka_key,optional"`
	Partition     *int32          `parquet:"kafka_partition,optional,dict"`
	Offset        *int64          `parquet:"kafka_offset,optional"`
	Timestamp     *time.Time      `parquet:"kafka_timestamp,optional,timestamp(microsecond)"`
	Rescued       *string         `parquet:"_rescued,optional"`
	Payload       *tripPayload    `parquet:"payload,optional"`
	Enrichment    *tripEnrichment `parquet:"enrichment,optional"`
}

type tripPayload struct {
	VendorID       *int64     `parquet:"vendorid,optional"`
	Pickup         *time.Time `parquet:"tpep_pickup_datetime,optional,timestamp(microsecond:local)"`
	Dropoff        *time.Time `parquet:"tpep_dropoff_datetime,optional,timestamp(microsecond:local)"`
	PassengerCount *float64   `parquet:"passenger_count,optional"`
	TripDistance   *float64   `parquet:"trip_distance,optional"`
	RatecodeID     *int64     `parquet:"ratecodeid,optional"`
	StoreAndFwd    *string    `parquet:"store_and_fwd_flag,optional,dict"`
	PULocationID   *int64     `parquet:"pulocationid,optional"`
	DOLocationID   *int64     `parquet:"dolocationid,optional"`
	PaymentType    *int64     `parquet:"payment_type,optional"`
	FareAmount     *float64   `parquet:"fare_amount,optional"`
	Extra          *float64   `parquet:"extra,optional"`
	MTATax         *float64   `parquet:"mta_tax,optional"`
	TipAmount      *float64   `parquet:"tip_amount,optional"`
	TollsAmount    *float64   `parquet:"tolls_amount,optional"`
	Improvement    *float64   `parquet:"improvement_surcharge,optional"`
	TotalAmount    *float64   `parquet:"total_amount,optional"`
	Congestion     *float64   `parquet:"congestion_surcharge,optional"`
	AirportFee     *float64   `parquet:"airport_fee,optional"`
}

type tripEnrichment struct {
	Borough *string  `parquet:"pickup_borough,optional,dict"`
	Zone    *string  `parquet:"pickup_zone,optional,dict"`
	Notes   []string `parquet:"notes,optional,list"`
}

// landTrips lands rows like trips in entries of 200,000.
func landTrips(b *testing.B, l *lake, rows int) {
	b.Helper()
	const each = 200_000
	at, version, source, schema, json, stage, vendor := ref("YellowTaxiTripRecords"), ref("0-0-1"), ref("millrace"), ref("urn:millrace:contract:YellowTaxiTripRecords:0-0-1/enriched"), ref("application/json"), ref("enriched"), ref("N")
	day := *stamp(today)
	for first := 0; first < rows; first += each {
		var body bytes.Buffer
		w := parquet.NewGenericWriter[landedTrip](&body, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}))
		list := make([]landedTrip, 1000)
		for n := first; n < min(first+each, rows); n += len(list) {
			for i := range list {
				k := n + i
				id := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, k)).String()
				sum := sha256.Sum256([]byte(id))
				when := day.Add(time.Duration(k) * time.Millisecond / 100)
				x := landedTrip{
					EventType: at, SchemaVersion: version, RootID: &id, ID: ref(fmt.Sprint("trip-", k)), Source: source, CollectorID: source, CollectorTime: &when, DataHash: ref(hex.EncodeToString(sum[:])), DataSchema: schema,
					ContentType: json, PartitionKey: &id, Stage: stage, Partition: ref(int32(0)), Offset: ref(int64(k)), Timestamp: &when,
				}
				p := func(mod int) *int64 { return ref(int64(int(sum[0])<<8|int(sum[1])) % int64(mod)) }
				f := func(at, mod int) *float64 { return ref(float64(int(sum[at])%mod) / 4) }
				x.Payload = new(tripPayload)
				t := when.Add(-time.Duration(*p(50000)) * time.Second)
				x.Payload.VendorID, x.Payload.Pickup, x.Payload.Dropoff, x.Payload.PassengerCount, x.Payload.TripDistance = p(2), &t, &when, f(2, 24), f(3, 250)
				x.Payload.RatecodeID, x.Payload.StoreAndFwd, x.Payload.PULocationID, x.Payload.DOLocationID, x.Payload.PaymentType = p(6), vendor, p(263), p(262), p(5)
				x.Payload.FareAmount, x.Payload.Extra, x.Payload.MTATax, x.Payload.TipAmount, x.Payload.TollsAmount = f(4, 256), f(5, 8), f(6, 3), f(7, 100), f(8, 7)
				x.Payload.Improvement, x.Payload.TotalAmount, x.Payload.Congestion, x.Payload.AirportFee = f(9, 2), f(10, 255), f(11, 3), f(12, 2)
				x.Enrichment = new(tripEnrichment)
				x.Enrichment.Borough, x.Enrichment.Zone = ref("Manhattan"), ref(fmt.Sprint("Zone ", *p(263)))
				list[i] = x
			}
			if _, err := w.Write(list); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		l.land(enriched, object{landing.KindEnriched, *at, "0", today, min(each, rows-first), func(int64) []byte { return body.Bytes() }})
	}
}

// BenchmarkRun ingests a million rows like taxi trips from a store in the process, whose own time is counted too.
func BenchmarkRun(b *testing.B) {
	const rows = 1_000_000
	l := newLake(b)
	var err error
	if l.contracts, err = contract.Embedded(); err != nil {
		b.Fatal(err)
	}
	landTrips(b, l, rows)
	b.ResetTimer()
	for i := range b.N {
		l.catalog = fmt.Sprintf("sqlite://%s/%d.db", b.TempDir(), i)
		before := usage(b)
		var res Result
		l.with(func(o Options) {
			o.Clock = time.Now
			if res, err = Run(context.Background(), o); err != nil {
				b.Fatal(err)
			}
		})
		if res.Rows() != rows {
			b.Fatalf("%+v", res)
		}
		b.ReportMetric((usage(b) - before).Seconds(), "cpu-s/op")
		b.ReportMetric(res.Durations.Verify.Seconds(), "verify-s/op")
		b.ReportMetric(res.Durations.Fetch.Seconds(), "fetch-s/op")
		b.ReportMetric(res.Durations.Write.Seconds(), "write-s/op")
		b.ReportMetric(res.Durations.Commit.Seconds(), "commit-s/op")
		b.ReportMetric(float64(res.Tables[0].Bytes)/rows, "B/row")
	}
}

// BenchmarkNothingNew finds out that three topics have nothing new.
func BenchmarkNothingNew(b *testing.B) {
	l := newLake(b)
	for range 300 {
		l.land(enriched, plain("A", 1))
	}
	l.land(raw, rawObject(1))
	l.land(deadOnes, deadObject("x"))
	l.must()
	b.ResetTimer()
	for range b.N {
		l.with(func(o Options) {
			if res, err := Run(b.Context(), o); err != nil || res.Rows() > 0 {
				b.Fatal(err, res)
			}
		})
	}
}
