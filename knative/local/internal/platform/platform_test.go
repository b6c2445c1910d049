package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/knative/local/internal/build"
	"millrace/knative/local/internal/manifest"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// program is the one function and job of these tests: it tells its variables, fetches a URL, and as a job leaves a file.
const program = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	if len(os.Args) > 1 {
		if err := os.WriteFile(os.Args[1], []byte(strings.Join(append(os.Args, os.Environ()...), "\n")), 0o600); err != nil {
			panic(err)
		}
		fmt.Println("the job is done")
		return
	}
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	http.HandleFunc("/block", func(http.ResponseWriter, *http.Request) { fmt.Println("blocking"); select {} })
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Get(r.URL.Query().Get("url"))
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer resp.Body.Close()
		fmt.Fprintln(w, resp.Status)
		io.Copy(w, resp.Body)
	})
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}
`

const manifests = `
apiVersion: v1
kind: ConfigMap
metadata: {name: millrace, namespace: millrace}
data: {KAFKA_BROKERS: kafka:9092, S3_BUCKET: millrace}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: front, namespace: millrace}
spec:
  template:
    spec:
      containers:
        - image: ko://millrace/functions/program
          envFrom: [{configMapRef: {name: millrace}}, {secretRef: {name: millrace-s3, optional: true}}]
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: back, namespace: millrace, labels: {networking.knative.dev/visibility: cluster-local}}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: "1"}}
    spec:
      containers: [{image: 'ko://millrace/functions/program'}]
