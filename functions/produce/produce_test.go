package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// collect is a collector that stores what it accepts by identity, and can be told to fail.
type collect struct {
	*httptest.Server
	mu     sync.Mutex
	stored map[string]string // source + id: the event
	times  map[string]int    // how often each was stored
	n      int               // requests so far
	// fail, where set, may answer the n-th request itself. It gets the events and a function that stores them.
	fail func(n int, w http.ResponseWriter, events []json.RawMessage, store func(i int)) (answered bool)
}

func newCollect(t *testing.T) *collect {
	t.Helper()
	c := &collect{stored: map[string]string{}, times: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *collect) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/collect" || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if body[0] != '[' {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	var events []json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"receipts":[{"index":0,"status":"dead_lettered","code":"not_json","message":"the body is not JSON"}]}`)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	store := func(i int) {
		var e struct{ ID, Source string }
		if err := json.Unmarshal(events[i], &e); err != nil {
			panic(err)
		}
		c.stored[e.Source+" "+e.ID] = string(events[i])
		c.times[e.Source+" "+e.ID]++
	}
	if c.fail != nil && c.fail(c.n, w, events, store) {
		return
	}
	var receipts []string
	for i := range events {
		store(i)
		receipts = append(receipts, fmt.Sprintf(`{"index":%d,"status":"accepted"}`, i))
	}
	fmt.Fprintf(w, `{"receipts":[%s]}`, strings.Join(receipts, ","))
}

// console is standard output or error, which several goroutines write to.
type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// call runs the command as main does, but for signals and the pauses between resends.
func call(ctx context.Context, t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs console
	var c Config
	if err := c.parse(args); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	p := newProducer(c, &out, &errs)
	p.backoffMin, p.backoffMax = time.Millisecond, 5*time.Millisecond
	if err := p.produce(ctx); err != nil {
		fmt.Fprintln(&errs, "produce:", err)
		code = 1
	}
	return code, out.String(), errs.String()
}

func realFile(t *testing.T, name string) string {
	t.Helper()
	p := filepath.Join("../../../shared/data", name)
	if _, err := os.Stat(p); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the real data set %s is not here", name)
	}
	return p
}

