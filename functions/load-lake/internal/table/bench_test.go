package table

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/contract"
	"millrace/shared/event"
)

const trip = `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1.0,` +
	`"trip_distance":%d.97,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,"payment_type":2,"fare_amount":9.3,"extra":1.0,` +
	`"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}`

const zones = `{"pickup_borough":"Manhattan","pickup_zone":"Midtown Center","pickup_service_zone":"Yellow Zone","dropoff_borough":"Manhattan","dropoff_zone":"Lenox Hill West","dropoff_service_zone":"Yellow Zone"}`

func trips(b testing.TB, n int, enriched bool) []*sarama.ConsumerMessage {
	var ms []*sarama.ConsumerMessage
	for i := range n {
		data := fmt.Sprintf(trip, i)
		e := newEvent(data)
		e.SetID(fmt.Sprint(i))
		e.SetSource("/produce/yellow_tripdata_2023-01.parquet")
		e.SetType("YellowTaxiTripRecords")
		e.SetExtension(event.SchemaVersion, "0-0-1")
		e.SetExtension(event.CollectorID, "collect-00001")
		e.SetDataSchema("urn:millrace:contract:YellowTaxiTripRecords:0-0-1")
		if err := event.Derive(e, arrived); err != nil {
			b.Fatal(err)
		}
		if enriched {
			e.DataEncoded = event.EnrichedData([]byte(data), []byte(zones))
			e.SetExtension(event.Stage, event.StageEnriched)
		}
		ms = append(ms, record(b, e))
	}
	return ms
}

// cpu is the process's CPU time, which a busy machine does not stretch.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bench(b *testing.B, l *Layout, ms []*sarama.ConsumerMessage) {
	b.ReportAllocs()
	var size int
	start := cpu(b)
	for b.Loop() {
		body, err := l.Encode(ms)
		if err != nil {
			b.Fatal(err)
		}
		size = len(body)
	}
	b.ReportMetric(float64((cpu(b)-start).Nanoseconds())/float64(b.N)/float64(len(ms)), "cpu-ns/event")
	b.ReportMetric(float64(size)/float64(len(ms)), "B/event")
}

func BenchmarkRaw(b *testing.B) { bench(b, Raw(), trips(b, 20000, false)) }

func BenchmarkTyped(b *testing.B) {
	set, err := contract.Embedded()
	if err != nil {
		b.Fatal(err)
	}
	m, err := set.Model("YellowTaxiTripRecords", 0)
	if err != nil {
		b.Fatal(err)
	}
	bench(b, Enriched(m, nil), trips(b, 20000, true))
}