`

// diary records what happened in which order.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry)
}

func (d *diary) part(name string, fail <-chan error) OpenPart {
	return func(_ context.Context, cfg PartConfig) (Part, error) {
		d.write("open " + name)
		if cfg.Credentials.SecretAccessKey == "" || !strings.HasSuffix(cfg.Dir, name) {
			return nil, fmt.Errorf("config %+v", cfg)
		}
		if fail != nil {
			go func() {
				if err, ok := <-fail; ok {
					cfg.Fail(err)
				}
			}()
		}
		return fakePart{d, name}, nil
	}
}

type fakePart struct {
	diary *diary
	name  string
}

func (p fakePart) Close(context.Context) error { p.diary.write("close " + p.name); return nil }

type fakeDispatcher struct {
	diary *diary
	run   chan struct{}
}

func (d *fakeDispatcher) Run(ctx context.Context) error {
	d.diary.write("dispatch")
	close(d.run)
	<-ctx.Done()
	d.diary.write("dispatch ends")
	return nil
}

// bench is a platform in a temporary module.
type bench struct {
	cfg      Config
	out      *buffer
	diary    diary
	parts    Parts
	platform *Platform
	running  chan struct{} // closed when events are dispatched
	stop     context.CancelFunc
	kill     context.CancelFunc
	done     chan error
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	// seen is closed when text was written.
	from int
	text string
	seen chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(p)
	if b.text != "" && strings.Contains(b.b.String()[b.from:], b.text) {
		close(b.seen)
		b.text = ""
	}
	return len(p), nil
}

// expect makes seen the sign for the next text.
func (b *buffer) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from, b.text, b.seen = b.b.Len(), text, make(chan struct{})
}

// starts is how often a platform said that it runs.
func (b *buffer) starts() int { return strings.Count(b.String(), "running; Ctrl-C stops") }

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// module is a module with the program as function and as producer, and their binaries in bin, made once for all tests.
var module = sync.OnceValues(func() (string, error) {
	root, err := os.MkdirTemp("", "platform")
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{"go.mod": "module millrace\n\ngo 1.26\n", "functions/program/main.go": program, "functions/produce/main.go": program} {
		if err := write(filepath.Join(root, name), content); err != nil {
			return root, err
		}
	}
	builder := &build.Builder{Root: root, Bin: filepath.Join(root, "bin"), Progress: io.Discard}
	_, err = builder.Build(context.Background(), []string{"ko://millrace/functions/program", "ko://millrace/functions/produce"})
	return root, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if root, _ := module(); root != "" {
		_ = os.RemoveAll(root)
	}
	os.Exit(code)
}

func write(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), 0o600)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	root, err := module()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	provision := fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: provision-, namespace: millrace}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{image: 'ko://millrace/functions/program', args: [%q], envFrom: [{configMapRef: {name: millrace}}]}]\n", filepath.Join(dir, "provisioned"))
	for name, content := range map[string]string{"knative/all.yaml": manifests, "knative/jobs/provision.yaml": provision, "data/bin/.keep": ""} {
		if err := write(filepath.Join(dir, name), content); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"program", "produce"} { // the go command finds them up to date
		if err := os.Link(filepath.Join(root, "bin", name), filepath.Join(dir, "data", "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{out: &buffer{text: "\nsee a dead letter", seen: make(chan struct{})}, running: make(chan struct{}), done: make(chan error, 1)}
	b.cfg = Config{
		Root: root, Dir: filepath.Join(dir, "data"), Manifests: []string{filepath.Join(dir, "knative")},
		Listen: "127.0.0.1:0", Kafka: "127.0.0.1:0", S3: "127.0.0.1:0", Search: "127.0.0.1:0", Tick: time.Second, Out: b.out,
	}
	b.parts = Parts{Kafka: b.diary.part("kafka", nil), ObjectStore: b.diary.part("objectstore", nil), Search: b.diary.part("search", nil), Dispatchers: []OpenDispatcher{
		func(p *Platform) (Dispatcher, error) {
			b.platform = p
			p.Handle("ingress.knative-eventing.svc.cluster.local", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ingress") }))
			return &fakeDispatcher{&b.diary, b.running}, nil
		},
	}}
	return b
}

// start runs the platform until it has said what to try.
func (b *bench) start(t *testing.T) {
	t.Helper()
	force, kill := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(force)
	b.stop, b.kill = stop, kill
	go func() { b.done <- Run(ctx, force, b.cfg, b.parts) }()
	t.Cleanup(kill)
	select {
	case <-b.out.seen:
	case err := <-b.done:
		t.Fatalf("%v\n%s", err, b.out)
	}
}

var gatewayAddress = regexp.MustCompile(`collect=(http://[0-9.:]+)`)

func get(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Everything must start after what it needs and stop before it, functions must get the addresses of this machine and reach each other by
// the names in their manifests, and nothing may be left behind.
func TestRun(t *testing.T) {
	b := newBench(t)
	b.start(t)
	<-b.running
	address := gatewayAddress.FindStringSubmatch(b.out.String())[1]

	env := get(t, address+"/env")
	secret, err := credentials(b.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"KAFKA_BROKERS=" + b.platform.Brokers()[0], "S3_BUCKET=millrace", "S3_ENDPOINT=http://127.0.0.1:", "S3_REGION=us-east-1", "K_SERVICE=front",
		"K_REVISION=front-00001", "K_CONFIGURATION=front", "AWS_SECRET_ACCESS_KEY=" + secret.SecretAccessKey, "TMPDIR=" + filepath.Join(b.cfg.Dir, "tmp", "front"),
	} {
		if !strings.Contains("\n"+env, "\n"+want) {
			t.Errorf("%s is not in\n%s", want, env)
		}
	}
	if strings.Contains(env, "kafka:9092") {
		t.Error("the function uses the cluster's Kafka")
	}
	for target, want := range map[string]string{
		"http://back.millrace.svc.cluster.local/env":                 "200 OK\n",
		"http://ingress.knative-eventing.svc.cluster.local/millrace": "200 OK\ningress",
		"http://nobody.millrace.svc.cluster.local/":                  "404 Not Found\n\"nobody.millrace.svc.cluster.local\" is no function here",
		address + "/fetch": "200 OK\n",
	} {
		if got := get(t, address+"/fetch?url="+target); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any/env", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.platform.Do(t.Context(), "millrace", "back", req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "K_SERVICE=back") {
		t.Errorf("Do: %s, %v", body, err)
	}
	_ = resp.Body.Close()
	if content, err := os.ReadFile(filepath.Join(b.cfg.Dir, "..", "provisioned")); err != nil || !strings.Contains(string(content), "KAFKA_BROKERS="+b.platform.Brokers()[0]) {
		t.Errorf("provision: %s, %v", content, err)
	}

	if _, err := acquire(b.cfg.Dir); err == nil || !strings.Contains(err.Error(), "is in use by process "+strconv.Itoa(os.Getpid())+": stop that one, or choose another directory with -dir") {
		t.Errorf("a second platform in the directory: %v", err)
	}

	file := filepath.Join(b.cfg.Dir, "env")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the variables for other shells: %v, %v", info, err)
	}
	if !strings.Contains(b.out.String(), "(. "+file+" && go run ./functions/replay reconcile --from 1h)") {
		t.Errorf("what to try: %s", b.out)
	}
	inShell := sourced(t, b.cfg.Dir)
	for name, want := range map[string]string{
		"KAFKA_BROKERS": b.platform.Brokers()[0], "S3_ENDPOINT": b.platform.servers.S3Endpoint, "ELASTICSEARCH_URL": b.platform.servers.ElasticsearchURL, "S3_BUCKET": "millrace",
		"AWS_ACCESS_KEY_ID": secret.AccessKeyID, "AWS_SECRET_ACCESS_KEY": secret.SecretAccessKey, "COLLECT_URL": address, "MILLRACE_ENV": file,
	} {
		if inShell[name] != want {
			t.Errorf("%s is %q in a shell, want %q", name, inShell[name], want)
		}
	}

	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	if exists(file) {
		t.Error("the variables of servers that no longer run are left behind")
	}
	want := []string{"open kafka", "open objectstore", "open search", "dispatch", "dispatch ends", "close search", "close objectstore", "close kafka"}
	if !slices.Equal(b.diary.entries, want) {
		t.Errorf("order %q", b.diary.entries)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(address, "http://"), time.Second); err == nil {
		t.Error("the gateway still listens")
	}
	again, err := acquire(b.cfg.Dir)
	if err != nil {
		t.Fatalf("the lock is left behind: %v", err)
	}
	_ = again.Release()
}

// sourced returns the variables of a shell that has read the directory's file, by the name that people are told.
func sourced(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", ". "+shellPath(dir)+" && env -0")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	values := map[string]string{}
	for _, one := range strings.Split(string(out), "\x00") {
		name, value, _ := strings.Cut(one, "=")
		values[name] = value
	}
	return values
}

// A password or a directory may hold what a shell would run, and a ConfigMap a name that no variable has: the file must give the very values and run nothing.
func TestVariablesForAShellAreOnlyValues(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a directory's $(touch x)")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"A": "it's $HOME `id` $(id) \\ \" !*\nsecond line", "B": "", "C": "-n", "D": "http://u:p@h:1/?a=b&c", "a.b": "no name", "E;id": "x"}
	if err := writeFile(shellFile(dir), shellText(values)); err != nil {
		t.Fatal(err)
	}
	got := sourced(t, dir)
	for _, name := range []string{"A", "B", "C", "D"} {
		if value, ok := got[name]; !ok || value != values[name] {
			t.Errorf("%s: got %q, want %q", name, value, values[name])
		}
	}
	if path := shellPath("."); path != "./env" {
		t.Errorf("in the working directory: %s", path)
	}
}

