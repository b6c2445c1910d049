package serve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

func allDone(events []*event.Event) delivery.Outcomes {
	o := delivery.NewOutcomes(len(events))
	for i := range events {
		o.Done(i)
	}
	return o
}

func quiet(o Options) Options {
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

func request(id, data string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(data))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Ce-Specversion", "1.0")
	r.Header.Set("Ce-Id", id)
	r.Header.Set("Ce-Source", "/test")
	r.Header.Set("Ce-Type", "T")
	return r
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Guards that each request is answered by its own event's outcome, never by a neighbour's, with no body (Knative would take one for a
// reply and send the event to the dead letter sink).
func TestEachRequestHasItsOwnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches [][]string
		gate := make(chan struct{})
		in := Events(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			o := delivery.NewOutcomes(len(events))
			var ids []string
			for i, e := range events {
				ids = append(ids, e.ID())
				switch {
				case e.ID() == "first":
					<-gate
					o.Done(i)
				case strings.HasPrefix(e.ID(), "good"):
					o.Done(i)
				case strings.HasPrefix(e.ID(), "later"):
					o.RetryAfter(i, errors.New("throttled"), 7*time.Second)
				} // what is not mentioned has failed
			}
			slices.Sort(ids)
			batches = append(batches, ids)
			return o
		}), quiet(Options{MaxConcurrentBatches: 1, MaxWait: time.Hour}))

		var wg sync.WaitGroup
		answers := map[string]*httptest.ResponseRecorder{}
		var mu sync.Mutex
		post := func(id string) {
			wg.Go(func() {
				w := send(in, request(id, "{}"))
				mu.Lock()
				defer mu.Unlock()
				answers[id] = w
			})
		}
		post("first")
		synctest.Wait()
		for _, id := range []string{"good1", "bad1", "later1", "good2"} {
			post(id)
		}
		synctest.Wait()
		close(gate) // frees the one slot: all that waited is complete, and leaves as one batch
		wg.Wait()

		if want := [][]string{{"first"}, {"bad1", "good1", "good2", "later1"}}; !slices.EqualFunc(batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", batches, want)
		}
		for id, w := range answers {
			ok := w.Code/100 == 2
			if want := strings.HasPrefix(id, "good") || id == "first"; ok != want {
				t.Errorf("%s answered %d", id, w.Code)
			}
			if !ok && w.Code != 429 && w.Code != 503 {
				t.Errorf("%s: %d is none that Knative retries", id, w.Code)
			}
			if w.Body.Len() != 0 {
				t.Errorf("%s has the body %q", id, w.Body)
			}
		}
		if got := answers["later1"].Header().Get("Retry-After"); got != "7" {
			t.Errorf("Retry-After %q, want 7", got)
		}
		if in.admission.Held() != 0 {
			t.Errorf("%d bytes still admitted", in.admission.Held())
		}
	})
}

// Guards the latency of a lone request: nobody else is there, so waiting for a fuller batch would only cost time. synctest's
// clock would show any wait.
func TestLoneRequestDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := Events(delivery.HandlerFunc(func(_ context.Context, e []*event.Event) delivery.Outcomes { return allDone(e) }),
			quiet(Options{MaxWait: time.Hour}))
		start := time.Now()
		if w := send(in, request("1", "{}")); w.Code/100 != 2 {
			t.Errorf("answered %d", w.Code)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("waited %s", d)
		}
	})
}

