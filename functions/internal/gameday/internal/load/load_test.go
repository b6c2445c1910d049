package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

type sent struct {
	ID string `json:"id"`
}

// A receipt that is busy, unconfirmed or missing must bring its event again, and only it, under the same identity; each answer must be counted for the event it was given. A load
// that forgot an event, or believed another's receipt, would hide a loss.
func TestResends(t *testing.T) {
	var mu sync.Mutex
	tries := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []sent
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &events); err != nil {
			return // a request that was broken off
		}
		mu.Lock()
		defer mu.Unlock()
		var receipts []string
		for i, e := range events {
			tries[e.ID]++
			status := "accepted"
			if tries[e.ID] == 1 {
				status = map[string]string{"1": "busy", "2": "unconfirmed", "3": "dead_lettered"}[e.ID]
			}
			if e.ID == "4" && tries[e.ID] == 1 {
				continue // no receipt
			}
			if status == "" {
				status = "accepted"
			}
			root := "r" + e.ID
			if e.ID == "6" && tries[e.ID] == 1 {
				root, status = "another's", "dead_lettered"
			}
			receipts = append(receipts, fmt.Sprintf(`{"index":%d,"root_id":%q,"status":%q}`, i, root, status))
		}
		fmt.Fprintf(w, `{"receipts":[`)
		for i, r := range receipts {
			io.WriteString(w, []string{"", ","}[min(i, 1)]+r)
		}
		fmt.Fprintf(w, `]}`)
	}))
	defer srv.Close()
	l := Start(t.Context(), Options{
		URL: srv.URL + "/", Count: 8, Rate: 1000, Batch: 4, Workers: 2, Patience: time.Minute,
		Make: func(i int) Event {
			return Event{RootID: fmt.Sprintf("r%d", i), Body: fmt.Appendf(nil, `{"id":"%d"}`, i)}
		},
		Abandon: func(b int) float64 { return []float64{0, 0.5}[b] },
	})
	items, wrong := l.Result()
	if len(wrong) != 1 || !strings.Contains(wrong[0], "event r6") {
		t.Errorf("wrong: %q", wrong)
	}
	want := map[int]Item{
		0: {RootID: "r0", Final: Accepted, Answers: [Statuses]int{Accepted: 1}},
		1: {RootID: "r1", Final: Accepted, Answers: [Statuses]int{Accepted: 1, Busy: 1}},
		2: {RootID: "r2", Final: Accepted, Answers: [Statuses]int{Accepted: 1, Unconfirmed: 1}},
		3: {RootID: "r3", Final: DeadLettered, Answers: [Statuses]int{DeadLettered: 1}},
		4: {RootID: "r4", Final: Accepted, Answers: [Statuses]int{Accepted: 1, NoAnswer: 2}}, // broken off, and then without a receipt
		5: {RootID: "r5", Final: Accepted, Answers: [Statuses]int{Accepted: 1, NoAnswer: 1}},
		6: {RootID: "r6", Final: Accepted, Answers: [Statuses]int{Accepted: 1, NoAnswer: 2}}, // broken off, and then another event's receipt
	}
	for i, w := range want {
		if got := items[i]; got.RootID != w.RootID || got.Final != w.Final || got.Answers != w.Answers {
			t.Errorf("event %d: %+v, want %+v", i, got, w)
		}
	}
	if l.Waiting(time.Now()) != 0 {
		t.Error("batches wait after the end")
	}
}

// What is due while nobody answers must be sent once somebody does, and must show as waiting until then.
func TestGivesUpOnlyAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := Start(ctx, Options{
		URL: "http://127.0.0.1:1/", Count: 4, Rate: 1000, Batch: 2, Workers: 2, Patience: time.Minute,
		Make: func(i int) Event { return Event{RootID: fmt.Sprint(i), Body: []byte(`{}`)} },
	})
	for {
		if n := l.Waiting(time.Now()); n == 2 {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	cancel()
	items, _ := l.Result()
	for _, it := range items {
		if it.Final != NoAnswer {
			t.Errorf("%+v was never answered", it)
		}
	}
}

// A load must not end before the fault that it is to show, and must end after it: else a fault that takes longer than planned breaks nothing.
func TestGoesOnUntil(t *testing.T) {
	until, many := make(chan struct{}), 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []sent
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, `{"receipts":[`)
		for i, e := range events {
			fmt.Fprintf(w, `%s{"index":%d,"root_id":"r%s","status":"accepted"}`, []string{"", ","}[min(i, 1)], i, e.ID)
		}
		fmt.Fprint(w, `]}`)
		if many += len(events); many >= 30 && many < 30+len(events) {
			close(until)
		}
	}))
	defer srv.Close()
	l := Start(t.Context(), Options{
		URL: srv.URL + "/", Count: 10, Until: until, Rate: 1000, Batch: 4, Workers: 1, Patience: time.Minute,
		Make: func(i int) Event {
			return Event{RootID: fmt.Sprintf("r%d", i), Body: fmt.Appendf(nil, `{"id":"%d"}`, i)}
		},
	})
	items, wrong := l.Result()
	if len(wrong) > 0 || len(items) < 30 || len(items) > 500 {
		t.Errorf("%d events, wrong %q", len(items), wrong)
	}
	for i, it := range items {
		if it.RootID != fmt.Sprintf("r%d", i) || it.Final != Accepted || it.Answers != [Statuses]int{Accepted: 1} {
			t.Errorf("event %d: %+v", i, it)
		}
	}
}
