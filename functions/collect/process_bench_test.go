package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
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

// load sends n requests over 64 connections and returns how long that took.
func load(b *testing.B, url string, n int, body []byte) time.Duration {
	b.Helper()
	const connections = 64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(n))
	began := time.Now()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Errorf("answered %d", resp.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// The figures of the design, as ratios in one run on processes of their own: collect's processor time per single event of 1 KB against a bare handler's
// that reads the same body, its memory at 64 connections, and batches of 100 against a raw AsyncProducer with acks=all.
func BenchmarkProcess(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(b.TempDir(), "collect")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	broker := startChild(b, self, role+"=kafka")
	bare := startChild(b, self, role+"=bare")
	collect := startChild(b, binary, "KAFKA_BROKERS="+broker.address(), "LOG_LEVEL=error")
	const singles, batches = 20_000, 500
	single := []byte(object(1))
	objects := make([]string, 100)
	for i := range objects {
		objects[i] = object(i)
	}
	batch := []byte("[" + strings.Join(objects, ",") + "]")
	url := "http://" + collect.address() + "/api/v1/collect"
	load(b, "http://"+bare.address(), 1000, single)
	load(b, url, 1000, single)
	for b.Loop() {
		bareBefore := bare.cpu(b)
		load(b, "http://"+bare.address(), singles, single)
		collectBefore := collect.cpu(b)
		bareCPU := float64((bare.cpu(b) - bareBefore).Microseconds()) / singles
		took := load(b, url, singles, single)
		collectCPU := float64((collect.cpu(b) - collectBefore).Microseconds()) / singles
		b.ReportMetric(bareCPU, "bare-us/event")
		b.ReportMetric(collectCPU, "collect-us/event")
		b.ReportMetric(collectCPU/bareCPU, "cpu-ratio")
		b.ReportMetric(singles/took.Seconds(), "singles/s")
		b.ReportMetric(collect.peak(b), "singles-MiB")

		took = load(b, url, batches, batch)
		rawTook := rawProducer(b, broker.address(), batches*100)
		b.ReportMetric(batches*100/took.Seconds(), "batched-events/s")
		b.ReportMetric(batches*100/rawTook.Seconds(), "raw-events/s")
		b.ReportMetric(rawTook.Seconds()/took.Seconds(), "batch-ratio")
		b.ReportMetric(collect.peak(b), "batches-MiB")
	}
}

// rawProducer sends n of the records that collect makes, with the same settings, and nothing around them: they are encoded before the clock starts, a
// hundred different ones in turn.
func rawProducer(b *testing.B, broker string, n int) time.Duration {
	b.Helper()
	c := kafka.NewConfig("raw")
	c.Producer.Flush.Frequency = 2 * time.Millisecond
	c.Producer.Flush.Bytes = 512 << 10
	p, err := sarama.NewAsyncProducer([]string{broker}, c)
	if err != nil {
		b.Fatal(err)
	}
	r := newRig(b, nil)
	records := make([]*sarama.ProducerMessage, 100)
	for i := range records {
		candidates, err := r.maker.form([]byte(object(i)), "", 1, event.FormatTime(time.Now()))
		if err != nil {
			b.Fatal(err)
		}
		if records[i], err = kafka.Encode("events.raw", candidates[0].event); err != nil {
			b.Fatal(err)
		}
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
	for i := range n {
		m := records[i%len(records)]
		p.Input() <- &sarama.ProducerMessage{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
	}
	p.AsyncClose()
	wg.Wait()
	return time.Since(began)
}
