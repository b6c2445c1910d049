package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/functions/replay/internal/draft"
	"millrace/functions/replay/internal/plan"
	"millrace/shared/contract"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

const taxi = "YellowTaxiTripRecords"

const trip = `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36",` +
	`"passenger_count":1.0,"trip_distance":0.97,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,` +
	`"payment_type":2,"fare_amount":9.3,"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,` +
	`"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}`

var far = strings.Replace(trip, "0.97", "62359.52", 1)

var arrived = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// pipeline is Kafka and search as replay sees them.
type pipeline struct {
	testing.TB
	cluster  *kfake.Cluster
	client   sarama.Client
	producer *kafka.Producer
	search   *searchtest.Fake
	dir      string
}

func newPipeline(t testing.TB) *pipeline {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events.raw", "events.enriched", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	p := &pipeline{TB: t, cluster: cluster, search: searchtest.NewFake(t), dir: t.TempDir()}
	if p.client, err = sarama.NewClient(cluster.ListenAddrs(), kafka.NewConfig("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.client.Close() })
	p.producer = kafka.NewProducer(cluster.ListenAddrs(), kafka.ProducerOptions{Timeout: 10 * time.Second})
	t.Cleanup(func() { _ = p.producer.Close(t.Context()) })
	t.Setenv("KAFKA_BROKERS", strings.Join(cluster.ListenAddrs(), ","))
	t.Setenv("ELASTICSEARCH_URL", p.search.URL)
	t.Setenv("CONTRACTS", "")
	return p
}

func raw(t testing.TB, id, payload string) *event.Event {
	t.Helper()
	e := ce.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType(taxi)
	e.SetDataContentType("application/json")
	e.SetExtension(event.SchemaVersion, "0-0-1")
	e.DataEncoded = []byte(payload)
	if err := event.Derive(&e, arrived); err != nil {
		t.Fatal(err)
	}
	return &e
}

func letter(e *event.Event, stage string, code event.Code, attributes ...string) *event.Event {
	d := event.DeadLetter(e, event.Failure{Stage: stage, Code: code, Message: "because", Time: arrived})
	for i := 0; i < len(attributes); i += 2 {
		d.SetExtension(attributes[i], attributes[i+1])
	}
	return d
}

// enriched is e as the embedded contract enriches it.
func enriched(t testing.TB, e *event.Event) *event.Event {
	t.Helper()
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := enrichment.Reference()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := enrichment.Bind(set, tables)
	if err != nil {
		t.Fatal(err)
	}
	out, _, f := rules.Enrich(e)
	if f != nil {
		t.Fatal(f)
	}
	return out
}

func (p *pipeline) publish(topic string, events ...*event.Event) {
	p.Helper()
	if err := errors.Join(p.producer.Sink(topic).Publish(p.Context(), events)...); err != nil {
		p.Fatal(err)
	}
}

// show puts a document into search.
func (p *pipeline) show(id, payload string, version int64) {
	p.Helper()
	c := searchtest.New(p, search.Options{URL: p.search.URL})
	results, err := c.Bulk(p.Context(), []search.Operation{{
		Index: "enriched-yellowtaxitriprecords-0-2026.11.21", ID: event.Identity("/test", id), Version: version,
		Source: fmt.Appendf(nil, `{"data_hash":%q}`, event.Hash([]byte(payload))),
	}})
	if err != nil || results[0].Status != search.Done {
		p.Fatal(results, err)
	}
}

func (p *pipeline) read(topic string) (events []*event.Event) {
	p.Helper()
	r := kafka.NewReader(p.client)
	for _, partition := range []int32{0, 1} {
		for from := int64(0); ; {
			batch, err := r.Fetch(p.Context(), topic, partition, from, 8<<20)
			if err != nil {
				p.Fatal(err)
			}
			for _, m := range batch.Records {
				e, err := kafka.Decode(m)
				if err != nil {
					p.Fatal(err)
				}
				events = append(events, e)
			}
			if from = batch.Next; from >= batch.Stable {
				break
			}
		}
	}
	slices.SortFunc(events, func(a, b *event.Event) int { return strings.Compare(a.ID(), b.ID()) })
	return events
}

func (p *pipeline) file(name string) string { return filepath.Join(p.dir, name) }

// journals returns the journals of the plans named plan.json.
func (p *pipeline) journals() []string {
	p.Helper()
	found, err := filepath.Glob(p.file("plan.json.*.journal"))
	if err != nil {
		p.Fatal(err)
	}
	return found
}

// run runs the command, and returns what it printed.
func (p *pipeline) run(want int, args ...string) (stdout, stderr string) {
	p.Helper()
	var out, told bytes.Buffer
	if got := run(p.Context(), args, &out, &told); got != want {
		p.Fatalf("replay %v: exit code %d, want %d\n%s%s", args, got, want, out.String(), told.String())
	}
	return out.String(), told.String()
}

type planned struct {
	ID string
	draft.Summary
}

// plan makes a plan in the file and returns what became of each event, by its outcome.
func (p *pipeline) plan(file string, args ...string) (planned, map[string]plan.Entry) {
	p.Helper()
	out, _ := p.run(0, append([]string{"plan", "--force", "--format", "json", "-o", p.file(file)}, args...)...)
	var s planned
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.Fatal(err)
	}
	_, entries, err := plan.Read(p.file(file))
	if err != nil {
		p.Fatal(err)
	}
	byID := map[string]plan.Entry{}
	for _, e := range entries {
		byID[e.Root] = e
	}
	return s, byID
}

func of(entries map[string]plan.Entry, id string) string {
	e, ok := entries[event.Identity("/test", id)]
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%s to %s, count %d", e.Outcome, e.To, e.Count)
}

// Guards the whole command: what was given up goes back to where it was given up, as the event it was, and everything else is told and left.
func TestPlanAndApply(t *testing.T) {
	p := newPipeline(t)
	wrapped := enriched(t, raw(t, "search", trip))
	again := letter(raw(t, "again", trip), "enrich", event.CodeDeliveryExhausted, event.ReplayID, "old", event.ReplayCount, "2")
	p.publish("events.dead",
		letter(raw(t, "enrich", trip), "enrich", event.CodeDeliveryExhausted),
		letter(raw(t, "enrich", trip), "enrich", event.CodeDeliveryExhausted), // twice: the write's answer was lost
		letter(wrapped, "load-search", event.CodeDeliveryExhausted),
		letter(raw(t, "far", far), "enrich", event.CodeDeliveryExhausted),
		letter(raw(t, "again", trip), "enrich", event.CodeDeliveryExhausted), again,
		letter(raw(t, "often", trip), "enrich", event.CodeDeliveryExhausted, event.ReplayCount, "3"),
		letter(raw(t, "elsewhere", trip), "score", event.CodeDeliveryExhausted),
		letter(raw(t, "bad", far), "enrich", event.CodeContractViolation),
		letter(raw(t, "overtaken", trip), "enrich", event.CodeDeliveryExhausted),
		letter(raw(t, "overtaken", trip), "enrich", event.CodeContractViolation, event.ReplayCount, "1"),
	)
	s, entries := p.plan("plan.json")
	for id, want := range map[string]string{
		"enrich": "pass to raw, count 1", "search": "pass to enriched, count 1", "far": "fail to raw, count 1", "again": "pass to raw, count 3",
		"often": "given up to raw, count 4", "elsewhere": "unknown to , count 1", "bad": "-", "overtaken": "-",
	} {
		if got := of(entries, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	if s.Read != 11 || s.Matched != 9 || s.Duplicates != 1 || s.Superseded != 2 || s.Events != 6 {
		t.Errorf("summary %+v", s)
	}
	if n := slices.IndexFunc(s.Reasons, func(r draft.ReasonRow) bool {
		return r.Outcome == plan.Fail && r.Stage == "enrich" && r.Code == event.CodeContractViolation && r.Message == "/trip_distance is above 1000" &&
			slices.Equal(r.Examples, []string{event.Identity("/test", "far")})
	}); n < 0 {
		t.Errorf("reasons %+v", s.Reasons)
	}
	if out, _ := p.run(0, "plan"); !strings.Contains(out, "/trip_distance is above 1000") || !strings.Contains(out, "3 events to send") {
		t.Errorf("table\n%s", out)
	}

	if out, _ := p.run(0, "apply", "--dry-run", p.file("plan.json")); !strings.Contains(out, "would be sent to raw") || len(p.read("events.raw")) > 0 {
		t.Errorf("dry run\n%s", out)
	}
	if len(p.journals()) > 0 {
		t.Error("a dry run wrote the journal, and the real one would send nothing")
	}
	out, _ := p.run(0, "apply", p.file("plan.json"))
	for _, want := range []string{"sent to raw       2", "sent to enriched  1", "left: fail        1", "left: given up    1"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	sent := append(p.read("events.raw"), p.read("events.enriched")...)
	var ids []string
	for _, e := range sent {
		ids = append(ids, fmt.Sprintf("%s %d", e.ID(), event.Replays(e)))
		if event.Attr(e, event.ReplayID) != s.ID || event.FailureAttributes(e) != nil {
			t.Errorf("attributes %s", e.Context)
		}
	}
	if want := []string{"again 3", "enrich 1", "search 1"}; !slices.Equal(ids, want) {
		t.Fatalf("sent %v, want %v", ids, want)
	}
	if string(sent[1].Data()) != trip || string(sent[2].Data()) != string(wrapped.Data()) || event.Attr(sent[2], event.Stage) != event.StageEnriched {
		t.Errorf("data %s, %s", sent[1].Data(), sent[2].Data())
	}

	// Applied again, nothing is sent; without the journal, the same events are.
	if out, _ := p.run(0, "apply", p.file("plan.json")); !strings.Contains(out, "by an earlier run") || len(p.read("events.raw")) != 2 {
		t.Errorf("second time\n%s", out)
	}
	p.run(0, "apply", "--journal", p.file("other"), p.file("plan.json"))
	twice := p.read("events.raw")
	if len(twice) != 4 || twice[0].String() != twice[1].String() || twice[2].String() != twice[3].String() {
		t.Errorf("not the same twice: %v", twice)
	}
}

// Guards what search shows against replays: one that replaces it has a count above its version, one that would put another payload there fails, and what a later replay
// has brought there is left alone.
func TestPlanAsksSearch(t *testing.T) {
	p := newPipeline(t)
	for _, id := range []string{"absent", "shown", "settled", "other"} {
		p.publish("events.dead", letter(raw(t, id, trip), "enrich", event.CodeDeliveryExhausted))
	}
	p.show("shown", trip, 0)
	p.show("settled", trip, 2)
	p.show("other", far, 0)
	_, entries := p.plan("plan.json")
	for id, want := range map[string]string{
		"absent": "pass to raw, count 1", "shown": "overwrite to raw, count 1", "settled": "settled to raw, count 1", "other": "fail to raw, count 1",
	} {
		if got := of(entries, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	// The time range once more: what was replayed twice before needs a third version.
	p.publish("events.raw", raw(t, "settled", trip), raw(t, "absent", trip))
	p.show("settled", trip, 3)
	_, entries = p.plan("raw.json", "--source", "raw", "--from", "1h")
	if a, b := of(entries, "settled"), of(entries, "absent"); a != "overwrite to raw, count 3" || b != "pass to raw, count 1" {
		t.Errorf("%s; %s", a, b)
	}
	p.search.Set(searchtest.Hooks{Cut: func(*http.Request) bool { return true }})
	if _, told := p.run(1, "plan"); !strings.Contains(told, "search") {
		t.Errorf("search is away: %s", told)
	}
	p.run(0, "plan", "--no-search")
}

// Guards the reason to replay: a contract that was too strict and is corrected lets its dead letters pass, a plan made before is refused, and nothing that was planned is
// different from what enrich does.
func TestCorrectedContract(t *testing.T) {
	p := newPipeline(t)
	p.publish("events.dead", letter(raw(t, "far", far), "enrich", event.CodeContractViolation))
	args := []string{"--code", "contract_violation", "--type", taxi}
	_, entries := p.plan("before.json", args...)
	if got := of(entries, "far"); got != "fail to raw, count 1" {
		t.Fatal(got)
	}
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := embedded.Find(taxi, "0-0-1")
	text := strings.Replace(string(c.Source()), "{maximum: 1000}", "{maximum: 100000}", 1)
	if text == string(c.Source()) {
		t.Fatal("the contract has no maximum to correct")
	}
	if err := os.WriteFile(p.file("taxi"+contract.Suffix), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTRACTS", p.dir)
	_, entries = p.plan("after.json", args...)
	if got := of(entries, "far"); got != "pass to raw, count 1" {
		t.Fatal(got)
	}
	// A file that is wrong holds back its own events, as in enrich, and not the plan of others.
	if err := os.WriteFile(p.file("wrong"+contract.Suffix), []byte(strings.Replace(strings.Replace(text, "version: 0.0.1", "version: 1.0.0", 1), "table: taxi_zones", "table: nowhere", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	waiting := raw(t, "waiting", trip)
	waiting.SetExtension(event.SchemaVersion, "1-0-0")
	p.publish("events.dead", letter(waiting, "enrich", event.CodeContractViolation))
	if _, told := p.run(0, append([]string{"plan", "--force", "-o", p.file("after.json")}, args...)...); !strings.Contains(told, "wrong"+contract.Suffix) {
		t.Errorf("the wrong file is not told: %s", told)
	}
	_, entries = p.plan("after.json", args...)
	if a, b := of(entries, "far"), of(entries, "waiting"); a != "pass to raw, count 1" || b != "unknown to raw, count 1" {
		t.Errorf("%s; %s", a, b)
	}
	if _, told := p.run(1, "apply", p.file("before.json")); !strings.Contains(told, "plan again") || !strings.Contains(told, c.URI) {
		t.Errorf("an old plan: %s", told)
	}
	p.run(0, "apply", p.file("after.json"))
	if got := p.read("events.raw"); len(got) != 1 || string(got[0].Data()) != far || event.Replays(got[0]) != 1 {
		t.Errorf("sent %v", got)
	}
}

// Guards a plan against a world that has changed: a topic made anew, offsets that Kafka has deleted, a plan that was cut or edited, a journal of another plan. Nothing is sent.
func TestApplyRefuses(t *testing.T) {
	p := newPipeline(t)
	for i := range 20 {
		p.publish("events.dead", letter(raw(t, fmt.Sprint(i), trip), "enrich", event.CodeDeliveryExhausted))
	}
	s, _ := p.plan("plan.json")
	if s.Events != 20 {
		t.Fatalf("%d events", s.Events)
	}
	refused := func(why string, args ...string) {
		t.Helper()
		if _, told := p.run(1, append([]string{"apply"}, args...)...); !strings.Contains(told, why) {
			t.Errorf("want %q: %s", why, told)
		}
		if n := len(p.read("events.raw")); n != 0 {
			t.Errorf("%d events were sent", n)
		}
	}
	text, err := os.ReadFile(p.file("plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"cut": string(text[:len(text)-10]), "lines": string(text[:bytes.LastIndexByte(text[:len(text)-1], '\n')+1]), "edited": strings.Replace(string(text), `"count":1`, `"count":9`, 1),
	} {
		if err := os.WriteFile(p.file(name), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		refused("not as it was written", p.file(name))
	}
	if err := os.WriteFile(p.file("foreign"), []byte(`{"plan":"x"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another plan", "--journal", p.file("foreign"), p.file("plan.json"))

	admin, err := sarama.NewClusterAdminFromClient(p.client)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteRecords("events.dead", map[int32]int64{0: 2, 1: 1}); err != nil {
		t.Fatal(err)
	}
	refused("--lake", p.file("plan.json"))
	for _, topic := range []string{"events.raw", "events.dead"} {
		if err := admin.DeleteTopic(topic); err != nil {
			t.Fatal(err)
		}
		if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}, false); err != nil {
			t.Fatal(err)
		}
		refused("the id", p.file("plan.json"))
	}
}

// Guards the Job: it plans and applies in one go, and started again after it was killed it goes on with its plan, in place of making another replay of it.
func TestPlanThenApply(t *testing.T) {
	p := newPipeline(t)
	p.publish("events.dead", letter(raw(t, "1", trip), "enrich", event.CodeDeliveryExhausted))
	args := []string{"plan", "--apply", "--rate", "10000", "-o", p.file("plan.json")}
	if out, _ := p.run(0, args...); !strings.Contains(out, "1 events to send") || !strings.Contains(out, "sent to raw") {
		t.Errorf("first\n%s", out)
	}
	p.publish("events.dead", letter(raw(t, "2", trip), "enrich", event.CodeDeliveryExhausted))
	journals := p.journals()
	if len(journals) != 1 {
		t.Fatalf("journals %q", journals)
	}
	if err := os.Remove(journals[0]); err != nil { // killed before its first line
		t.Fatal(err)
	}
	p.run(0, args...)
	if sent := p.read("events.raw"); len(sent) != 2 || sent[0].String() != sent[1].String() {
		t.Errorf("sent %v", sent)
	}
}

// Guards the pair of commands that README shows, used a second time: the plan that is there is not replaced without a word, since it may be half applied; one that is made anew under
// the same name is another one, and begins anew.
func TestSameNameAgain(t *testing.T) {
	p := newPipeline(t)
	p.publish("events.dead", letter(raw(t, "0", trip), "enrich", event.CodeDeliveryExhausted))
	p.run(0, "plan", "-o", p.file("plan.json"))
	p.run(0, "apply", p.file("plan.json"))
	p.publish("events.dead", letter(raw(t, "1", trip), "enrich", event.CodeDeliveryExhausted))
	if _, told := p.run(1, "plan", "-o", p.file("plan.json")); !strings.Contains(told, "a plan of 1 events") || !strings.Contains(told, "--force") ||
		!strings.Contains(told, "replay apply "+p.file("plan.json")) {
		t.Errorf("the same name: %s", told)
	}
	if out, _ := p.run(0, "apply", p.file("plan.json")); !strings.Contains(out, "by an earlier run") {
		t.Errorf("the plan of before\n%s", out)
	}
	p.run(0, "plan", "--force", "-o", p.file("plan.json"))
	if out, _ := p.run(0, "apply", p.file("plan.json")); !strings.Contains(out, "sent to raw") {
		t.Errorf("the plan made anew\n%s", out)
	}
	if sent := p.read("events.raw"); len(sent) != 3 || len(p.journals()) != 2 {
		t.Errorf("sent %v, journals %q", sent, p.journals())
	}
	if err := os.WriteFile(p.file("notes"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "plan", "-o", p.file("notes")); !strings.Contains(told, "no plan") {
		t.Errorf("another file: %s", told)
	}
	if _, told := p.run(2, "plan", "--apply", "--force", "-o", p.file("notes")); !strings.Contains(told, "--apply goes on") {
		t.Errorf("both: %s", told)
	}
}

// Guards a person at the keyboard: every mistake is told at once, nothing is started, and --help teaches each command.
func TestCalledWrongly(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out, told bytes.Buffer
		if code := run(t.Context(), args, &out, &told); code != 2 || !strings.Contains(told.String(), want) {
			t.Errorf("%v: %d, %s", args, code, told.String())
		}
	}
	f("unknown command", "plam")
	f("--code \"nonsense\"", "plan", "--code", "nonsense")
	f("--from", "plan", "--source", "raw")
	f("is no time", "plan", "--from", "yesterday")
	f("--from must be before", "plan", "--from", "2026-11-21", "--to", "2026-11-20")
	f("--apply needs --output", "plan", "--apply")
	f("name one plan", "apply")
	f("--rate", "apply", "--rate", "0", "plan.json")
	for _, args := range [][]string{{}, {"--help"}, {"plan", "--help"}, {"apply", "-h"}} {
		var out, told bytes.Buffer
		if code := run(t.Context(), args, &out, &told); code != 0 || out.Len() < 100 || told.Len() > 0 {
			t.Errorf("%v: %d, %s%s", args, code, out.String(), told.String())
		}
	}
}

// Guards the environment's description, from which the help is made.
func TestVariablesAreDescribed(t *testing.T) {
	for line := range strings.Lines(planHelp(new(planFlags))) {
		if strings.HasSuffix(line, "  \n") {
			t.Errorf("no description: %q", line)
		}
	}
	t.Setenv("KAFKA_BROKERS", " a:1, b:2,")
	c, err := readConfig()
	if err != nil || !slices.Equal(c.Brokers, []string{"a:1", "b:2"}) {
		t.Errorf("%v, %v", c, err)
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