// Guards that an event waits MaxWait and no longer while another batch is under way, and that a full batch does not wait at all.
func TestBatchLeavesInTimeOrFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		sizes := make(chan int, 10)
		in := Events(delivery.HandlerFunc(func(_ context.Context, e []*event.Event) delivery.Outcomes {
			sizes <- len(e)
			<-gate
			return allDone(e)
		}), quiet(Options{MaxWait: 20 * time.Millisecond, MaxConcurrentBatches: 5, MaxBatch: 3}))
		var wg sync.WaitGroup
		post := func(id string) {
			wg.Go(func() { send(in, request(id, "{}")) })
			synctest.Wait()
		}
		start := time.Now()
		post("a") // alone: at once
		post("b")
		post("c") // wait: a is open too
		if len(sizes) != 1 {
			t.Fatalf("%d batches before MaxWait, want 1", len(sizes))
		}
		time.Sleep(20 * time.Millisecond) // synctest's clock
		synctest.Wait()
		if len(sizes) != 2 {
			t.Fatalf("%d batches after MaxWait, want 2", len(sizes))
		}
		post("d")
		post("e")
		post("f") // full
		close(gate)
		wg.Wait()
		close(sizes)
		var got []int
		for n := range sizes {
			got = append(got, n)
		}
		if want := []int{1, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
		if d := time.Since(start); d != 20*time.Millisecond {
			t.Errorf("took %s", d)
		}
	})
}

// Guards a batch against the one client that hangs up: the batch's context must live on, and all be answered, since who closed only
// its sending side still listens.
func TestClientGoneLeavesBatchAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var handled int
		in := Events(delivery.HandlerFunc(func(ctx context.Context, e []*event.Event) delivery.Outcomes {
			<-gate
			if ctx.Err() != nil {
				t.Error("the batch's context ended with a request")
			}
			handled += len(e)
			return allDone(e)
		}), quiet(Options{MaxConcurrentBatches: 1}))
		var wg sync.WaitGroup
		codes := make([]int, 3)
		ctx, hangUp := context.WithCancel(t.Context())
		for i := range codes {
			wg.Go(func() {
				r := request(fmt.Sprint(i), "{}")
				if i == 1 {
					r = r.WithContext(ctx)
				}
				codes[i] = send(in, r).Code
			})
		}
		synctest.Wait()
		hangUp()
		synctest.Wait()
		close(gate)
		wg.Wait()
		if err := in.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if handled != 3 || codes[0] != 202 || codes[1] != 202 || codes[2] != 202 {
			t.Errorf("%d handled, answers %v", handled, codes)
		}
		if in.admission.Held() != 0 {
			t.Errorf("%d bytes still admitted", in.admission.Held())
		}
	})
}

// Guards against the 200 that net/http sends for a handler that wrote nothing: a client that closes its sending side ends the request's context, and
// still waits for its own event's answer; one whose body breaks off must not be told that it was taken.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	gone := make(chan struct{}, 3)
	in := Events(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		<-gone // the request's context has ended
		o := delivery.NewOutcomes(len(events))
		for i, e := range events {
			if e.ID() == "done" {
				o.Done(i)
			} else {
				o.Retry(i, errors.New("no Elasticsearch"))
			}
		}
		return o
	}), quiet(Options{}))
	ctx, signal := context.WithCancel(t.Context())
	url, done := start(t, ctx, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop := context.AfterFunc(r.Context(), func() { gone <- struct{}{} })
		defer stop()
		in.ServeHTTP(w, r)
	}))
	f := func(id string, length, want int) {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nCe-Specversion: 1.0\r\nCe-Id: %s\r\n"+
			"Ce-Source: /test\r\nCe-Type: T\r\nContent-Length: %d\r\n\r\n{}", id, length)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: answered %d, want %d", id, answer.StatusCode, want)
		}
	}
	f("done", 2, 202)
	f("not done", 2, 503)
	f("cut short", 9, 503)
	signal()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Guards the process against a bug in a handler, and the batch against being acknowledged because of it.
func TestPanicIsRetry(t *testing.T) {
	calls := 0
	in := Events(delivery.HandlerFunc(func(_ context.Context, e []*event.Event) delivery.Outcomes {
		if calls++; calls == 1 {
			panic("bug")
		}
		return allDone(e)
	}), quiet(Options{}))
	if w := send(in, request("1", "{}")); w.Code != 503 && w.Code != 429 {
		t.Errorf("answered %d after a panic", w.Code)
	}
	if w := send(in, request("1", "{}")); w.Code/100 != 2 {
		t.Errorf("answered %d after the next", w.Code)
	}
}

