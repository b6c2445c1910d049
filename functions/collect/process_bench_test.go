package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// role makes this test binary the process to compare with (bare), or the Kafka that all of them use (kafka).
const role = "MILLRACE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "bare":
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		fmt.Fprintln(os.Stderr, (&http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: h, ReadHeaderTimeout: time.Minute}).ListenAndServe())
		os.Exit(1)
	case "kafka":
		port, err := strconv.Atoi(os.Getenv("PORT"))
		if err == nil {
			_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(6, "events.raw", "events.dead"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent goes
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is a process of the benchmark.
type child struct {
	cmd  *exec.Cmd
	port int
}

func startChild(b *testing.B, path string, env ...string) *child {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c := &child{port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	c.cmd = exec.CommandContext(context.WithoutCancel(b.Context()), path)
	c.cmd.Env = append(append(os.Environ(), "PORT="+strconv.Itoa(c.port)), env...)
	c.cmd.Stderr = os.Stderr
	if _, err := c.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", c.address())
		if err == nil {
			_ = conn.Close()
			return c
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not listen: %v", path, err)
		}
	}
}

func (c *child) address() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

// cpu returns the processor time the process has used; Linux counts it in hundredths of a second.
func (c *child) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		b.Skip("processor time of a process is read from /proc, which is not here")
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("%q is no /proc/pid/stat", stat)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// peak returns the most resident memory that the process has had, in MiB.
func (c *child) peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for sc := bufio.NewScanner(bytes.NewReader(status)); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	b.Fatal("no VmHWM")
	return 0
}

// load sends n requests with one of the bodies each, in turn, over 64 connections, and returns how long that took. It speaks just enough HTTP: what the sender
// itself costs, on the same processors, is not what is measured.
func load(b *testing.B, address, path string, n int, bodies ...[]byte) time.Duration {
	b.Helper()
	const connections = 64
	requests := make([][]byte, len(bodies))
	for i, body := range bodies {
		requests[i] = append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, address, len(body)), body...)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range connections {
		wg.Go(func() {
			if err := func() error {
				conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", address)
				if err != nil {
					return err
				}
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 32<<10)
				for {
					i := int(next.Add(1) - 1)
					if i >= n {
						return nil
					}
					if _, err := conn.Write(requests[i%len(requests)]); err != nil {
						return err
					}
					if err := readAnswer(r); err != nil {
						return err
					}
				}
			}(); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// readAnswer reads an answer that states its length, and returns an error unless it is 200.
func readAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("answered %s", line)
		case len(line) <= 2 && length < 0:
			return errors.New("the answer does not state its length")
		case len(line) <= 2:
			_, err := r.Discard(length)
			return err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len("Content-Length: "):]))); err != nil {
				return err
			}
		}
	}
}

