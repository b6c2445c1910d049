package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// sent is an event as a collector reads it.
type sent struct {
	EventType     string `json:"event_type"`
	SchemaVersion string `json:"schema_version"`
	Source, ID    string
	Time          string
	Payload       json.RawMessage
}

// collector takes events in, and answers as collect does; refuse names events that it calls dead letters.
func collector(t *testing.T, refuse func(id string) bool) (address string, ids func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	got := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var events []sent
		if body[0] != '[' {
			body = []byte("[" + string(body) + "]")
		}
		if err := json.Unmarshal(body, &events); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		var receipts []string
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			status := "accepted"
			if refuse(e.ID) {
				status = "dead_lettered"
			}
			got[e.ID]++
			receipts = append(receipts, fmt.Sprintf(`{"status":%q}`, status))
		}
		answer := `{"receipts":[` + strings.Join(receipts, ",") + `]}`
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), func() map[string]int { mu.Lock(); defer mu.Unlock(); return got }
}

// Guards what every figure rests on: each event is sent once, under the identity that ID names, in the batches asked for and at a pace; and the answers are counted.
func TestSend(t *testing.T) {
	for _, batch := range []int{1, 7} {
		address, ids := collector(t, func(string) bool { return false })
		answered := make(chan int, 100)
		r, err := Send(t.Context(), Options{
			Address: address, Path: "/", Name: "x", First: 95, Events: 20, Batch: batch, Connections: 3, Rate: 2000, Receipts: true,
			Answered: func(first int, _ time.Time) { answered <- first },
		})
		if err != nil || r.Events != 20 {
			t.Fatalf("%d events, %v", r.Events, err)
		}
		got := ids()
		for i := 95; i < 115; i++ {
			if got[ID("x", i)] != 1 {
				t.Errorf("%s came %d times", ID("x", i), got[ID("x", i)])
			}
		}
		if len(got) != 20 || len(answered) != (20+batch-1)/batch {
			t.Errorf("%d events in %d requests", len(got), len(answered))
		}
	}
}

// Guards against figures of a load that lost events: one that is not accepted, and one that is not answered, end it with an error.
func TestSendFails(t *testing.T) {
	address, _ := collector(t, func(id string) bool { return id == ID("x", 13) })
	o := Options{Address: address, Path: "/", Name: "x", Events: 1000, Batch: 5, Connections: 2, Receipts: true}
	if r, err := Send(t.Context(), o); err == nil || !strings.Contains(err.Error(), "4 of 5") {
		t.Errorf("%d events, %v", r.Events, err)
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	o.Address = strings.TrimPrefix(s.URL, "http://")
	if r, err := Send(t.Context(), o); err == nil || !strings.Contains(err.Error(), "404") || r.Events != 0 {
		t.Errorf("%d events, %v", r.Events, err)
	}
}

// Guards the events: all hold against the shipped contract, so that no figure is one of dead letters, and weigh about 1 KB.
func TestBody(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for i := range variants {
		b := Body(nil, "x", "2026-01-01T00:00:00Z", i, 1)
		var e sent
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		if len(b) < 900 || len(b) > 1100 || e.ID != ID("x", i) || e.Source != Source {
			t.Fatalf("%d bytes: %s", len(b), b)
		}
		c, ok := set.Find(e.EventType, e.SchemaVersion)
		if !ok {
			t.Fatal("no contract")
		}
		if wrong := c.Check(e.Payload); len(wrong) > 0 {
			t.Fatalf("%v: %s", wrong, b)
		}
	}
	if event.Identity(Source, ID("x", 1)) == event.Identity(Source, ID("x", 2)) {
		t.Error("two events are one")
	}
}

// Guards against a load that ends where Kafka was slow for a moment: what is answered 503 is sent again, under the same identity, and told.
func TestSendAgain(t *testing.T) {
	var mu sync.Mutex
	bodies := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies[string(body)]++
		if len(bodies) == 1 && bodies[string(body)] == 1 {
			w.Header().Set("Content-Length", "2")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "{}")
			return
		}
		w.Header().Set("Content-Length", "0")
	}))
	defer s.Close()
	r, err := Send(t.Context(), Options{Address: strings.TrimPrefix(s.URL, "http://"), Path: "/", Name: "x", Events: 5, Batch: 1, Connections: 1})
	if err != nil || r.Events != 5 || r.Resent != 1 || len(bodies) != 5 {
		t.Errorf("%+v of %d bodies, %v", r, len(bodies), err)
	}
}
