// Package functions_test runs the whole pipeline as it is deployed: the binaries of the functions, on the local platform, by the manifests.
package functions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
)

// patience is how long the pipeline has to come to rest: a machine that does other work as well is slow, not wrong.
const patience = 5 * time.Minute

// system is a local platform that runs as a process of its own, with what it needs to look at its stores.
type system struct {
	t                  testing.TB
	binary, root, dir  string
	listen             string
	flags, environment []string
	names              pipeline.Names
	output             *os.File
	platform           *pipeline.Platform // nil until it is started

	brokers     []string
	s3, es      string // URLs
	credentials func() (id, secret string, err error)
}

// newSystem builds the platform, with embedded servers on free ports.
func newSystem(t testing.TB) *system {
	t.Helper()
	s := newPlatform(t)
	s.listen = freeAddress(t)
	kafkaAddress, s3, es := freeAddress(t), freeAddress(t), freeAddress(t)
	s.flags = []string{"-kafka", kafkaAddress, "-s3", s3, "-search", es}
	s.names, s.brokers, s.s3, s.es = pipeline.OwnNames, []string{kafkaAddress}, "http://"+s3, "http://"+es
	// Real servers that the surroundings name are for other tests.
	s.environment = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"KAFKA_BROKERS", "S3_ENDPOINT", "ELASTICSEARCH_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CATALOG_URL", "TRINO_URL"}, name)
	})
	s.credentials = func() (string, string, error) {
		b, err := os.ReadFile(s.dir + "/data/s3-credentials.json")
		if err != nil {
			return "", "", err
		}
		var keys struct {
			ID     string `json:"access_key_id"`
			Secret string `json:"secret_access_key"`
		}
		err = json.Unmarshal(b, &keys)
		return keys.ID, keys.Secret, err
	}
	return s
}

// binaries is where built has put them; "" before.
var binaries string

// compiled says that there is a C compiler, and so curate.
var compiled bool

// built is a directory with the binaries that tests run in bin, and those that the platform itself would build in functions: made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	root, err := pipeline.Root()
	if err != nil {
		return "", err
	}
	if binaries, err = os.MkdirTemp("", "pipeline"); err != nil {
		return "", err
	}
	if err := pipeline.Build(context.Background(), root, filepath.Join(binaries, "bin"), "./knative/local", "./functions/produce", "./functions/replay"); err != nil {
		return "", err
	}
	functions := []string{"./functions/provision"}
	for _, name := range pipeline.Functions {
		functions = append(functions, "./functions/"+name)
	}
	cgo, err := exec.Command("go", "env", "CGO_ENABLED").Output()
	if err != nil {
		return "", err
	}
	if compiled = strings.TrimSpace(string(cgo)) == "1"; compiled {
		functions = append(functions, "./functions/curate")
	}
	return binaries, pipeline.Build(context.Background(), root, filepath.Join(binaries, "functions"), functions...)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries != "" {
		_ = os.RemoveAll(binaries) // what is left lies with the system's temporary files
	}
	os.Exit(code)
}

