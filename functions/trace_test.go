package functions_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/search/searchtest"
	"millrace/shared/tracing/tracingtest"
)

// process is a function that runs by itself, without a platform.
type process struct {
	url     string
	command *exec.Cmd
	output  string // file of what it said
}

// said returns what the function has logged.
func (p *process) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.output)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// startFunction starts a function's binary and returns once it is ready.
func startFunction(t *testing.T, binaries, name string, environment ...string) *process {
	t.Helper()
	address := freeAddress(t)
	host, port, _ := strings.Cut(address, ":")
	p := &process{url: "http://" + address, command: exec.Command(filepath.Join(binaries, "functions", name)), output: filepath.Join(t.TempDir(), name)}
	p.command.Env = append(slices.Clone(environment), "LISTEN_HOST="+host, "PORT="+port, "LOG_LEVEL=warn", "FLUSH_INTERVAL=20ms", "MASK_KEY=0123456789abcdef0123456789abcdef")
	output, err := os.Create(p.output)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = output.Close() }() // the process has its own
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = pipeline.Dependent()
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.command.ProcessState == nil {
			_ = p.command.Process.Kill()
			_ = p.command.Wait()
		}
		if t.Failed() {
			t.Logf("%s said: %s", name, p.said(t))
		}
	})
	until(t, name+" is ready", func() error {
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	})
	return p
}

// end asks the function to end, as Kubernetes does, and returns how long it took.
func (p *process) end(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.command.Wait(); err != nil {
		t.Errorf("%s: %v", p.command.Path, err)
	}
	return time.Since(began)
}

// until asks ten times a second, for half a minute.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	within(t, 30*time.Second, what, f)
}