// Guards against a handler that loses count: no event may be acknowledged by an outcome that may be another's.
func TestWrongNumberOfOutcomesIsNoSuccess(t *testing.T) {
	for _, n := range []int{0, 2} {
		in := Events(delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes {
			return allDone(make([]*event.Event, n))
		}), quiet(Options{}))
		if w := send(in, request("1", "{}")); w.Code/100 == 2 {
			t.Errorf("%d outcomes for one event: answered %d", n, w.Code)
		}
	}
}

// Guards that what is no CloudEvent is acknowledged only once it is kept.
func TestUndecodable(t *testing.T) {
	never := delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { t.Error("handled"); return nil })
	bad := func() *http.Request {
		r := request("1", "junk")
		r.Header.Del("Ce-Source")
		return r
	}
	var kept string
	keep := func(_ context.Context, _ http.Header, body []byte, _ error) error { kept = string(body); return nil }
	fail := func(context.Context, http.Header, []byte, error) error { return errors.New("no Kafka") }
	for name, c := range map[string]struct {
		hook func(context.Context, http.Header, []byte, error) error
		want int
	}{"none": {nil, 400}, "kept": {keep, 202}, "not kept": {fail, 503}} {
		w := send(Events(never, quiet(Options{OnUndecodable: c.hook})), bad())
		if w.Code != c.want || w.Body.Len() != 0 {
			t.Errorf("%s: answered %d %q, want %d", name, w.Code, w.Body, c.want)
		}
	}
	if kept != "junk" {
		t.Errorf("kept %q", kept)
	}
	nested := request("1", "[]") // a record can have any content type
	nested.Header.Set("Content-Type", event.MediaBatch)
	if w := send(Events(never, quiet(Options{OnUndecodable: keep})), nested); w.Code != 202 || kept != "[]" {
		t.Errorf("an event of batches: answered %d, kept %q", w.Code, kept)
	}
}

// Guards the answers to requests that no event of ours can be.
func TestRefusals(t *testing.T) {
	in := Events(delivery.HandlerFunc(func(_ context.Context, e []*event.Event) delivery.Outcomes { return allDone(e) }),
		quiet(Options{MaxBody: 100, MaxBytes: 150}))
	f := func(name string, want int, change func(*http.Request)) {
		t.Helper()
		r := request("1", "{}")
		change(r)
		if w := send(in, r); w.Code != want || w.Body.Len() != 0 {
			t.Errorf("%s: answered %d %q, want %d", name, w.Code, w.Body, want)
		}
		if in.admission.Held() != 0 {
			t.Errorf("%s: %d bytes still admitted", name, in.admission.Held())
		}
	}
	body := func(b io.Reader, n int64) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(b), n }
	}
	f("fine", 202, func(*http.Request) {})
	f("method", 405, func(r *http.Request) { r.Method = http.MethodGet })
	f("batch", 415, func(r *http.Request) { r.Header = http.Header{"Content-Type": {event.MediaBatch}} })
	f("encoding", 415, func(r *http.Request) { r.Header.Set("Content-Encoding", "br") })
	f("length", 413, body(strings.NewReader(strings.Repeat("x", 101)), 101))
	f("chunked", 413, body(strings.NewReader(strings.Repeat("x", 101)), -1))
	large := strings.Repeat("x", freeHeader+1)
	f("large header beyond the room", 503, func(r *http.Request) { r.Header.Set("Ce-Large", large) })
	f("exactly the limit", 202, body(strings.NewReader(strings.Repeat("1", 100)), -1))
	f("broken off", 503, body(strings.NewReader("{"), 2))
}

