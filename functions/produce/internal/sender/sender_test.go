package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/tally"
)

// rows gives records 1 to n, and before some of them an error.
type rows struct {
	next, n int64
	errs    map[int64]error
	alone   map[int64]bool
}

func (r *rows) Next(context.Context) (record.Record, error) {
	if r.next >= r.n {
		return record.Record{}, io.EOF
	}
	r.next++
	if err := r.errs[r.next]; err != nil {
		return record.Record{}, err
	}
	id := "f-" + strconv.FormatInt(r.next, 10)
	return record.Record{Row: r.next, ID: id, Body: []byte(`{"id":"` + id + `"}`), Alone: r.alone[r.next]}, nil
}

// collect is a collector that is told how to answer each request, and otherwise accepts.
type collect struct {
	mu       sync.Mutex
	requests [][]string // the ids of each
	at       []time.Duration
	begin    time.Time
	answer   func(n int, ids []string) (*http.Response, error)
}

func (c *collect) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if body[0] == '{' {
		body = []byte("[" + string(body) + "]")
	}
	var events []struct{ ID string }
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	c.mu.Lock()
	n := len(c.requests)
	c.requests = append(c.requests, ids)
	c.at = append(c.at, time.Since(c.begin))
	c.mu.Unlock()
	if c.answer != nil {
		if resp, err := c.answer(n, ids); resp != nil || err != nil {
			return resp, err
		}
	}
	return receipts(200, ids, nil), nil
}

// receipts answers each id with accepted, or what other says.
func receipts(code int, ids []string, other map[string]string) *http.Response {
	var list []string
	for i, id := range ids {
		status := "accepted"
		if s := other[id]; s != "" {
			status = s
		}
		list = append(list, fmt.Sprintf(`{"index":%d,"id":%q,"status":%q}`, i, id, status))
	}
	return reply(code, `{"receipts":[`+strings.Join(list, ",")+`]}`)
}

func reply(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func options(c *collect) Options {
	c.begin = time.Now()
	return Options{
		URL: "http://collect.test/api/v1/collect", Client: &http.Client{Transport: c, Timeout: 10 * time.Second}, Batch: 4, Concurrency: 1,
		RetryFor: time.Minute, BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second, Grace: 5 * time.Second,
	}
}

func count(t *testing.T, counts *tally.Tally, want map[tally.Status]int64) {
	t.Helper()
	for _, s := range tally.Statuses {
		if got := counts.Count(s); got != want[s] {
			t.Errorf("%d events are %s, want %d", got, s, want[s])
		}
	}
}

// Guards against resending what is already durable, and against coming back earlier than Retry-After asks.
func TestOnlyBusyAndUnconfirmedAreResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{}
		c.answer = func(n int, ids []string) (*http.Response, error) {
			if n > 0 {
				return nil, nil
			}
			r := receipts(503, ids, map[string]string{"f-2": "busy", "f-3": "unconfirmed", "f-4": "dead_lettered"})
			r.Header.Set("Retry-After", "7")
			return r, nil
		}
		counts := tally.New()
		res, err := Run(t.Context(), &rows{n: 4}, counts, options(c))
		if err != nil {
			t.Fatal(err)
		}
		if want := [][]string{{"f-1", "f-2", "f-3", "f-4"}, {"f-2", "f-3"}}; !slices.EqualFunc(c.requests, want, slices.Equal) {
			t.Errorf("requests %v, want %v", c.requests, want)
		}
		if c.at[1] < 7*time.Second {
			t.Errorf("came back after %s, Retry-After was 7 s", c.at[1])
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 3, tally.DeadLettered: 1})
		if want := (Result{Taken: 4, Through: 4, Done: 4}); res != want {
			t.Errorf("result %+v, want %+v", res, want)
		}
	})
}