// A platform that was killed leaves its file: one that starts and fails must not leave it to people, whose commands would look for servers that are gone.
func TestVariablesOfAnEarlierStartAreRemoved(t *testing.T) {
	b := newBench(t)
	if err := write(shellFile(b.cfg.Dir), "export KAFKA_BROKERS=gone:1\n"); err != nil {
		t.Fatal(err)
	}
	b.parts.Kafka = func(context.Context, PartConfig) (Part, error) { return nil, errors.New("corrupt") }
	if err := Run(t.Context(), context.Background(), b.cfg, b.parts); err == nil {
		t.Error("no error")
	}
	if exists(shellFile(b.cfg.Dir)) {
		t.Error("it is still there")
	}
}

// A second wish to stop must not wait for requests that never end.
func TestASecondWishStopsAtOnce(t *testing.T) {
	b := newBench(t)
	b.start(t)
	address := gatewayAddress.FindStringSubmatch(b.out.String())[1]
	b.out.expect("| blocking")
	cut := make(chan error)
	go func() {
		resp, err := http.Get(address + "/block")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				err = errors.New("answered")
			}
		}
		cut <- err
	}()
	<-b.out.seen
	b.out.expect("msg=stopping")
	b.stop()
	b.kill()
	begin := time.Now()
	<-b.done
	if took := time.Since(begin); took > drainTime/2 {
		t.Errorf("it took %s", took)
	}
	if err := <-cut; err != nil && err.Error() == "answered" {
		t.Error("a request that was cut was answered")
	}
}