// link puts all binaries of one directory into another, where the go command finds them up to date.
func link(t testing.TB, from, to string) {
	t.Helper()
	binaries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, b := range binaries {
		if err := os.Link(filepath.Join(from, b.Name()), filepath.Join(to, b.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// newPlatform makes a platform, with produce and replay beside it.
func newPlatform(t testing.TB) *system {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, root: root, dir: t.TempDir()}
	s.binary = filepath.Join(s.dir, "local")
	from, err := built()
	if err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join(from, "bin"), s.dir)
	link(t, filepath.Join(from, "functions"), filepath.Join(s.dir, "data", "bin"))
	if s.output, err = os.Create(filepath.Join(s.dir, "output")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			if out, err := os.ReadFile(s.output.Name()); err == nil {
				t.Logf("the platform said:\n%s", out[max(0, len(out)-20_000):])
			}
		}
	})
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := pipeline.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// start starts the platform and waits until collect answers through it.
func (s *system) start() {
	s.t.Helper()
	s.platform = &pipeline.Platform{
		Binary: s.binary, Root: s.root, Dir: filepath.Join(s.dir, "data"), Listen: s.listen, Output: s.output, Env: s.environment,
		Flags: append([]string{"-tick", "1s"}, s.flags...),
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.platform.Start(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends the platform by a signal and waits for its end.
func (s *system) stop(signal syscall.Signal) {
	if s.platform == nil {
		return
	}
	if err := s.platform.Stop(signal, time.Minute); err != nil {
		s.t.Error(err)
	}
}

// moving is what a pipeline that has not come to rest says of itself.
type moving string

func (m moving) Error() string { return "still moving: " + string(m) }

// eventually repeats f until it returns nil. Patience is for what stands still: it begins anew whenever a moving pipeline has got further.
func (s *system) eventually(what string, f func() error) {
	s.t.Helper()
	deadline := time.After(patience)
	var last moving
	for {
		err := f()
		if err == nil {
			return
		}
		if now, ok := errors.AsType[moving](err); ok && now != last {
			last, deadline = now, time.After(patience)
		}
		select {
		case <-deadline:
			s.t.Fatalf("%s: not after %s: %v", what, patience, err)
		case <-s.t.Context().Done():
			s.t.Fatalf("%s: %v", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// cleanup is a context for what a test removes when its own has ended.
func (s *system) cleanup() context.Context { return context.WithoutCancel(s.t.Context()) }

var client = &http.Client{Timeout: 30 * time.Second}

// get reads a JSON answer.
func (s *system) get(url string, into any) error {
	return s.do(http.MethodGet, url, nil, into)
}

func (s *system) do(method, url string, body []byte, into any) error {
	return pipeline.Do(s.cleanup(), method, url, body, into)
}

// stores reads what the pipeline left.
func (s *system) stores() *pipeline.Stores {
	return &pipeline.Stores{Brokers: s.brokers, S3: s.s3, Search: s.es, Credentials: s.credentials, Names: s.names}
}

// documents returns all documents of the indices, page by page.
func (s *system) documents(indices string) ([]pipeline.Document, error) {
	return s.stores().Documents(s.t.Context(), indices)
}

// records returns the events of a topic, which holds nothing else.
func (s *system) records(topic string) ([]*event.Event, error) {
	events, foreign, err := s.stores().Records(s.t.Context(), topic)
	if err == nil && foreign > 0 {
		err = fmt.Errorf("%d records of %s are no events", foreign, topic)
	}
	return events, err
}

// landed returns how many rows of the topic's records are in objects that the landing log names, and checks that each is there with the bytes it says.
func (s *system) landed(topic string) (int64, error) {
	l, err := s.stores().Landed(s.t.Context(), topic, false)
	return l.Rows, err
}

// rootIDs counts how often each root id is there.
func rootIDs[T any](items []T, id func(T) string) map[string]int {
	ids := make(map[string]int, len(items))
	for _, item := range items {
		ids[id(item)]++
	}
	return ids
}

func ofEvent(e *event.Event) string         { return event.Attr(e, event.RootID) }
func ofDocument(d pipeline.Document) string { return d.RootID }
func ofDead(d pipeline.Document) string {
	return d.RootID + " " + d.Failure.Stage + " " + d.Failure.Code
}

func ofDeadEvent(e *event.Event) string {
	return ofEvent(e) + " " + event.Attr(e, event.FailureStage) + " " + event.Attr(e, event.FailureCode)
}

// standing says how much is in topics and indexes.
func (s *system) standing() (string, error) {
	stores, ctx := s.stores(), s.t.Context()
	var standing []int64
	for _, topic := range []string{s.names.Raw, s.names.Enriched, s.names.Dead} {
		n, err := stores.Length(ctx, topic)
		if err != nil {
			return "", err
		}
		standing = append(standing, n)
	}
	for _, indices := range []string{"enriched-*", "dead-*"} {
		n, err := stores.Count(ctx, indices)
		if err != nil {
			return "", err
		}
		standing = append(standing, n)
	}
	return fmt.Sprintf("%d raw, %d enriched, %d dead; in search %d and %d", standing[0], standing[1], standing[2], standing[3], standing[4]), nil
}

// reconcile waits until the sums close: each distinct root id of raw is enriched or dead, each enriched one is in search once, each dead one in the dead index once with its
// code, and the landing log has every record of every topic.
func (s *system) reconcile() (raw, enriched, dead map[string]int) {
	s.t.Helper()
	var last string
	calm := 0
	s.eventually("the sums close", func() error {
		// Reading everything takes what the pipeline needs: not before nothing has moved for a second.
		now, err := s.standing()
		if err != nil {
			return err
		}
		if now != last {
			last, calm = now, 0
		}
		if calm++; calm < 5 {
			return moving(now)
		}
		calm = 0
		rawEvents, err := s.records(s.names.Raw)
		if err != nil {
			return err
		}
		enrichedEvents, err := s.records(s.names.Enriched)
		if err != nil {
			return err
		}
		deadEvents, err := s.records(s.names.Dead)
		if err != nil {
			return err
		}
		raw, enriched, dead = rootIDs(rawEvents, ofEvent), rootIDs(enrichedEvents, ofEvent), rootIDs(deadEvents, ofDeadEvent)
		rejected := map[string]bool{}
		for _, e := range deadEvents {
			if event.Attr(e, event.FailureStage) == "enrich" {
				rejected[ofEvent(e)] = true
			}
		}
		for id := range raw {
			if enriched[id] == 0 && !rejected[id] {
				return fmt.Errorf("of %d raw events, %s is neither enriched nor dead (%d enriched, %d rejected)", len(raw), id, len(enriched), len(rejected))
			}
		}
		for id := range enriched {
			if raw[id] == 0 {
				return fmt.Errorf("%s is enriched and not in raw", id)
			}
		}
		found, err := s.documents("enriched-*")
		if err != nil {
			return err
		}
		if err := same("search", enriched, rootIDs(found, ofDocument)); err != nil {
			return err
		}
		failed, err := s.documents("dead-*")
		if err != nil && len(dead) > 0 {
			return err
		}
		if err := same("the dead index", dead, rootIDs(failed, ofDead)); err != nil {
			return err
		}
		for _, l := range []struct {
			topic   string
			records int
		}{{s.names.Raw, len(rawEvents)}, {s.names.Enriched, len(enrichedEvents)}, {s.names.Dead, len(deadEvents)}} {
			rows, err := s.landed(l.topic)
			if err != nil && l.records > 0 {
				return err
			}
			if rows != int64(l.records) {
				return fmt.Errorf("%s has %d records, the landing log %d rows", l.topic, l.records, rows)
			}
		}
		return nil
	})
	return raw, enriched, dead
}

// same reports what distinguishes the ids in a topic from those in a store, which must have each once.
func same(store string, topic, found map[string]int) error {
	for id := range topic {
		if found[id] == 0 {
			return fmt.Errorf("%s has %d of %d; %s is not there", store, len(found), len(topic), id)
		}
	}
	for id, n := range found {
		if n != 1 || topic[id] == 0 {
			return fmt.Errorf("%s has %s %d times, its topic %d times", store, id, n, topic[id])
		}
	}
	return nil
}

// receipt is what collect answers for an event.
type receipt struct {
	RootID string `json:"root_id"`
	Status string
	Code   string
}

// trips returns n events that only the name tells apart; every 50th goes too far for its contract.
func trips(name string, n int) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		distance := "2.5"
		if i%50 == 49 {
			distance = "62359"
		}
		fmt.Fprintf(&b, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","source":"/pipeline","id":"%s/%d","payload":{`+
			`"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1,`+
			`"trip_distance":%s,"RatecodeID":1,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,"payment_type":2,"fare_amount":9.3,`+
			`"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}}`, name, i, distance)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// send posts a batch until every event of it is accepted or dead-lettered, as a producer does: the same identities each time.
func (s *system) send(ctx context.Context, body []byte) ([]receipt, error) {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.listen+"/api/v1/collect", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if res, err := client.Do(req); err == nil {
			var answer struct{ Receipts []receipt }
			err = json.NewDecoder(res.Body).Decode(&answer)
			res.Body.Close()
			if err == nil && len(answer.Receipts) > 0 && !slices.ContainsFunc(answer.Receipts, func(r receipt) bool { return r.Status != "accepted" && r.Status != "dead_lettered" }) {
				return answer.Receipts, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// child returns the process of a function of this system, 0 where none runs.
func (s *system) child(name string) int {
	s.t.Helper()
	pid, err := s.platform.Child(name)
	if err != nil && runtime.GOOS == "linux" { // where a skip would pass for the whole proof
		s.t.Fatal(err)
	}
	if err != nil {
		s.t.Skip(err)
	}
	return pid
}

// Guards the promise as a whole: 10,000 generated trips, some bad in every way that the generator knows, through binaries, Triggers and drains; the sums close over root ids. Then each
// process is killed in turn while events flow, the platform itself last: nothing that was answered for is lost, and nothing is in search twice.
func TestPipeline(t *testing.T) {
	if testing.Short() {
		t.Skip("the pipeline takes a minute: not in short mode")
	}
	s := newSystem(t)
	s.start()
	t.Run("10000 generated trips", s.testGenerated)
	t.Run("a process killed at a time", s.testKills)
	t.Run("the platform killed", s.testPlatformKilled)
}

func (s *system) testGenerated(t *testing.T) {
	s.t = t
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.dir, "produce"), "generate", "--collect", "http://"+s.listen,
		"--max-record-count", "10000", "--sleep-time", "0", "--batch", "100", "--concurrency", "4", "--seed", "7", "--bad-share", "0.02").CombinedOutput()
	if err != nil {
		t.Fatalf("produce: %v\n%s", err, out)
	}
	raw, enriched, dead := s.reconcile()
	codes := map[string]int{}
	for id := range dead {
		codes[id[strings.IndexByte(id, ' ')+1:]]++
	}
	total := len(raw)
	for code, n := range codes {
		if strings.HasPrefix(code, "collect ") {
			total += n
		}
	}
	if total != 10_000 {
		t.Errorf("%d raw and dead at collect are accounted for, want 10000: %v", total, codes)
	}
	for _, want := range []string{"collect unknown_field", "collect missing_field", "collect missing_source", "enrich contract_violation", "enrich unknown_contract"} {
		if codes[want] == 0 {
			t.Errorf("no dead letter of %s: %v", want, codes)
		}
	}
	t.Logf("%d raw, %d enriched, dead: %v", len(raw), len(enriched), codes)
	found, err := s.documents("enriched-yellowtaxitriprecords-0-*")
	if err != nil || len(found) == 0 {
		t.Fatalf("%d documents, %v", len(found), err)
	}
	if found[0].Enrichment["pickup_zone"] == nil && found[1].Enrichment["pickup_zone"] == nil {
		t.Errorf("no zone in %v", found[0].Enrichment)
	}
}

// flow sends batches of 50 until stop is called, which returns the root ids of what was accepted. It returns once events flow.
func (s *system) flow(name string) (stop func() (accepted map[string]bool)) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	finish := make(chan struct{})
	accepted := map[string]bool{}
	var mu sync.Mutex
	var workers sync.WaitGroup
	for w := range 2 {
		workers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-finish:
					return
				default:
				}
				receipts, err := s.send(ctx, trips(fmt.Sprintf("%s/%d/%d", name, w, n), 50))
				if err != nil {
					s.t.Errorf("a batch never got its receipts: %v", err)
					return
				}
				mu.Lock()
				for _, r := range receipts {
					accepted[r.RootID] = true
				}
				mu.Unlock()
			}
		})
	}
	s.eventually("events flow", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(accepted) < 500 {
			return fmt.Errorf("%d accepted", len(accepted))
		}
		return nil
	})
	return func() map[string]bool {
		defer cancel()
		close(finish)
		workers.Wait()
		return accepted
	}
}

// allThere checks that everything that got a receipt is in a topic, after the sums have closed.
func (s *system) allThere(accepted map[string]bool) {
	s.t.Helper()
	if len(accepted) == 0 {
		s.t.Error("nothing was accepted: the test has shown nothing")
	}
	raw, enriched, dead := s.reconcile()
	lost := 0
	for id := range accepted {
		if raw[id] == 0 {
			lost++
		}
	}
	if lost > 0 {
		s.t.Errorf("%d of %d accepted events are lost", lost, len(accepted))
	}
	s.t.Logf("%d accepted; %d raw, %d enriched, %d dead", len(accepted), len(raw), len(enriched), len(dead))
}

func (s *system) testKills(t *testing.T) {
	s.t = t
	stop := s.flow("kills")
	killed := map[string]int{}
	for _, name := range []string{"collect", "enrich", "load-search", "load-lake"} {
		for range 2 {
			s.eventually(name+" runs", func() error {
				pid := s.child(name)
				if pid == 0 || pid == killed[name] {
					return errors.New("no new process")
				}
				killed[name] = pid
				return syscall.Kill(pid, syscall.SIGKILL)
			})
		}
	}
	accepted := stop()
	t.Logf("killed %v", slices.Sorted(maps.Keys(killed)))
	s.allThere(accepted)
}

func (s *system) testPlatformKilled(t *testing.T) {
	s.t = t
	stop := s.flow("platform")
	s.eventually("functions run", func() error {
		if s.child("enrich") == 0 || s.child("load-search") == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	s.stop(syscall.SIGKILL)
	s.start()
	accepted := stop()
	s.allThere(accepted)
}
