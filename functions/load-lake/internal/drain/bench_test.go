package drain_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
)

const trip = `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1.0,` +
	`"trip_distance":%d.97,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,"payment_type":2,"fare_amount":9.3,"extra":1.0,` +
	`"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}`

const zones = `{"pickup_borough":"Manhattan","pickup_zone":"Midtown Center","pickup_service_zone":"Yellow Zone","dropoff_borough":"Manhattan","dropoff_zone":"Lenox Hill West","dropoff_service_zone":"Yellow Zone"}`

// trips is a topic of trips of about 1 KB with their attributes, produced so many at a time, which is how many share a batch of records.
func trips(b *testing.B, kind string, events, batch int) (l *lake, size int) {
	l = newLake(b, "events.raw", 6)
	c := config()
	c.Producer.Partitioner = sarama.NewMurmur2Partitioner
	p, err := sarama.NewSyncProducer(l.brokers, c)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for i := 0; i < events; {
		var ms []*sarama.ProducerMessage
		for ; len(ms) < batch; i++ {
			e := event.Event{}
			e.SetSpecVersion("1.0")
			e.SetID(fmt.Sprint(i))
			e.SetSource("/produce/yellow_tripdata_2023-01.parquet")
			e.SetType("YellowTaxiTripRecords")
			e.SetDataContentType("application/json")
			e.SetDataSchema("urn:millrace:contract:YellowTaxiTripRecords:0-0-1")
			e.SetExtension(event.SchemaVersion, "0-0-1")
			e.SetExtension(event.CollectorID, "collect-00001")
			e.DataEncoded = fmt.Appendf(nil, trip, i)
			if err := event.Derive(&e, time.Now()); err != nil {
				b.Fatal(err)
			}
			if kind == landing.KindEnriched {
				e.DataEncoded = event.EnrichedData(e.DataEncoded, []byte(zones))
				e.SetExtension(event.Stage, event.StageEnriched)
			}
			m, err := kafka.Encode(l.topic, &e)
			if err != nil {
				b.Fatal(err)
			}
			size += m.ByteSize(2)
			ms = append(ms, m)
		}
		if err := p.SendMessages(ms); err != nil {
			b.Fatal(err)
		}
	}
	return l, size
}

// process drains the topic from its beginning in a process of its own, which collects garbage as the function does, and returns what that process took: processor time, all of it from
// its start to its end, and its largest resident memory in KiB.
func (l *lake) process(b *testing.B, kind string) (cpu time.Duration, memory int64) {
	for key := range l.s3.Objects(bucket) {
		if err := l.bucket(1).Delete(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DRAIN_TEST_BROKER="+l.brokers[0], "DRAIN_TEST_S3="+l.s3.URL, "DRAIN_TEST_KIND="+kind, "GOGC=400", "GOMEMLIMIT=700MiB")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	if tail, err := landing.Open(l.bucket(1), l.topic, l.id()).Tail(b.Context()); err != nil || tail.Sequence == 0 {
		b.Fatalf("nothing was drained: %v", err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}

// benchmark drains 200,000 trips.
func benchmark(b *testing.B, kind string) {
	const events = 200_000
	l, size := trips(b, kind, events, 1000)
	var cpu time.Duration
	var memory int64
	for b.Loop() {
		c, m := l.process(b, kind)
		cpu += c
		memory = max(memory, m)
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N)/events, "cpu-us/event")
	b.ReportMetric(float64(memory)/1024, "peak-MiB")
	b.ReportMetric(float64(size)/events, "B/event")
}

func BenchmarkDrainRaw(b *testing.B)   { benchmark(b, landing.KindRaw) }
func BenchmarkDrainTyped(b *testing.B) { benchmark(b, landing.KindEnriched) }

// BenchmarkWake measures a process that is started for one tick: with a single event, which is what the start costs, and with the 10,000 of a compressed tick at 1,000 events a second, each in
// a batch of records by itself, which is the dearest way to send them. A row's cost is what each of them adds; a pair is a raw and a typed row with their share of both starts.
func BenchmarkWake(b *testing.B) {
	const events = 10_000
	type topic struct {
		kind string
		l    *lake
		cpu  time.Duration
	}
	var many, one []*topic
	for _, kind := range []string{landing.KindRaw, landing.KindEnriched} {
		l, _ := trips(b, kind, events, 1)
		many = append(many, &topic{kind: kind, l: l})
		l, _ = trips(b, kind, 1, 1)
		one = append(one, &topic{kind: kind, l: l})
	}
	for b.Loop() {
		for _, t := range append(many, one...) {
			cpu, _ := t.l.process(b, t.kind)
			t.cpu += cpu
		}
	}
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(us(one[0].cpu+one[1].cpu)/2/1000, "start-ms")
	b.ReportMetric(us(many[0].cpu-one[0].cpu)/(events-1), "raw-us/row")
	b.ReportMetric(us(many[1].cpu-one[1].cpu)/(events-1), "typed-us/row")
	b.ReportMetric(us(many[0].cpu+many[1].cpu)/events, "pair-us")
}