// Guards memory: a request beyond the room is told to come again before its body is read, and the room comes back.
func TestAdmissionIsBeforeTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		in := Events(delivery.HandlerFunc(func(_ context.Context, e []*event.Event) delivery.Outcomes { <-gate; return allDone(e) }),
			quiet(Options{MaxBytes: 1000, MaxBody: 1000}))
		var wg sync.WaitGroup
		wg.Go(func() { send(in, request("1", strings.Repeat("1", 600))) })
		synctest.Wait()
		r := request("2", "")
		r.Body, r.ContentLength = io.NopCloser(readerFunc(func([]byte) (int, error) {
			t.Error("the body was read")
			return 0, io.EOF
		})), 600
		w := send(in, r)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("answered %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
		close(gate)
		wg.Wait()
		if w := send(in, request("2", strings.Repeat("1", 600))); w.Code != 202 {
			t.Errorf("answered %d when there was room again", w.Code)
		}
	})
}

// Guards the room for bodies against announcements: who says that much will come takes little of it until it does, and others pass.
func TestAnnouncedBodyTakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmission(32 << 20)
		gate := make(chan struct{})
		var wg sync.WaitGroup
		for range 100 {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Body, r.ContentLength = io.NopCloser(readerFunc(func([]byte) (int, error) { <-gate; return 0, io.ErrUnexpectedEOF })), 16<<20
			wg.Go(func() {
				if _, err := a.Read(r, 16<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("idle: %v", err)
				}
			})
		}
		synctest.Wait()
		for _, n := range []int{0, 1, wholeBody, wholeBody + 1, 3*wholeBody + 7, 16 << 20} {
			want := bytes.Repeat([]byte("x"), n)
			before := a.Held()
			b, err := a.Read(httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(want)), 16<<20)
			if err != nil {
				t.Fatalf("%d bytes beside those that do not come: %v", n, err)
			}
			if !bytes.Equal(b.Bytes, want) || cap(b.Bytes) > n+n/2+64 || a.Held() != before+int64(n) {
				t.Errorf("%d bytes came as %d in %d, %d admitted", n, len(b.Bytes), cap(b.Bytes), a.Held()-before)
			}
			b.Release()
		}
		close(gate)
		wg.Wait()
		if a.Held() != 0 {
			t.Errorf("%d bytes still admitted", a.Held())
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// Guards bodies against the pieces that are used again: each keeps its own bytes, whatever is read after it, also after its room was given back.
func TestBodiesKeepTheirBytes(t *testing.T) {
	a := NewAdmission(64 << 20)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			held := make(map[byte][]byte)
			for i := range 60 {
				size := []int{0, 1, wholeBody - 1, wholeBody, wholeBody + 1, 2 * wholeBody, 2*wholeBody + 1, 100_000, 4*wholeBody + 1, 300_000}[(i*7+worker)%10]
				fill := byte(worker*60 + i)
				body, err := a.Read(httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(bytes.Repeat([]byte{fill}, size))), 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				if len(body.Bytes) != size {
					t.Errorf("%d bytes, want %d", len(body.Bytes), size)
				}
				body.Release()
				held[fill] = body.Bytes
			}
			for fill, b := range held {
				if n := bytes.Count(b, []byte{fill}); n != len(b) {
					t.Errorf("%d of %d bytes are another body's", len(b)-n, len(b))
				}
			}
		})
	}
	wg.Wait()
}

