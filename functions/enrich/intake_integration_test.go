//go:build integration && !race

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// live is a Kafka (KAFKA_BROKERS) with topics of this test's own: real trips in the first, and enrich's binary.
type live struct {
	brokers             []string
	raw, enriched, dead string
	group               string
	binary              string
	client              sarama.Client
	admin               sarama.ClusterAdmin
}

func newLive(tb testing.TB, trips int) *live {
	tb.Helper()
	k := &live{brokers: kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS"))}
	if len(k.brokers) == 0 {
		tb.Skip("KAFKA_BROKERS is not set")
	}
	name := "enrich-test-" + strings.ToLower(rand.Text()[:8])
	k.raw, k.enriched, k.dead, k.group = name+".raw", name+".enriched", name+".dead", name
	var err error
	if k.client, err = sarama.NewClient(k.brokers, kafka.NewConfig("test")); err != nil {
		tb.Fatal(err)
	}
	if k.admin, err = sarama.NewClusterAdminFromClient(k.client); err != nil {
		tb.Fatal(err)
	}
	topics, err := kafka.NewAdmin(k.brokers, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer topics.Close()
	for _, topic := range []string{k.raw, k.enriched, k.dead} {
		if _, err := topics.EnsureTopic(tb.Context(), kafka.TopicSpec{Name: topic, Partitions: 6, Replicas: 1, Retention: time.Hour}); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() {
		for _, topic := range []string{k.raw, k.enriched, k.dead} {
			if err := k.admin.DeleteTopic(topic); err != nil {
				tb.Error(err)
			}
		}
		// A member that was killed leaves the group by its session's timeout.
		err := k.admin.DeleteConsumerGroup(k.group)
		for end := time.Now().Add(30 * time.Second); errors.Is(err, sarama.ErrNonEmptyGroup) && time.Now().Before(end); err = k.admin.DeleteConsumerGroup(k.group) {
			time.Sleep(500 * time.Millisecond)
		}
		if err := errors.Join(err, k.client.Close()); err != nil {
			tb.Error(err)
		}
	})
	k.binary = filepath.Join(tb.TempDir(), "enrich")
	if out, err := exec.CommandContext(tb.Context(), "go", "build", "-o", k.binary, ".").CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	k.fill(tb, trips)
	return k
}

// fill writes trips as collect does.
func (k *live) fill(tb testing.TB, trips int) {
	tb.Helper()
	file, err := os.Open(realTrips)
	if err != nil {
		tb.Skip("the trips are not here: " + realTrips)
	}
	defer file.Close()
	p := kafka.NewProducer(k.brokers, kafka.ProducerOptions{Timeout: time.Minute, Linger: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = p.Close(context.Background()) }()
	sink := p.Sink(k.raw)
	reader := parquet.NewReader(file)
	defer reader.Close()
	columns := reader.Schema().Columns()
	rows := make([]parquet.Row, 1000)
	for total := 0; total < trips; {
		n, err := reader.ReadRows(rows[:min(len(rows), trips-total)])
		batch := make([]*event.Event, n)
		for i := range batch {
			batch[i] = raw(tb, strconv.Itoa(total+i), taxi, "0-0-1", tripJSON(columns, rows[i]))
			batch[i].SetExtension(event.CollectorID, "collect-00001")
		}
		total += n
		for _, err := range sink.Publish(tb.Context(), batch) {
			if err != nil {
				tb.Fatal(err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// start runs enrich as a process; the function returned sends it a signal and waits for its end.
func (k *live) start(tb testing.TB) func(os.Signal) *os.ProcessState {
	tb.Helper()
	cmd := exec.Command(k.binary)
	cmd.Env = append(os.Environ(), "PORT=0", "LISTEN_HOST=127.0.0.1", "LOG_LEVEL=error", "KAFKA_BROKERS="+strings.Join(k.brokers, ","),
		"INTAKE=kafka:///"+k.raw+"?group="+k.group, "SINK=kafka:///"+k.enriched, "DEAD_SINK=kafka:///"+k.dead)
	cmd.Stderr = tb.Output()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := false
	stop := func(s os.Signal) *os.ProcessState {
		if !ended {
			ended = true
			if err := cmd.Process.Signal(s); err != nil {
				tb.Error(err)
			}
			if err := cmd.Wait(); err != nil && s != syscall.SIGKILL {
				tb.Errorf("enrich ended: %v", err)
			}
		}
		return cmd.ProcessState
	}
	tb.Cleanup(func() { stop(syscall.SIGKILL) })
	return stop
}

// left returns how many records of the first topic are not committed.
func (k *live) left(tb testing.TB) (n int64) {
	tb.Helper()
	res, err := k.admin.ListConsumerGroupOffsets(k.group, map[string][]int32{k.raw: {0, 1, 2, 3, 4, 5}})
	if err != nil {
		tb.Fatal(err)
	}
	for p := range int32(6) {
		end, err := k.client.GetOffset(k.raw, p, sarama.OffsetNewest)
		if err != nil {
			tb.Fatal(err)
		}
		n += end - max(0, res.GetBlock(k.raw, p).Offset)
	}
	return n
}

// count returns how many records a topic holds, and of how many distinct events.
func (k *live) count(tb testing.TB, topic string) (records int, distinct map[string]int) {
	tb.Helper()
	distinct = map[string]int{}
	reader := kafka.NewReader(k.client)
	for p := range int32(6) {
		for from := int64(0); ; {
			batch, err := reader.Fetch(tb.Context(), topic, p, from, 4<<20)
			if err != nil {
				tb.Fatal(err)
			}
			for _, m := range batch.Records {
				e, err := kafka.Decode(m)
				if err != nil {
					tb.Fatal(err)
				}
				records++
				distinct[event.Attr(e, event.RootID)]++
			}
			if from = batch.Next; from >= batch.Stable {
				break
			}
		}
	}
	return records, distinct
}

func (k *live) await(tb testing.TB, what string, every time.Duration, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within two minutes", what)
		}
	}
}

// Guards every event against members that come, go and are killed while events flow: each of the real trips is enriched or a dead letter at the end, and the group
// has committed all of them.
func TestKafkaIntakeRebalanceStorm(t *testing.T) {
	const trips = 60_000
	k := newLive(t, trips)
	stops := []func(os.Signal) *os.ProcessState{k.start(t)}
	k.await(t, "the first commits", 50*time.Millisecond, func() bool { return k.left(t) < trips })
	went := 0
	for i := 0; k.left(t) > 0 && i < 7; i++ {
		stops = append(stops, k.start(t)) // a member joins
		before := k.left(t)
		// Where one was killed, the others wait for it until its session ends.
		k.await(t, "some progress", 50*time.Millisecond, func() bool { return k.left(t) < before || before == 0 })
		signal := os.Signal(syscall.SIGTERM)
		if i%4 == 1 {
			signal = syscall.SIGKILL
		}
		stops[0](signal) // and the eldest goes
		stops = stops[1:]
		went++
		t.Logf("round %d: %s with %d left", i, signal, k.left(t))
	}
	k.await(t, "all committed", 100*time.Millisecond, func() bool { return k.left(t) == 0 })
	for _, stop := range stops {
		stop(syscall.SIGTERM)
	}
	records, enriched := k.count(t, k.enriched)
	letters, dead := k.count(t, k.dead)
	if len(enriched)+len(dead) != trips || len(dead) > 1 {
		t.Errorf("%d enriched and %d dead of %d trips", len(enriched), len(dead), trips)
	}
	t.Logf("%d members went; %d enriched records of %d events, %d dead letters", went, records, len(enriched), letters)
}

// BenchmarkKafkaIntake is the cost of enrich by Kafka intake: real trips, the taxi contract, its lookups, and events written with acks=all.
func BenchmarkKafkaIntake(b *testing.B) {
	const trips = 100_000
	k := newLive(b, trips)
	for b.Loop() {
		if err := k.admin.DeleteConsumerGroup(k.group); err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) {
			b.Fatal(err)
		}
		began := time.Now()
		stop := k.start(b)
		k.await(b, "all committed", 20*time.Millisecond, func() bool { return k.left(b) == 0 })
		took := time.Since(began)
		state := stop(syscall.SIGTERM)
		usage := state.SysUsage().(*syscall.Rusage)
		b.ReportMetric(float64((state.UserTime()+state.SystemTime()).Microseconds())/trips, "cpu-us/event")
		b.ReportMetric(trips/took.Seconds(), "events/s")
		b.ReportMetric(float64(usage.Maxrss)/1024, "MiB-max")
	}
}