func visits(t *testing.T, rows int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("host\tlogname\ttime\tmethod\turl\tresponse\tbytes\treferer\tuseragent\n")
	for i := range rows {
		fmt.Fprintf(&b, "h%d\t-\t807256800\tGET\t/\t200\t1\t\t\n", i)
	}
	p := filepath.Join(t.TempDir(), "log of a day.tsv")
	if err := os.WriteFile(p, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// Guards against losing or doubling any of the 100,000 real trips on their way through HTTP, in batches and side by side, while
// the collector is busy, breaks connections after storing, and fails.
func TestRealTripsArriveOnceEach(t *testing.T) {
	file := realFile(t, "nyc_taxi/yellow_tripdata_2023-01_first100k.parquet")
	c := newCollect(t)
	c.fail = func(n int, w http.ResponseWriter, events []json.RawMessage, store func(int)) bool {
		switch n % 20 {
		case 3: // every second event is busy
			var receipts []string
			for i := range events {
				status := "busy"
				if i%2 == 0 {
					status = "accepted"
					store(i)
				}
				receipts = append(receipts, fmt.Sprintf(`{"index":%d,"status":%q}`, i, status))
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, `{"receipts":[%s]}`, strings.Join(receipts, ","))
			return true
		case 7: // stored, and the connection is cut before the answer
			for i := range events {
				store(i)
			}
			panic(http.ErrAbortHandler)
		case 11:
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	}
	code, out, errs := call(t.Context(), t, "--collect", c.URL, "-s", "0", "-m", "0", "--batch", "500", "--concurrency", "4", file)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if len(c.stored) != 100000 {
		t.Errorf("%d distinct events arrived", len(c.stored))
	}
	if !regexp.MustCompile(`(?m)^ +accepted +100000 `).MatchString(out) {
		t.Errorf("the table does not say 100000 accepted:\n%s", out)
	}
	doubled := 0
	for _, n := range c.times {
		if n > 1 {
			doubled++
		}
	}
	if doubled == 0 {
		t.Error("no event was sent twice: the cut connections did not happen")
	}
}

// Guards against identities or bytes that differ from run to run, whatever the batches are.
func TestRunningTwiceSendsTheSame(t *testing.T) {
	file := visits(t, 300)
	for _, args := range [][]string{{file}, {"generate", "--bad-share", "0.2", "--bad-kinds", "too_far,wrong_type", "--count", "300"}} {
		c := newCollect(t)
		if code, _, errs := call(t.Context(), t, append(args, "--collect", c.URL, "-s", "0", "--batch", "7")...); code != 0 {
			t.Fatal(errs)
		}
		first := maps.Clone(c.stored)
		if code, _, errs := call(t.Context(), t, append(args, "--collect", c.URL+"/", "-s", "0", "--concurrency", "3")...); code != 0 {
			t.Fatal(errs)
		}
		if len(first) != 300 || !maps.Equal(first, c.stored) {
			t.Errorf("%v: %d events, then %d", args[0], len(first), len(c.stored))
		}
		for k, n := range c.times {
			if n != 2 {
				t.Errorf("%s arrived %d times in two runs", k, n)
			}
		}
		for k := range first {
			if args[0] == file && !strings.HasPrefix(k, "/produce/log%20of%20a%20day.tsv ") {
				t.Fatalf("identity %q", k)
			}
		}
	}
}

// Guards against a broken download that sends part of itself, or that fails without saying which file and why.
func TestBrokenFilesSendNothingAndAreNamed(t *testing.T) {
	for name, want := range map[string]string{
		"bad_html403_named_yellow_2022-01.parquet":            "HTML page",
		"bad_s3accessdenied_xml_named_yellow_2024-01.parquet": "AccessDenied",
		"bad_truncated_yellow_2024-01.parquet":                "truncated",
	} {
		t.Run(name, func(t *testing.T) {
			file := realFile(t, "nyc_taxi/"+name)
			server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
			defer server.Close()
			for _, where := range []string{file, server.URL + "/" + name} {
				c := newCollect(t)
				code, _, errs := call(t.Context(), t, "--collect", c.URL, "-s", "0", where)
				if code != 1 || !strings.Contains(errs, name) || !strings.Contains(errs, want) {
					t.Errorf("%s: exit %d, %s; want it to name the file and to say %q", where, code, errs, want)
				}
				if c.n != 0 {
					t.Errorf("%s: %d requests were made", where, c.n)
				}
			}
		})
	}
}

// Guards against an exit code of 0 with events that have no receipt, and against a run that says no way to go on.
func TestExitCodeTellsWhatIsOpen(t *testing.T) {
	busy := func(int, http.ResponseWriter, []json.RawMessage, func(int)) bool { return false }
	f := func(name string, fail func(int, http.ResponseWriter, []json.RawMessage, func(int)) bool, wantCode int, want ...string) {
		t.Run(name, func(t *testing.T) {
			c := newCollect(t)
			c.fail = fail
			code, out, errs := call(t.Context(), t, "--collect", c.URL, "-s", "0", "--retry-for", "20ms", "--skip", "10", "-m", "50", visits(t, 100))
			if code != wantCode {
				t.Errorf("exit %d, want %d", code, wantCode)
			}
			for _, w := range want {
				if !strings.Contains(out+errs, w) {
					t.Errorf("%q is missing from\n%s%s", w, out, errs)
				}
			}
		})
	}
	f("all is well", busy, 0, "accepted      50")
	f("dead-lettered by collect", func(_ int, w http.ResponseWriter, _ []json.RawMessage, _ func(int)) bool {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"receipts":[{"index":0,"status":"dead_lettered","code":"bad_top_level","message":"why","hint":"do this"}]}`)
		return true
	}, 0, "bad_top_level: 50, first at row 11: why (do this)")
	f("busy for ever", func(n int, w http.ResponseWriter, _ []json.RawMessage, _ func(int)) bool {
		if n <= 5 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"receipts":[{"index":0,"status":"busy","code":"kafka_unavailable"}]}`)
		return true
	}, 1, "gave up", "busy: not written", "--skip 15 -m 45")
	f("too large", func(n int, w http.ResponseWriter, _ []json.RawMessage, _ func(int)) bool {
		if n != 5 {
			return false
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	}, 1, "1 events were refused", "first at row 15")
	f("not collect", func(_ int, w http.ResponseWriter, _ []json.RawMessage, _ func(int)) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	}, 1, "no event can pass there")
}

// Guards against an interrupt that loses count: what was under way has its receipt, and the rest can be sent by what the run says.
func TestInterruptedRunCanBeContinued(t *testing.T) {
	file := visits(t, 400)
	c := newCollect(t)
	ctx, interrupt := context.WithCancel(t.Context())
	c.fail = func(n int, _ http.ResponseWriter, _ []json.RawMessage, _ func(int)) bool {
		if n == 20 {
			interrupt()
		}
		return false
	}
	code, out, errs := call(ctx, t, "--collect", c.URL, "-s", "0", "-m", "300", "--batch", "3", "--concurrency", "2", file)
	m := regexp.MustCompile(`--skip (\d+) -m (\d+)`).FindStringSubmatch(errs)
	if code != 1 || !strings.Contains(errs, "interrupted") || m == nil || !strings.Contains(out, "accepted") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	before := len(c.stored)
	if before < 60 || before > 75 {
		t.Errorf("%d events arrived before the interrupt took hold", before)
	}
	code, _, errs = call(t.Context(), t, "--collect", c.URL, "-s", "0", "--batch", "3", "--skip", m[1], "-m", m[2], file)
	if code != 0 || len(c.stored) != 300 {
		t.Errorf("exit %d, %d events in the end, want 300: %s", code, len(c.stored), errs)
	}
}

// Guards against rows that vanish: one that cannot be split is told with its line and fails the run, unless that is accepted.
func TestBadRowsFailTheRunUnlessAccepted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.csv")
	mapping := filepath.Join(t.TempDir(), "x.yaml")
	for p, content := range map[string]string{file: "a,b\n1,2\n3\nx,4\n", mapping: "event_type: T\nschema_version: 0-0-1\ncolumns: {a: {column: a, type: integer}}\n"} {
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, accept := range []bool{false, true} {
		c := newCollect(t)
		args := []string{"--collect", c.URL, "-s", "0", "--mapping", mapping, file}
		if accept {
			args = append(args, "--skip-bad-rows")
		}
		code, _, errs := call(t.Context(), t, args...)
		if want := map[bool]int{false: 1, true: 0}[accept]; code != want {
			t.Errorf("exit %d, want %d", code, want)
		}
		if !strings.Contains(errs, "x.csv:3: ") {
			t.Errorf("the bad row's line is not told: %s", errs)
		}
		var sent []string
		for _, e := range c.stored {
			_, payload, _ := strings.Cut(e, `"payload":`)
			sent = append(sent, payload)
		}
		slices.Sort(sent)
		if want := []string{`{"a":"x"}}`, `{"a":1}}`}; !slices.Equal(sent, want) {
			t.Errorf("sent %v, want %v", sent, want)
		}
	}
}

// Guards against a generator whose report and receipts do not add up, so that no test could check sums against them.
func TestGeneratedKindsAddUp(t *testing.T) {
	c := newCollect(t)
	code, out, errs := call(t.Context(), t, "generate", "--collect", c.URL, "-m", "2000", "--bad-share", "0.3", "--batch", "50")
	if code != 0 {
		t.Fatal(errs)
	}
	made, sum := map[string]int{}, 0
	for _, m := range regexp.MustCompile(`(?m)^(\w+) +(\d+) +(?:-|collect|enrich)$`).FindAllStringSubmatch(out, -1) {
		var n int
		if _, err := fmt.Sscan(m[2], &n); err != nil {
			t.Fatal(err)
		}
		made[m[1]] = n
		sum += n
	}
	if sum != 2000 || len(made) != 10 || made["good"] < 1300 || made["good"] > 1500 {
		t.Errorf("made %v, %d in all", made, sum)
	}
	if want := fmt.Sprintf("dead_lettered not_json: %d,", made["not_json"]); !strings.Contains(out, want) {
		t.Errorf("%q is missing from\n%s", want, out)
	}
}

// Guards against a dry run that sends, or that prints something else than would be sent.
func TestDryRunPrintsWhatWouldBeSent(t *testing.T) {
	c := newCollect(t)
	file := visits(t, 12)
	code, out, errs := call(t.Context(), t, "--collect", c.URL, "--dry-run", file)
	if code != 0 || c.n != 0 || strings.Count(out, "\n") != 10 {
		t.Errorf("exit %d, %d requests, printed\n%s%s", code, c.n, out, errs)
	}
	if code, _, errs := call(t.Context(), t, "--collect", c.URL, "-s", "0", file); code != 0 {
		t.Fatal(errs)
	}
	sent := slices.Collect(maps.Values(c.stored))
	for line := range strings.Lines(out) {
		if !slices.Contains(sent, strings.TrimSuffix(line, "\n")) {
			t.Errorf("printed, not sent: %s", line)
		}
	}
}

// Guards against a dry run that never ends where there is nothing to print: a data set without rows, or none behind --skip.
func TestDryRunOfNothingEnds(t *testing.T) {
	f := func(what string, args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		ended := make(chan string, 1)
		go func() {
			code, out, errs := call(ctx, t, append([]string{"--collect", "http://collect.test", "--dry-run"}, args...)...)
			ended <- fmt.Sprintf("exit %d, printed %q, %s", code, out, errs)
		}()
		select {
		case got := <-ended:
			if got != `exit 0, printed "", ` {
				t.Errorf("%s: %s", what, got)
			}
		case <-ctx.Done():
			t.Fatalf("%s: it does not end", what)
		}
	}
	f("no rows", visits(t, 0))
	f("all skipped", "--skip", "3", visits(t, 3))
	f("more skipped than there are", "-m", "5", "--skip", "100", visits(t, 3))
	f("more trips skipped than there are", "--skip", "100001", realFile(t, "nyc_taxi/yellow_tripdata_2023-01_first100k.parquet"))
}

// Guards against events that were never handed over being called "may be written", and against silence while nobody listens.
func TestNobodyListens(t *testing.T) {
	c := newCollect(t)
	c.Close()
	code, out, errs := call(t.Context(), t, "--collect", c.URL, "-s", "0", "--retry-for", "2s", "--batch", "3", visits(t, 3))
	for _, want := range []string{"3 events wait to be sent again: Post", "connection refused", "3 busy: not written; 0 unconfirmed", "gave up", "no_connection"} {
		if !strings.Contains(errs+out, want) {
			t.Errorf("%q is missing from\n%s%s", want, out, errs)
		}
	}
	if code != 1 || strings.Contains(errs, "no event waits") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// Guards against an outage of which nobody is told, or which fills a log: it is told at once, every few seconds while it lasts, and when it is over; what comes and goes is not told
// each time.
func TestOutageIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out console
		o := startOutage(&out)
		o.waiting(3, "refused")
		time.Sleep(2 * time.Second)
		o.waiting(5, "busy")
		time.Sleep(4 * time.Second) // one tick
		if o.events() != 5 {
			t.Errorf("%d wait", o.events())
		}
		o.waiting(1, "busy")
		o.waiting(0, "")
		o.waiting(2, "again") // 1 s after the tick: the next one tells
		o.waiting(0, "")
		o.waiting(2, "still")
		time.Sleep(5 * time.Second)
		o.waiting(0, "gave up")
		o.stop()
		want := "3 events wait to be sent again: refused\n" +
			"5 events wait to be sent again, for 5s now: busy\n" +
			"no event waits any more, after 6s\n" +
			"2 events wait to be sent again, for 4s now: still\n"
		if got := out.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// Guards against a redirect that turns the POST into a GET, whose 200 would then look like an answer.
func TestRedirectIsNotFollowedByAGet(t *testing.T) {
	c := newCollect(t)
	moved := httptest.NewServer(http.RedirectHandler(c.URL+"/api/v1/collect", http.StatusFound))
	defer moved.Close()
	if code, _, errs := call(t.Context(), t, "--collect", moved.URL, "-s", "0", visits(t, 3)); code != 1 || !strings.Contains(errs, "302") {
		t.Errorf("exit %d: %s", code, errs)
	}
	kept := httptest.NewServer(http.RedirectHandler(c.URL+"/api/v1/collect", http.StatusPermanentRedirect))
	defer kept.Close()
	if code, _, errs := call(t.Context(), t, "--collect", kept.URL, "-s", "0", visits(t, 3)); code != 0 || len(c.stored) != 3 {
		t.Errorf("exit %d, %d arrived: %s", code, len(c.stored), errs)
	}
}

// Guards against settings that are wrong being taken for something else, and against flags that lose to the environment.
func TestConfig(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit %d, %s; want 2 and %q", args, code, errs.String(), want)
		}
	}
	t.Setenv("DATA_URL", "")
	f("DATA_URL")
	f("one file", "a", "b")
	f("exclude each other", "a", "-s", "1", "--rate", "5")
	f("--batch", "a", "--batch", "0")
	f("--concurrency", "a", "--concurrency", "0")
	f("--sleep-time", "a", "-s", "-1")
	f("--sleep-time", "a", "-s", "NaN")
	f("--collect", "a", "--collect", "collect:80")
	f("--source", "a", "--source", "a b")
	f("comes first", "--seed", "1", "generate")
	f("no arguments", "generate", "a")
	f("--bad-share", "generate", "--bad-share", "2")
	f("no kind", "generate", "--bad-kinds", "worse")
	f("--start", "generate", "--start", "now")
	t.Setenv("DATA_URL", "/none/of.csv")
	t.Setenv("COLLECT_URL", "http://127.0.0.1:1")
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, &out, &errs); code != 1 || !strings.Contains(errs.String(), "/none/of.csv") {
		t.Errorf("DATA_URL: exit %d, %s", code, errs.String())
	}
	errs.Reset()
	if code := run(t.Context(), []string{"/other.csv"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "/other.csv") {
		t.Errorf("the argument does not win: exit %d, %s", code, errs.String())
	}
	for _, args := range [][]string{{"--help"}, {"generate", "-h"}} {
		out.Reset()
		if code := run(t.Context(), args, &out, &errs); code != 0 || !strings.Contains(out.String(), "--seed 1") && !strings.Contains(out.String(), "--dry-run -m 3") {
			t.Errorf("%v: exit %d\n%s", args, code, out.String())
		}
	}
}