// Guards both compressions, and memory against bodies that unfold beyond the limit.
func TestDecompression(t *testing.T) {
	pack := map[string]func([]byte) []byte{
		"gzip": func(b []byte) []byte {
			var out bytes.Buffer
			z := gzip.NewWriter(&out)
			_, _ = z.Write(b)
			_ = z.Close()
			return out.Bytes()
		},
		"zstd": func(b []byte) []byte { // a whole frame states its size
			z, _ := zstd.NewWriter(nil)
			return z.EncodeAll(b, nil)
		},
		"zstd stream": func(b []byte) []byte { // a stream does not
			var out bytes.Buffer
			z, _ := zstd.NewWriter(&out)
			_, _ = z.Write(b[:len(b)/2])
			_ = z.Flush()
			_, _ = z.Write(b[len(b)/2:])
			_ = z.Close()
			return out.Bytes()
		},
	}
	const limit = 1 << 20
	for name, pack := range pack {
		t.Run(name, func(t *testing.T) {
			a := NewAdmission(40 * limit)
			read := func(b []byte) (*Body, error) {
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(b))
				r.Header.Set("Content-Encoding", strings.Fields(name)[0])
				return a.Read(r, limit)
			}
			for _, n := range []int{0, 1, 100_000, limit} {
				want := bytes.Repeat([]byte("x"), n)
				b, err := read(pack(want))
				if err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				if !bytes.Equal(b.Bytes, want) || a.Held() != int64(n) {
					t.Errorf("%d bytes came as %d, %d admitted", n, len(b.Bytes), a.Held())
				}
				b.Release()
				b.Release()
			}
			if _, err := read(pack(bytes.Repeat([]byte("x"), limit+1))); !errors.Is(err, ErrBodyTooLarge) {
				t.Errorf("one byte over the limit: %v", err)
			}
			if _, err := read([]byte("not compressed")); !errors.Is(err, ErrCorrupt) {
				t.Errorf("junk: %v", err)
			}
			packed := pack([]byte("hello hello hello"))
			if _, err := read(packed[:len(packed)-3]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut short: %v", err)
			}
			if a.Held() != 0 {
				t.Errorf("%d bytes still admitted", a.Held())
			}
			full := NewAdmission(1000)
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(pack(bytes.Repeat([]byte("x"), 900))))
			r.Header.Set("Content-Encoding", strings.Fields(name)[0])
			if !full.take(500) {
				t.Fatal("no room at all")
			}
			if _, err := full.Read(r, 1000); !errors.Is(err, ErrNoRoom) {
				t.Errorf("unfolding without room: %v", err)
			}
			if full.Held() != 500 {
				t.Errorf("%d bytes admitted, want 500", full.Held())
			}
		})
	}
}

// Guards the drain: what waits is handed over at once, new requests are sent away, and a batch that hangs is told to stop in the end.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := Events(delivery.HandlerFunc(func(ctx context.Context, e []*event.Event) delivery.Outcomes {
			if e[0].ID() == "hangs" {
				<-ctx.Done()
			}
			return allDone(e)
		}), quiet(Options{MaxWait: time.Hour, Timeout: time.Hour}))
		var wg sync.WaitGroup
		wg.Go(func() { send(in, request("hangs", "{}")) })
		synctest.Wait()
		var waiting *httptest.ResponseRecorder
		wg.Go(func() { waiting = send(in, request("waits", "{}")) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := in.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain with a hanging batch: %v", err)
		}
		wg.Wait()
		if waiting.Code != 202 {
			t.Errorf("what waited was answered %d", waiting.Code)
		}
		if w := send(in, request("new", "{}")); w.Code != 503 {
			t.Errorf("a request after the drain was answered %d", w.Code)
		}
		if err := in.Drain(t.Context()); err != nil {
			t.Errorf("drain of an idle intake: %v", err)
		}
	})
}

// Guards the gatherer under real concurrency (run it with -race): every request is answered, every event handled once.
func TestManyRequests(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	in := Events(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			seen[e.ID()]++
			if event.Attr(e, event.RootID) == "" {
				t.Error("not derived")
			}
		}
		return allDone(events)
	}), quiet(Options{MaxBatch: 7, MaxWait: time.Millisecond}))
	srv := httptest.NewServer(in)
	defer srv.Close()
	var wg sync.WaitGroup
	for c := range 20 {
		wg.Go(func() {
			for i := range 50 {
				r := request(fmt.Sprintf("%d-%d", c, i), `{"a":1}`)
				r, err := http.NewRequestWithContext(t.Context(), r.Method, srv.URL, r.Body)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header = request(fmt.Sprintf("%d-%d", c, i), "").Header
				resp, err := srv.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != 202 {
					t.Errorf("answered %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != 1000 {
		t.Errorf("%d events, want 1000", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s handled %d times", id, n)
		}
	}
}