// Guards against counting as sent what only was handed to a connection: each of these answers leaves the batch, or a part of it, unknown.
func TestWhatHasNoReceiptIsResentWhole(t *testing.T) {
	f := func(name string, answer func(ids []string) (*http.Response, error), want []string) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
					if n > 0 {
						return nil, nil
					}
					return answer(ids)
				}}
				counts := tally.New()
				if _, err := Run(t.Context(), &rows{n: 3}, counts, options(c)); err != nil {
					t.Fatal(err)
				}
				if len(c.requests) != 2 || !slices.Equal(c.requests[1], want) {
					t.Errorf("requests %v, want the second to be %v", c.requests, want)
				}
				count(t, counts, map[tally.Status]int64{tally.Accepted: 3})
			})
		})
	}
	all := []string{"f-1", "f-2", "f-3"}
	status := func(code int, body string) func([]string) (*http.Response, error) {
		return func([]string) (*http.Response, error) { return reply(code, body), nil }
	}
	f("the connection breaks", func([]string) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, all)
	f("the answer breaks off", func(ids []string) (*http.Response, error) {
		r := reply(200, "")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"receipts":[{"index":0,"status":"accepted"}`), broken{}))
		return r, nil
	}, all)
	for _, code := range []int{408, 425, 429, 500, 502, 503, 504} {
		f(strconv.Itoa(code), status(code, "no"), all)
	}
	f("accepted by something else", status(202, ""), all)
	f("an HTML page", status(200, "<html>"), all)
	f("a receipt is missing", status(200, `{"receipts":[{"index":0,"status":"accepted"},{"index":2,"status":"accepted"}]}`), []string{"f-2"})
	f("an index out of range", status(200, `{"receipts":[{"index":0,"status":"accepted"},{"index":1,"status":"accepted"},{"index":-1,"status":"accepted"},{"index":3,"status":"accepted"}]}`), []string{"f-3"})
	f("a status unknown", status(200, `{"receipts":[{"index":0,"status":"accepted"},{"index":1,"status":"fine"},{"index":2,"status":"accepted"}]}`), []string{"f-2"})
	f("another's id", status(200, `{"receipts":[{"index":0,"id":"f-1","status":"accepted"},{"index":1,"id":"f-9","status":"accepted"},{"index":2,"id":"f-3","status":"accepted"}]}`), []string{"f-2"})
	f("two receipts that differ", status(200, `{"receipts":[{"index":0,"status":"busy"},{"index":0,"status":"accepted"},{"index":1,"status":"accepted"},{"index":2,"status":"accepted"}]}`), []string{"f-1"})
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Guards against calling events that no connection was there for "may be written", and against counts of those that wait that do not come back to nothing: whoever is told would wait for
// ever. The last of the batches is given up.
func TestWhatWaitsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{}
		o := options(c)
		o.Concurrency, o.Batch = 2, 3
		refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		c.answer = func(_ int, ids []string) (*http.Response, error) {
			if at := time.Since(c.begin); at < 10*time.Second || slices.Contains(ids, "f-7") {
				return nil, refused
			}
			return nil, nil
		}
		var told []int64
		var why []string
		o.OnWait = func(n int64, reason string) { told, why = append(told, n), append(why, reason) }
		counts := tally.New()
		result, err := Run(t.Context(), &rows{n: 7}, counts, o)
		if err != nil || result.GaveUp == nil {
			t.Fatalf("%+v, %v", result, err)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 6, tally.Busy: 1})
		if want := []int64{3, 6, 3, 4, 1, 0}; len(told) != len(want) || told[0] != 3 || told[1] != 6 || slices.Max(told) > 7 || told[5] != 0 {
			t.Errorf("waiting %d", told)
		}
		if !strings.Contains(why[0], "connection refused") || why[len(why)-1] != "gave up" || !slices.Contains(why, "") {
			t.Errorf("why: %q", why)
		}
	})
}

// Guards against retrying for ever, and against going on with the next batch when the collector has been away all the time.
func TestGivesUpAfterRetryForAndTakesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			if n == 0 {
				return nil, nil
			}
			return receipts(503, ids, map[string]string{"f-5": "busy", "f-6": "unconfirmed", "f-7": "busy", "f-8": "busy"}), nil
		}}
		counts := tally.New()
		res, err := Run(t.Context(), &rows{n: 1000}, counts, options(c))
		if err != nil {
			t.Fatal(err)
		}
		if res.GaveUp == nil || res.Through != 4 {
			t.Errorf("result %+v, want to have given up after row 4", res)
		}
		if last := c.at[len(c.at)-1]; last > time.Minute {
			t.Errorf("still trying after %s", last)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 4, tally.Busy: 3, tally.Unconfirmed: 1})
		if res.Taken != counts.Total() {
			t.Errorf("%d taken, %d with an outcome", res.Taken, counts.Total())
		}
	})
}

// Guards against calling an event "not written" because the last of several tries said busy, when an earlier one may have written it.
func TestUnconfirmedOutweighsALaterBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			if n == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return receipts(503, ids, map[string]string{"f-1": "busy"}), nil
		}}
		counts := tally.New()
		if _, err := Run(t.Context(), &rows{n: 1}, counts, options(c)); err != nil {
			t.Fatal(err)
		}
		count(t, counts, map[tally.Status]int64{tally.Unconfirmed: 1})
	})
}

// Guards against losing a batch's small events for one that is too large, and against retrying what can never pass.
func TestTooLargeBatchIsHalvedAndAnEventTooLargeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(_ int, ids []string) (*http.Response, error) {
			if slices.Contains(ids, "f-3") {
				return reply(413, "too large"), nil
			}
			return nil, nil
		}}
		counts := tally.New()
		res, err := Run(t.Context(), &rows{n: 8}, counts, options(c))
		if err != nil {
			t.Fatal(err)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 7, tally.Refused: 1})
		if len(c.requests) != 6 || res.Through != 8 {
			t.Errorf("requests %v, through row %d", c.requests, res.Through)
		}
	})
}

// Guards against sending a million events to an address that takes none.
func TestWrongAddressStopsTheRun(t *testing.T) {
	for _, code := range []int{301, 401, 403, 404, 405} {
		synctest.Test(t, func(t *testing.T) {
			c := &collect{answer: func(int, []string) (*http.Response, error) { return reply(code, "no such page"), nil }}
			counts := tally.New()
			o := options(c)
			o.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			res, err := Run(t.Context(), &rows{n: 1000}, counts, o)
			if err != nil {
				t.Fatal(err)
			}
			if res.Stopped == nil || len(c.requests) > 3 {
				t.Errorf("%d: %d requests, stopped: %v", code, len(c.requests), res.Stopped)
			}
			if counts.Total() != res.Taken || counts.Count(tally.Refused) != res.Taken {
				t.Errorf("%d: %d taken, %d refused", code, res.Taken, counts.Count(tally.Refused))
			}
		})
	}
	// A refusal that concerns the request only is counted, and the rest goes on.
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(n int, _ []string) (*http.Response, error) {
			if n == 0 {
				return reply(400, "bad"), nil
			}
			return nil, nil
		}}
		counts := tally.New()
		if _, err := Run(t.Context(), &rows{n: 8}, counts, options(c)); err != nil {
			t.Fatal(err)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 4, tally.Refused: 4})
	})
}

// Guards against an interrupt that drops what is under way, or that counts what was never sent.
func TestInterruptFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			switch n {
			case 2:
				interrupt()
				return receipts(503, ids, map[string]string{"f-9": "busy", "f-12": "unconfirmed"}), nil
			case 3: // the resend, after the interrupt
				return nil, nil
			}
			return nil, nil
		}}
		counts := tally.New()
		res, err := Run(ctx, &rows{n: 1000}, counts, options(c))
		if err != nil {
			t.Fatal(err)
		}
		if !res.Interrupted || res.Through != res.Taken || res.Taken < 12 || res.Taken > 16 {
			t.Errorf("result %+v", res)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: res.Taken})
	})
}

// Guards against an interrupted run that never ends because the collector does not answer.
func TestInterruptIsBoundedByTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			interrupt()
			return receipts(503, ids, map[string]string{"f-1": "busy"}), nil
		}}
		counts, begin := tally.New(), time.Now()
		o := options(c)
		o.Batch, o.RetryFor = 1, time.Hour
		res, err := Run(ctx, &rows{n: 10}, counts, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < o.Grace || d > o.Grace+time.Second {
			t.Errorf("ended %s after the interrupt, the grace is %s", d, o.Grace)
		}
		if res.Through != 0 || counts.Count(tally.Busy)+counts.Count(tally.Unconfirmed) < 1 || res.Taken != counts.Total() {
			t.Errorf("result %+v with %d outcomes", res, counts.Total())
		}
	})
}

// Guards against a rate that is not kept, and against a burst after a hold-up.
func TestRecordsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{}
		o := options(c)
		o.Interval, o.Batch, o.Max = 500*time.Millisecond, 2, 10
		res, err := Run(t.Context(), &rows{n: 1000}, tally.New(), o)
		if err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
		if !slices.Equal(c.at, want) || res.Taken != 10 {
			t.Errorf("requests at %v, want %v", c.at, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			if n == 0 {
				r := receipts(503, ids, map[string]string{"f-1": "busy"})
				r.Header.Set("Retry-After", "30")
				return r, nil
			}
			return nil, nil
		}}
		o := options(c)
		o.Interval, o.Batch = time.Second, 1
		if _, err := Run(t.Context(), &rows{n: 10}, tally.New(), o); err != nil {
			t.Fatal(err)
		}
		for i := 4; i < len(c.at); i++ {
			if gap := c.at[i] - c.at[i-1]; gap < time.Second {
				t.Errorf("request %d came %s after the one before: %v", i, gap, c.at)
			}
		}
	})
}

// Guards against one body that is not JSON making the good events of its batch unreadable.
func TestARecordThatStandsAloneIsSentAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{}
		if _, err := Run(t.Context(), &rows{n: 5, alone: map[int64]bool{3: true}}, tally.New(), options(c)); err != nil {
			t.Fatal(err)
		}
		if want := [][]string{{"f-1", "f-2"}, {"f-3"}, {"f-4", "f-5"}}; !slices.EqualFunc(c.requests, want, slices.Equal) {
			t.Errorf("requests %v, want %v", c.requests, want)
		}
	})
}

// Guards against one bad row ending the run, and against a damaged file passing for its end.
func TestBadRowsAreCountedAndADamagedFileIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{}
		counts, damage := tally.New(), errors.New("damaged")
		var told []int64
		o := options(c)
		o.OnBadRow = func(e *record.RowError) { told = append(told, e.Row) }
		in := &rows{n: 10, errs: map[int64]error{2: &record.RowError{Row: 2, Line: 3}, 7: damage}}
		res, err := Run(t.Context(), in, counts, o)
		if !errors.Is(err, damage) {
			t.Errorf("error %v, want the reader's", err)
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 5})
		if res.BadRows != 1 || res.Done != 5 || !slices.Equal(told, []int64{2}) || res.Through != 6 {
			t.Errorf("result %+v, told of rows %v", res, told)
		}
	})
}

// Guards against workers that trip over each other: every event once, whatever the order of the answers.
func TestManyRequestsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{answer: func(n int, ids []string) (*http.Response, error) {
			<-time.After(time.Duration(n%7) * time.Millisecond)
			if n%5 == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, nil
		}}
		counts := tally.New()
		o := options(c)
		o.Concurrency, o.Batch = 8, 3
		res, err := Run(t.Context(), &rows{n: 1000}, counts, o)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, ids := range c.requests {
			for _, id := range ids {
				seen[id] = true
			}
		}
		count(t, counts, map[tally.Status]int64{tally.Accepted: 1000})
		if len(seen) != 1000 || res.Through != 1000 {
			t.Errorf("%d distinct ids, through %d", len(seen), res.Through)
		}
	})
}

// Guards against misreading how long to stay away.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	f := func(v string, want time.Duration) {
		t.Helper()
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
	f("", 0)
	f("3", 3*time.Second)
	f("-3", 0)
	f("soon", 0)
	f("99999999999999999999", 0)
	f("Sat, 21 Nov 2026 12:00:05 GMT", 5*time.Second)
	f("Sat, 21 Nov 2026 11:00:00 GMT", 0)
}
