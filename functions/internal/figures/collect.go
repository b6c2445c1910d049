package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/internal/figures/internal/load"
	"millrace/functions/internal/figures/internal/rig"
	"millrace/functions/internal/pipeline"
	"millrace/shared/kafka"
)

const (
	collectPath = "/api/v1/collect"
	connections = 64
	perBatch    = 100
)

// records reads n records of the topic, as they came.
func (r *measurement) records(ctx context.Context, topic string, n int) ([]*sarama.ConsumerMessage, error) {
	reader := kafka.NewReader(r.Client())
	var all []*sarama.ConsumerMessage
	for p := range int32(rig.Partitions) {
		span, err := reader.Span(ctx, topic, p)
		if err != nil {
			return nil, err
		}
		for from := span.Start; from < span.End && len(all) < n; {
			b, err := reader.Fetch(ctx, topic, p, from, 8<<20)
			if err != nil {
				return nil, err
			}
			all = append(all, b.Records[:min(len(b.Records), n-len(all))]...)
			from = b.Next
		}
	}
	if len(all) < n {
		return nil, fmt.Errorf("%s holds %d records of %d", topic, len(all), n)
	}
	return all, nil
}

// copies returns records to send, with the bytes of those read.
func copies(topic string, all []*sarama.ConsumerMessage) []*sarama.ProducerMessage {
	out := make([]*sarama.ProducerMessage, len(all))
	for i, m := range all {
		headers := make([]sarama.RecordHeader, len(m.Headers))
		for n, h := range m.Headers {
			headers[n] = *h
		}
		out[i] = &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(m.Key), Value: sarama.ByteEncoder(m.Value), Headers: headers}
	}
	return out
}

// rawProducer sends records with the settings of collect and nothing around them, and returns how long that took from connecting to the last acknowledgement.
func rawProducer(brokers []string, records []*sarama.ProducerMessage) (time.Duration, error) {
	c := kafka.NewConfig("millrace-figures-raw")
	c.Producer.Flush.Frequency = 2 * time.Millisecond
	c.Producer.Flush.Bytes = 512 << 10
	began := time.Now()
	p, err := sarama.NewAsyncProducer(brokers, c)
	if err != nil {
		return 0, fmt.Errorf("raw producer: %w", err)
	}
	var first error
	var wg sync.WaitGroup
	wg.Go(func() {
		for range p.Successes() { // they are awaited, not looked at
		}
	})
	wg.Go(func() {
		for err := range p.Errors() {
			if first == nil {
				first = fmt.Errorf("raw producer: %w", err.Err)
			}
		}
	})
	for _, m := range records {
		p.Input() <- m
	}
	p.AsyncClose()
	wg.Wait()
	return time.Since(began), first
}

// collectBatches compares, in turns: to the left the time from the first request of 100 events to the last answer, so the sender's and HTTP's part is in it; to the right that from
// connecting to the last acknowledgement, for the very records that collect wrote (key, headers, value; compression and acks as its), without a garbage collection to pay for.
func collectBatches(ctx context.Context, r *measurement) error {
	const turns, events = 10, 20_000
	for i := range runs {
		raw, err := r.Topic(ctx, fmt.Sprintf("collect-%d.raw", i))
		if err != nil {
			return err
		}
		dead, err := r.Topic(ctx, fmt.Sprintf("collect-%d.dead", i))
		if err != nil {
			return err
		}
		bare, err := r.Topic(ctx, fmt.Sprintf("collect-%d.bare", i))
		if err != nil {
			return err
		}
		collect, err := r.Function(ctx, "collect", with(collectEnv, "SINK=kafka:///"+raw, "DEAD_SINK=kafka:///"+dead)...)
		if err != nil {
			return err
		}
		o := load.Options{Address: collect.Address, Path: collectPath, Name: fmt.Sprintf("batches%d", i), Events: events, Batch: perBatch, Connections: connections, Receipts: true}
		if _, err := load.Send(ctx, o); err != nil { // warm
			return err
		}
		template, err := r.records(ctx, raw, events)
		if err != nil {
			return err
		}
		if _, err := rawProducer(r.Brokers, copies(bare, template)); err != nil {
			return err
		}
		pids := r.ServerPIDs()
		m := meter{pids: map[string]int{"collect": collect.PID()}, self: true}
		if pid, ok := pids["Kafka"]; ok {
			m.pids["Kafka"] = pid
		}
		var took, rawTook time.Duration
		used, rawUsed := map[string]time.Duration{}, map[string]time.Duration{}
		for range turns {
			o.First += events
			turn, err := m.during(func() error {
				sent, err := load.Send(ctx, o)
				took += sent.Took
				return err
			})
			if err != nil {
				return err
			}
			records := copies(bare, template)
			runtime.GC() // of what this benchmark made; it is not the producer's to pay
			rawTurn, err := m.during(func() error {
				t, err := rawProducer(r.Brokers, records)
				rawTook += t
				return err
			})
			if err != nil {
				return err
			}
			for name := range turn {
				used[name] += turn[name]
				rawUsed[name] += rawTurn[name]
			}
		}
		const all = turns * events
		r.results.add("Batches", "ratio", rawTook.Seconds()/took.Seconds())
		r.results.add("Batches", "collect-events/s", all/took.Seconds())
		r.results.add("Batches", "raw-events/s", all/rawTook.Seconds())
		r.results.add("Batches", "collect-us", perEvent(used["collect"], all))
		r.results.add("Batches", "sender-us", perEvent(used[selfName], all))
		r.results.add("Batches", "raw-us", perEvent(rawUsed[selfName], all))
		if _, ok := pids["Kafka"]; ok {
			r.results.add("Batches", "kafka-us", perEvent(used["Kafka"], all))
		}
		r.results.add("Batches", "cpu-ratio", float64(rawUsed[selfName]+rawUsed["Kafka"])/float64(used["collect"]+used[selfName]+used["Kafka"]))
		if _, err := collect.Stop(); err != nil {
			return err
		}
		if err := r.java(ctx, bare, template); err != nil {
			return err
		}
		if err := r.Drop(raw, dead, bare); err != nil {
			return err
		}
	}
	return nil
}