// A new directory is fed once: a feed at each start would be traffic that nobody asked for.
func TestFeed(t *testing.T) {
	b := newBench(t)
	b.cfg.Feed = 7
	fed := filepath.Join(b.cfg.Root, "generate")
	for range 2 {
		b.out.expect("\nsee a dead letter")
		b.running = make(chan struct{})
		b.start(t)
		content, err := os.ReadFile(fed)
		if b.platform == nil || err == nil && (!strings.Contains(string(content), "\n--max-record-count=7\n") || !strings.Contains(string(content), "\nCOLLECT_URL=http://127.0.0.1:")) {
			t.Errorf("the feed: %s", content)
		}
		if first := b.out.starts() == 1; first == errors.Is(err, os.ErrNotExist) {
			t.Errorf("fed at the first start: %v, at this one: %v", first, err)
		}
		if err == nil {
			if err := os.Remove(fed); err != nil {
				t.Fatal(err)
			}
		}
		b.stop()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
	}
}

// A server that dies must stop the platform with its reason, not leave functions that fail for ever.
func TestAPartThatFailsStopsEverything(t *testing.T) {
	b := newBench(t)
	fail := make(chan error, 1)
	b.parts.Search = b.diary.part("search", fail)
	b.start(t)
	fail <- errors.New("disk full")
	if err := <-b.done; err == nil || err.Error() != "embedded search: disk full" {
		t.Errorf("got %v", err)
	}
	if last := b.diary.entries[len(b.diary.entries)-1]; last != "close kafka" {
		t.Errorf("order %q", b.diary.entries)
	}
}

// What fails at the start must close what is open already, and say which part it was.
func TestAStartThatFails(t *testing.T) {
	b := newBench(t)
	b.parts.Search = func(context.Context, PartConfig) (Part, error) { return nil, errors.New("corrupt") }
	err := Run(t.Context(), context.Background(), b.cfg, b.parts)
	if err == nil || err.Error() != "start the embedded search: corrupt" {
		t.Errorf("got %v", err)
	}
	if want := []string{"open kafka", "open objectstore", "close objectstore", "close kafka"}; !slices.Equal(b.diary.entries, want) {
		t.Errorf("order %q", b.diary.entries)
	}
}