// self is the processor time of this process: the sender's, or the raw producer's.
func self(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The figures of the design, as ratios in one run on processes of their own: collect's processor time per single event of 1 KB against a bare handler's
// that reads the same body, its memory at 64 connections, and batches of 100 against a raw AsyncProducer with acks=all that sends the same records. Kafka, sender and
// what is measured share the processors, so it is told what each of them takes.
//
// What is compared in batches: to the left the time from the first request to the last answer, so the sender's and HTTP's part is in it; to the right that from connecting
// to the last acknowledgement, for records (key, headers, value, compression and acks as collect's) that were made before, without a garbage collection to pay for. Both
// are wall-clock time; batch-cpu-ratio is the same by the processor time of all processes, on which what else the machine does tells less.
func BenchmarkProcess(b *testing.B) {
	self0, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	binary := os.Getenv("COLLECT_BINARY")
	if binary == "" {
		binary = filepath.Join(b.TempDir(), "collect")
		if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	broker := startChild(b, self0, role+"=kafka")
	bare := startChild(b, self0, role+"=bare")
	collect := startChild(b, binary, "KAFKA_BROKERS="+broker.address(), "LOG_LEVEL=error")
	const singles, batches, perBatch = 40_000, 1_000, 100
	single := []byte(object(1))
	bodies := make([][]byte, 50)
	for i := range bodies {
		objects := make([]string, perBatch)
		for j := range objects {
			objects[j] = object(i*perBatch + j)
		}
		bodies[i] = []byte("[" + strings.Join(objects, ",") + "]")
	}
	const path = "/api/v1/collect"
	perEvent := func(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	load(b, bare.address(), "/", 1000, single)
	load(b, collect.address(), path, 1000, single)
	for b.Loop() {
		// In turns, so that what else the machine does falls on both.
		const turns = 10
		var bareTime, collectTime, took time.Duration
		for range turns {
			before := bare.cpu(b)
			load(b, bare.address(), "/", singles/turns, single)
			bareTime += bare.cpu(b) - before
			before = collect.cpu(b)
			took += load(b, collect.address(), path, singles/turns, single)
			collectTime += collect.cpu(b) - before
		}
		bareCPU, collectCPU := perEvent(bareTime, singles), perEvent(collectTime, singles)
		b.ReportMetric(bareCPU, "bare-us/event")
		b.ReportMetric(collectCPU, "collect-us/event")
		b.ReportMetric(collectCPU/bareCPU, "cpu-ratio")
		b.ReportMetric(singles/took.Seconds(), "singles/s")
		b.ReportMetric(collect.peak(b), "singles-MiB")

		const events, batchTurns = batches * perBatch, 10
		var batchTook, batchCollect, batchSender, batchKafka, rawTook, rawSelf, rawKafka time.Duration
		for range batchTurns {
			before, sender, kafka := collect.cpu(b), self(b), broker.cpu(b)
			batchTook += load(b, collect.address(), path, batches/batchTurns, bodies...)
			batchCollect += collect.cpu(b) - before
			batchSender += self(b) - sender
			batchKafka += broker.cpu(b) - kafka
			records := rawRecords(b, events/batchTurns)
			runtime.GC() // of what this benchmark made; it is not the producer's to pay
			sender, kafka = self(b), broker.cpu(b)
			rawTook += rawProducer(b, broker.address(), records)
			rawSelf += self(b) - sender
			rawKafka += broker.cpu(b) - kafka
		}
		b.ReportMetric(perEvent(batchCollect, events), "batched-collect-us")
		b.ReportMetric(perEvent(batchSender, events), "batched-sender-us")
		b.ReportMetric(perEvent(batchKafka, events), "batched-kafka-us")
		b.ReportMetric(collect.peak(b), "batches-MiB")
		b.ReportMetric(perEvent(rawSelf, events), "raw-producer-us")
		b.ReportMetric(perEvent(rawKafka, events), "raw-kafka-us")
		b.ReportMetric(events/batchTook.Seconds(), "batched-events/s")
		b.ReportMetric(events/rawTook.Seconds(), "raw-events/s")
		b.ReportMetric(rawTook.Seconds()/batchTook.Seconds(), "batch-ratio")
		b.ReportMetric(float64(rawSelf+rawKafka)/float64(batchCollect+batchSender+batchKafka), "batch-cpu-ratio")
	}
}

// rawRecords returns n records as collect makes them, each with an identity of its own.
func rawRecords(b *testing.B, n int) []*sarama.ProducerMessage {
	b.Helper()
	m := &maker{source: *types.ParseURIRef("/collect"), sourceText: "/collect", collectorID: stage, newID: newID}
	now := event.FormatTime(time.Now())
	records := make([]*sarama.ProducerMessage, n)
	for i := range records {
		candidates, err := m.form([]byte(object(i%5000)), sender{}, 1, now)
		if err != nil {
			b.Fatal(err)
		}
		if records[i], err = kafka.Encode("events.raw", candidates[0].event); err != nil {
			b.Fatal(err)
		}
	}
	return records
}

// rawProducer sends records with the settings of collect and nothing around them.
func rawProducer(b *testing.B, broker string, records []*sarama.ProducerMessage) time.Duration {
	b.Helper()
	c := kafka.NewConfig("raw")
	c.Producer.Flush.Frequency = 2 * time.Millisecond
	c.Producer.Flush.Bytes = 512 << 10
	p, err := sarama.NewAsyncProducer([]string{broker}, c)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range p.Successes() {
		}
	})
	wg.Go(func() {
		for err := range p.Errors() {
			b.Error(err)
		}
	})
	for _, m := range records {
		p.Input() <- m
	}
	p.AsyncClose()
	wg.Wait()
	return time.Since(began)
}