// javaTool is the command that runs a tool of Kafka's where KAFKA_PERF does not name one: words, before ProducerPerformance's own flags.
const javaTool = "../shared/services/services"

var javaRate = regexp.MustCompile(`records sent, ([0-9.]+) records/sec`)

// java measures Kafka's own producer on the same values, for the record.
func (r *measurement) java(ctx context.Context, topic string, template []*sarama.ConsumerMessage) error {
	command := strings.Fields(r.o.perf)
	if len(command) == 0 {
		root, err := pipeline.Root()
		if err != nil {
			return err
		}
		tool := filepath.Join(root, javaTool)
		if _, err := os.Stat(tool); err != nil {
			r.note("Kafka's ProducerPerformance is left out: %s is not there and KAFKA_PERF names no command.", javaTool)
			return nil
		}
		command = []string{tool, "tool", "ProducerPerformance"}
	}
	var values bytes.Buffer
	for _, m := range template {
		values.Write(m.Value)
		values.WriteByte('\n')
	}
	file := filepath.Join(r.Dir, "values")
	if err := os.WriteFile(file, values.Bytes(), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := with(command[1:], "--topic", topic, "--num-records", "400000", "--throughput", "-1", "--payload-file", file, "--producer-props", "bootstrap.servers="+strings.Join(r.Brokers, ","),
		"acks=all", "compression.type=zstd", "compression.zstd.level=1", "linger.ms=2", "batch.size=524288")
	cmd := exec.CommandContext(ctx, command[0], args...)
	cmd.SysProcAttr = pipeline.Dependent()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	found := javaRate.FindAllSubmatch(out, -1)
	if err != nil || len(found) == 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.note("Kafka's ProducerPerformance is left out: it did not run (%.200s).", errors.Join(err, errors.New(strings.TrimSpace(string(out[max(0, len(out)-160):])))))
		return nil
	}
	rate, err := strconv.ParseFloat(string(found[len(found)-1][1]), 64)
	if err != nil {
		return err
	}
	r.results.add("Batches", "java-events/s", rate)
	return nil
}

// collectors sends the same single events to collect and to a collector as the reference design has it, which keeps nothing.
func collectors(ctx context.Context, r *measurement) error {
	const events = 20_000
	raw, err := r.Topic(ctx, "collectors.raw")
	if err != nil {
		return err
	}
	dead, err := r.Topic(ctx, "collectors.dead")
	if err != nil {
		return err
	}
	collect, err := r.Function(ctx, "collect", with(collectEnv, "SINK=kafka:///"+raw, "DEAD_SINK=kafka:///"+dead)...)
	if err != nil {
		return err
	}
	fast, err := r.fastAPI(ctx)
	if err != nil {
		return err
	}
	for i := range runs + 1 { // the first is to warm
		for _, p := range []*rig.Process{collect, fast} {
			if p == nil {
				continue
			}
			var sent load.Result
			used, err := meter{pids: map[string]int{"it": p.PID()}}.during(func() (err error) {
				sent, err = load.Send(ctx, load.Options{
					Address: p.Address, Path: collectPath, Name: fmt.Sprintf("single%d", i), Events: events, Batch: 1, Connections: connections, Receipts: p == collect,
				})
				return err
			})
			if err != nil {
				return err
			}
			if i == 0 {
				continue
			}
			r.results.add("Collectors", p.Name+"-events/s", events/sent.Took.Seconds())
			r.results.add("Collectors", p.Name+"-us", perEvent(used["it"], events))
		}
	}
	for _, p := range []*rig.Process{collect, fast} {
		if p == nil {
			continue
		}
		if _, err := p.Stop(); err != nil {
			return err
		}
	}
	return r.Drop(raw, dead)
}

// fastAPI installs and starts the collector of testdata/fastapi; nil where that cannot be, which the notes say.
func (r *measurement) fastAPI(ctx context.Context) (*rig.Process, error) {
	root, err := pipeline.Root()
	if err != nil {
		return nil, err
	}
	app := filepath.Join(root, "functions", "internal", "figures", "testdata", "fastapi")
	venv := filepath.Join(r.Dir, "venv")
	python := filepath.Join(venv, "bin", "python")
	for _, args := range [][]string{{"python3", "-m", "venv", venv}, {python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join(app, "requirements.txt")}} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.SysProcAttr = pipeline.Dependent()
		if out, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			r.note("The FastAPI collector is left out: %s did not work here (%v; %.120s).", strings.Join(args[1:3], " "), err, strings.ReplaceAll(lines[len(lines)-1], r.Dir, ""))
			return nil, nil //nolint:nilnil // it is optional, as the comment says
		}
	}
	return r.Start(ctx, rig.Spec{
		Name: "fastapi", Path: python, Dir: app, Env: with(r.o.environ, "PYTHONDONTWRITEBYTECODE=1"), Ready: "/healthz",
		Args: []string{"-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1", "--no-access-log", "--log-level", "warning"},
	})
}