// Somebody whose port is taken must read which one, by which part of ours, and what to do; all of them at once, before the build.
func TestPortsInUse(t *testing.T) {
	b := newBench(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	b.cfg.Listen, b.cfg.Kafka = addr, addr
	want := "the gateway is to listen on " + addr + ", which another program uses: stop that one, or choose another address with -listen 127.0.0.1:PORT\n" +
		"the embedded Kafka is to listen on " + addr + ", which another program uses: stop that one, or choose another address with -kafka 127.0.0.1:PORT, or use the server that runs there with KAFKA_BROKERS"
	if err := Run(t.Context(), context.Background(), b.cfg, b.parts); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if strings.Contains(b.out.String(), "build ") {
		t.Errorf("it built first:\n%s", b.out)
	}
}

// A real server must be used in the place of the embedded one, with its own credentials, and its port must not be touched.
func TestRealServers(t *testing.T) {
	b := newBench(t)
	b.cfg.Servers = Servers{
		KafkaBrokers: []string{"a:1", "b:2"}, S3Endpoint: "http://s3.example:9000", ElasticsearchURL: "http://user:secret@es.example:9200",
		Keys:   objectstore.Keys{AccessKey: "id", SecretKey: "key"},
		Search: search.Access{APIKey: "api key", CA: "/ca.pem"},
		Kafka:  kafka.Security{TLS: true, CAFile: "/kafka.pem", Mechanism: "SCRAM-SHA-512", User: "millrace", Password: "hush"},
	}
	b.parts.Kafka, b.parts.ObjectStore, b.parts.Search = nil, nil, nil
	b.start(t)
	env := get(t, gatewayAddress.FindStringSubmatch(b.out.String())[1]+"/env")
	for _, want := range []string{
		"KAFKA_BROKERS=a:1,b:2\n", "S3_ENDPOINT=http://s3.example:9000\n", "ELASTICSEARCH_URL=http://user:secret@es.example:9200\n", "AWS_ACCESS_KEY_ID=id\n",
		"KAFKA_TLS=true\n", "KAFKA_CA_FILE=/kafka.pem\n", "KAFKA_SASL_MECHANISM=SCRAM-SHA-512\n", "KAFKA_USER=millrace\n", "KAFKA_PASSWORD=hush\n", "NO_PROXY=127.0.0.1,localhost,s3.example,es.example\n",
	} {
		if !strings.Contains(env+"\n", want) {
			t.Errorf("%s is not in\n%s", want, env)
		}
	}
	inShell := sourced(t, b.cfg.Dir)
	for name, want := range map[string]string{
		"KAFKA_BROKERS": "a:1,b:2", "ELASTICSEARCH_URL": "http://user:secret@es.example:9200", "ELASTICSEARCH_API_KEY": "api key", "ELASTICSEARCH_CA": "/ca.pem", "AWS_SECRET_ACCESS_KEY": "key",
		"KAFKA_USER": "millrace", "KAFKA_PASSWORD": "hush",
	} {
		if inShell[name] != want {
			t.Errorf("%s is %q in a shell, want %q", name, inShell[name], want)
		}
	}
	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	if strings.Contains(b.out.String(), "secret@") || strings.Contains(b.out.String(), "hush") {
		t.Error("a password is in the log")
	}
}

// A build without an embedded server must say which variable to set.
func TestAbsentPart(t *testing.T) {
	b := newBench(t)
	b.parts.Kafka = nil
	if err := Run(t.Context(), context.Background(), b.cfg, b.parts); err == nil || err.Error() != "the embedded Kafka is not part of this build: name a server with KAFKA_BROKERS" {
		t.Errorf("got %v", err)
	}
}

// Credentials must stay the same over restarts, or the object storage of yesterday is closed; and be their owner's alone.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	first, err := credentials(dir)
	if err != nil || len(first.SecretAccessKey) < 20 {
		t.Fatalf("%+v, %v", first, err)
	}
	if second, err := credentials(dir); err != nil || second != first {
		t.Errorf("%+v, %v; first %+v", second, err, first)
	}
	name := filepath.Join(dir, "s3-credentials.json")
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(name, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := credentials(dir); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

// The key to mask with must stay the same over restarts, or a person has another pseudonym after each; be its owner's alone; and be refused where it is none.
func TestMaskKey(t *testing.T) {
	dir := t.TempDir()
	first, err := maskKey(dir)
	if err != nil || len(first) != 64 {
		t.Fatalf("%d digits, %v", len(first), err)
	}
	if second, err := maskKey(dir); err != nil || second != first {
		t.Errorf("another one, %v", err)
	}
	name := filepath.Join(dir, "mask-key")
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := maskKey(dir); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "short") {
		t.Errorf("got %v", err)
	}
}

// The functions that mask must get the key, in every overlay, and no other function.
func TestMaskKeyReachesItsFunctions(t *testing.T) {
	root := "../../../.."
	for _, dirs := range [][]string{{"knative", "triggers"}, {"knative/direct"}} {
		var manifests []string
		for _, dir := range dirs {
			manifests = append(manifests, filepath.Join(root, dir))
		}
		p := &Platform{cfg: Config{Dir: t.TempDir()}}
		var err error
		if p.set, err = manifest.Load(manifests...); err != nil {
			t.Fatal(err)
		}
		if err := p.configure(); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, s := range p.set.Services {
			env, err := p.set.Environment(s.Metadata.Namespace, "r", s.Container())
			if err != nil {
				t.Fatal(err)
			}
			got[s.Metadata.Name] = env["MASK_KEY"] != ""
		}
		for _, d := range p.set.Deployments {
			env, err := p.set.Environment(d.Metadata.Namespace, "r", d.Container())
			if err != nil {
				t.Fatal(err)
			}
			got[d.Metadata.Name] = env["MASK_KEY"] != ""
		}
		if want := map[string]bool{"collect": false, "enrich": false, "load-search": true, "load-lake": true}; !maps.Equal(got, want) {
			t.Errorf("%v: %v", dirs, got)
		}
	}
}

// withCatalog adds the one Secret that must be there, as the platform does.
func withCatalog(set *manifest.Set) {
	set.SetSecret(manifest.Key{Namespace: namespace, Name: catalogSecret}, map[string]string{"CATALOG_URL": "sqlite:/c"})
}

// The manifests of this repository must be ones that run here.
func TestOwnManifests(t *testing.T) {
	root := "../../../.."
	set, err := manifest.Load(filepath.Join(root, "knative"), filepath.Join(root, "triggers"), filepath.Join(root, "knative", "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	withCatalog(set)
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	if len(set.CronJobs) != 1 || len(set.JobSinks) != 1 {
		t.Errorf("%d CronJobs, %d JobSinks", len(set.CronJobs), len(set.JobSinks))
	}
	if len(set.Services) < 4 || len(set.Brokers) != 3 || len(set.Triggers) < 3 || len(set.PingSources) != 6 {
		t.Errorf("%d services, %d brokers, %d triggers, %d ping sources", len(set.Services), len(set.Brokers), len(set.Triggers), len(set.PingSources))
	}
}

// The overlay without Brokers must run here as well, and be no mixture: a Trigger or a Knative Service left in it would deliver events twice.
func TestOwnManifestsOfDirect(t *testing.T) {
	root := "../../../.."
	set, err := manifest.Load(filepath.Join(root, "knative", "direct"), filepath.Join(root, "knative", "direct", "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	withCatalog(set)
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	if len(set.Services) != 2 || len(set.Deployments) != 2 || len(set.Brokers) != 0 || len(set.Triggers) != 0 || len(set.PingSources) != 6 || len(set.Jobs) != 1 {
		t.Errorf("%d services, %d deployments, %d brokers, %d triggers, %d ping sources, %d jobs", len(set.Services), len(set.Deployments), len(set.Brokers), len(set.Triggers), len(set.PingSources), len(set.Jobs))
	}
	for name, intake := range map[string]string{"enrich": "kafka:///events.raw?group=millrace-enrich&member=static", "load-search": "kafka:///events.enriched,events.dead?group=millrace-load-search&member=static"} {
		d := set.Deployments[manifest.Key{Namespace: namespace, Name: name}]
		env, err := set.Environment(namespace, name, d.Container())
		if err != nil || env["INTAKE"] != intake {
			t.Errorf("%s reads %s, want %s; %v", name, env["INTAKE"], intake, err)
		}
	}
}

// deployments are functions that nobody asks, one of them without a replica.
const deployments = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: enrich, namespace: millrace}
spec:
  selector: {matchLabels: {app: enrich}}
  template:
    metadata: {labels: {app: enrich}}
    spec:
      containers:
        - image: ko://millrace/functions/program
          env: [{name: INTAKE, value: 'kafka:///events.raw?group=g'}]
          readinessProbe: {httpGet: {path: /env, port: 8080}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: none, namespace: millrace}
spec:
  replicas: 0
  selector: {matchLabels: {app: none}}
  template:
    metadata: {labels: {app: none}}
    spec: {containers: [{image: 'ko://millrace/functions/program'}]}
`

// A function that reads straight from Kafka gets no request that would start it: it must run by itself, end with the platform, and whoever accounts for events must be told its group.
func TestDeploymentRunsUnasked(t *testing.T) {
	b := newBench(t)
	b.cfg.Verbose = true
	if err := write(filepath.Join(b.cfg.Manifests[0], "deployments.yaml"), deployments); err != nil {
		t.Fatal(err)
	}
	b.out.expect("reconcile --from 1h --group enrich=g)")
	ready := &buffer{text: "msg=ready function=enrich", seen: make(chan struct{})}
	b.cfg.Out = io.MultiWriter(b.out, ready)
	b.start(t)
	<-ready.seen
	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	if out := b.out.String(); strings.Contains(out, "function=none") {
		t.Errorf("a Deployment without a replica runs:\n%s", out)
	}
}

// Provision runs before Brokers and functions are there, so a Job may need nothing but what the first two files make: without its account or ConfigMap a Job on a cluster waits for ever
// without a word.
func TestJobsNeedOnlyNamespaceAndConfig(t *testing.T) {
	root := "../../../.."
	set, err := manifest.Load(filepath.Join(root, "knative", "100-namespace.yaml"), filepath.Join(root, "knative", "200-config.yaml"), filepath.Join(root, "knative", "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	withCatalog(set)
	if err := set.Check(); err != nil {
		t.Error(err)
	}
	if len(set.Jobs) < 4 || set.Namespaces[manifest.Key{Name: namespace}] == nil || set.ServiceAccounts[manifest.Key{Namespace: namespace, Name: "millrace"}] == nil {
		t.Errorf("%d jobs, namespaces %v, accounts %v", len(set.Jobs), set.Namespaces, set.ServiceAccounts)
	}
}

// The name of a topic stands in the ConfigMap and where Kubernetes expands nothing: names that differ would part the pipeline in two without an error anywhere.
func TestTopicsHaveOneNameEverywhere(t *testing.T) {
	root := "../../../.."
	set, err := manifest.Load(filepath.Join(root, "knative"), filepath.Join(root, "triggers"))
	if err != nil {
		t.Fatal(err)
	}
	config := set.ConfigMaps[manifest.Key{Namespace: namespace, Name: configMapName}].Data
	named := map[string]bool{}
	for _, name := range []string{"RAW", "ENRICHED", "DEAD"} {
		topic := config["TOPIC_"+name]
		named[topic] = true
		if b := set.Brokers[manifest.Key{Namespace: namespace, Name: strings.ToLower(name)}]; b.Topic() != topic {
			t.Errorf("%s: the Broker's topic is %s, the ConfigMap's %s", b.Pos, b.Topic(), topic)
		}
	}
	for _, p := range set.PingSources {
		var data struct{ Topic string }
		if err := json.Unmarshal([]byte(p.Spec.Data), &data); err != nil || !named[data.Topic] {
			t.Errorf("%s: topic %q, %v", p.Pos, data.Topic, err)
		}
	}
	// Functions follow the ConfigMap: with other names there, none of the old ones is left.
	for _, name := range []string{"RAW", "ENRICHED", "DEAD"} {
		set.Override(manifest.Key{Namespace: namespace, Name: configMapName}, map[string]string{"TOPIC_" + name: "other." + name})
	}
	sinks := 0
	for _, s := range set.Services {
		env, err := set.Environment(namespace, "", s.Container())
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range env {
			if strings.Contains(value, "events.") || strings.Contains(value, "$(") {
				t.Errorf("%s: %s is %s", s.Pos, key, value)
			}
			if strings.HasSuffix(key, "SINK") && strings.HasPrefix(value, "kafka:///other.") {
				sinks++
			}
		}
	}
	if sinks != 5 {
		t.Errorf("%d sinks follow the ConfigMap", sinks)
	}
}

// A container without GOMEMLIMIT, or with one near its limit, is killed by the kernel where the collector of garbage could have kept it; on this machine, which has no limits, nobody would see.
func TestMemoryLimitsAgree(t *testing.T) {
	root := "../../../.."
	checked := 0
	for _, pattern := range []string{"knative/*.yaml", "knative/jobs/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			limits := memoryLimit.FindAllSubmatch(content, -1)
			soft := goMemoryLimit.FindAllSubmatch(content, -1)
			if len(limits) == 0 && len(soft) == 0 {
				continue
			}
			if len(limits) != 1 || len(soft) != 1 {
				t.Errorf("%s: %d memory limits, %d GOMEMLIMIT", file, len(limits), len(soft))
				continue
			}
			hard, _ := strconv.Atoi(string(limits[0][1]))
			if string(limits[0][2]) == "Gi" {
				hard *= 1024
			}
			goes, _ := strconv.Atoi(string(soft[0][1]))
			if m := duckMemory.FindSubmatch(content); m != nil { // beside Go's
				duck, _ := strconv.Atoi(string(m[1]))
				goes += duck >> 20
			}
			if goes*100 < hard*70 || goes*100 > hard*80 {
				t.Errorf("%s: GOMEMLIMIT %d MiB is not about three quarters of %d MiB", file, goes, hard)
			}
			checked++
		}
	}
	if checked < 8 {
		t.Errorf("only %d containers have a limit", checked)
	}
}

var (
	memoryLimit   = regexp.MustCompile(`(?m)^ +limits:\n(?: +cpu: .*\n)? +memory: (\d+)([MG]i)$`)
	duckMemory    = regexp.MustCompile(`(?m)^ +- name: DUCKDB_MEMORY\n +value: "(\d+)"$`)
	goMemoryLimit = regexp.MustCompile(`(?m)^ +- name: GOMEMLIMIT\n +value: (\d+)MiB$`)
)