// within asks ten times a second, as long as it is told.
func within(t *testing.T, patience time.Duration, what string, f func() error) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	end := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-end:
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// records returns what a topic of one partition holds.
func records(t *testing.T, brokers []string, topic string) (all []*sarama.ConsumerMessage) {
	t.Helper()
	client, err := sarama.NewClient(brokers, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for reader, from := kafka.NewReader(client), int64(0); ; {
		b, err := reader.Fetch(t.Context(), topic, 0, from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Records...)
		if from = b.Next; from >= b.Stable {
			return all
		}
	}
}

// headerOf returns a record's header, "" where it has none.
func headerOf(m *sarama.ConsumerMessage, name string) string {
	for _, h := range m.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}

// Guards a trace from producer to document through the functions as they are deployed: the request's header, the records' headers at each hop, the fields in search, of a dead letter as of a good event; and the
// spans of every function, which one trace joins. Then the endpoint for spans hangs: events go on, nothing is said more than once, and the functions end in time and well.
func TestTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the functions: not in short mode")
	}
	binaries, err := built()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events.raw", "events.enriched", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers, search, receiver := cluster.ListenAddrs(), searchtest.NewFake(t), tracingtest.New(t)
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("authorization=Bearer%20s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{"KAFKA_BROKERS=" + strings.Join(brokers, ","), "ELASTICSEARCH_URL=" + search.URL, "OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL, "OTEL_EXPORTER_OTLP_HEADERS_FILE=" + headers}
	collect := startFunction(t, binaries, "collect", environment...)
	enrich := startFunction(t, binaries, "enrich", append(environment, "INTAKE=kafka:///events.raw?group=enrich")...)
	load := startFunction(t, binaries, "load-search", append(environment, "INTAKE=kafka:///events.enriched,events.dead?group=load")...)

	const trace, own = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	parent := "00-" + trace + "-00f067aa0ba902b7-01"
	const page = `{"event_type":"PageView","schema_version":"0-0-1","source":"/trace","id":"%s","payload":{"host":"example.com","method":"GET","url":"/","status":%s,"visited_at":"2026-11-21T12:04:20Z"}%s}`
	send := func(body, traceparent string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, collect.url+"/api/v1/collect", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if traceparent != "" {
			req.Header.Set("Traceparent", traceparent)
			req.Header.Set("Tracestate", "vendor=1")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("answered %d", res.StatusCode)
		}
	}
	document := func(id string) map[string]any {
		t.Helper()
		var found map[string]any
		until(t, "document "+id, func() error {
			for _, d := range search.Docs() {
				var fields map[string]any
				if err := json.Unmarshal(d.Source, &fields); err != nil {
					t.Fatal(err)
				}
				if fields["id"] == id {
					found = fields
					return nil
				}
			}
			return errors.New("it is not there")
		})
		return found
	}
	send("["+strings.Join([]string{
		fmt.Sprintf(page, "good", "200", ""),
		fmt.Sprintf(page, "bad", `"no number"`, ""),
		fmt.Sprintf(page, "own", "200", `,"extensions":{"traceparent":"00-`+own+`-b7ad6b7169203331-01"}`),
	}, ",")+"]", parent)
	for id, want := range map[string]string{"good": trace, "bad": trace, "own": own} {
		d := document(id)
		x, _ := d["extensions"].(map[string]any)
		if d["trace_id"] != want || !strings.Contains(fmt.Sprint(x["traceparent"]), want) || (x["tracestate"] == "vendor=1") != (id != "own") {
			t.Errorf("document %s: trace_id %v, extensions %v", id, d["trace_id"], x)
		}
	}

	// What joins them: each function's spans in the request's trace, or linked to it.
	concerns := func(s tracingtest.Span) bool {
		return s.Trace == trace || slices.ContainsFunc(s.Links, func(l string) bool { return strings.HasPrefix(l, trace) })
	}
	names := []string{"collect receive /api/v1/collect", "collect send events.raw", "enrich process events.raw", "enrich send events.enriched", "enrich send events.dead", "load-search process events.enriched,events.dead"}
	spans := receiver.Await(30*time.Second, func(spans []tracingtest.Span) bool {
		for _, name := range names {
			if !slices.ContainsFunc(spans, func(s tracingtest.Span) bool { return s.Service+" "+s.Name == name && concerns(s) }) {
				return false
			}
		}
		return true
	})
	if requests, _ := receiver.Requests(); requests[0].Get("Authorization") != "Bearer s3cret" {
		t.Errorf("headers %v", requests[0])
	}
	ids := map[string]string{}
	for _, s := range spans {
		ids[s.ID] = s.Service + " " + s.Name
	}
	for _, hop := range []struct{ topic, sender string }{{"events.raw", names[1]}, {"events.enriched", names[3]}, {"events.dead", names[4]}} {
		all := records(t, brokers, hop.topic)
		if len(all) == 0 {
			t.Errorf("%s is empty", hop.topic)
		}
		for _, m := range all {
			want := parent
			if headerOf(m, "ce_id") == "own" {
				want = "00-" + own + "-b7ad6b7169203331-01"
			}
			plain := headerOf(m, "traceparent")
			if headerOf(m, "ce_traceparent") != want || len(plain) != 55 || ids[plain[36:52]] != hop.sender {
				t.Errorf("%s, event %s: ce_traceparent %s, and traceparent %s is of %q", hop.topic, headerOf(m, "ce_id"), headerOf(m, "ce_traceparent"), plain, ids[plain[36:52]])
			}
		}
	}
	// Who took a batch up again is linked to the very span that sent it, by the plain headers.
	for _, pair := range [][2]string{{names[1], names[2]}, {names[3], names[5]}, {names[4], names[5]}} {
		if !slices.ContainsFunc(spans, func(s tracingtest.Span) bool {
			return s.Service+" "+s.Name == pair[1] && slices.ContainsFunc(s.Links, func(l string) bool { return ids[l[33:]] == pair[0] })
		}) {
			t.Errorf("no span %q is linked to one %q", pair[1], pair[0])
		}
	}
	for _, name := range names[4:] {
		i := slices.IndexFunc(spans, func(s tracingtest.Span) bool { return s.Service+" "+s.Name == name && concerns(s) })
		if spans[i].Attributes["messaging.batch.message_count"] == nil {
			t.Errorf("%s has no count: %v", name, spans[i].Attributes)
		}
	}
	if i := slices.IndexFunc(spans, func(s tracingtest.Span) bool {
		return s.Attributes["millrace.failure."+string(event.CodeContractViolation)] == int64(1)
	}); i < 0 || spans[i].Service != "enrich" {
		t.Error("no span of enrich tells of the contract violation")
	}

	receiver.Hang(true)
	before, _ := receiver.Requests()
	send(fmt.Sprintf(page, "later", "200", ""), "")
	if d := document("later"); len(fmt.Sprint(d["trace_id"])) != 32 || d["trace_id"] == trace {
		t.Errorf("an event without a trace: collect's own span begins one, and trace_id is %v", d["trace_id"])
	}
	receiver.AwaitRequest(len(before), 30*time.Second)
	for _, p := range []*process{collect, enrich, load} {
		if took := p.end(t); took > 15*time.Second {
			t.Errorf("%s took %s to end", p.command.Path, took)
		}
	}
}
