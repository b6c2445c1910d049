package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the proxy refuses must not reach Elasticsearch, what it lets through must, and each answer must stand in its document's place: an answer in another's place would be a loss that
// the proxy made.
func TestJudge(t *testing.T) {
	var reached string
	es := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		reached = string(b)
		io.WriteString(w, `{"took":3,"errors":false,"items":[{"create":{"_id":"a","status":201}},{"create":{"_id":"d","status":201}}]}`)
	}))
	defer es.Close()
	s, err := NewSearch(t.Context(), strings.TrimPrefix(es.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Judge(func(id string) Verdict { return map[string]Verdict{"b": Full, "c": Never}[id] })
	var body strings.Builder
	for _, id := range []string{"a", "b", "c", "d"} {
		body.WriteString(`{"create":{"_index":"i","_id":"` + id + "\"}}\n{}\n")
	}
	res, err := http.Post("http://"+s.Address()+"/_bulk", "application/x-ndjson", strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Errors bool
		Items  []map[string]struct {
			ID     string `json:"_id"`
			Status int
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		id     string
		status int
	}{{"a", 201}, {"b", 429}, {"c", 400}, {"d", 201}}
	if len(got.Items) != len(want) || !got.Errors {
		t.Fatalf("got %+v", got)
	}
	for i, w := range want {
		if item := got.Items[i]["create"]; item.ID != w.id || item.Status != w.status {
			t.Errorf("item %d is %+v, want %+v", i, item, w)
		}
	}
	if strings.Contains(reached, `"b"`) || strings.Contains(reached, `"c"`) || !strings.Contains(reached, `"d"`) {
		t.Errorf("Elasticsearch got %s", reached)
	}
	s.Judge(nil)
	s.Answer(http.StatusTooManyRequests)
	if res, err = http.Post("http://"+s.Address()+"/_bulk", "application/x-ndjson", strings.NewReader(body.String())); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTooManyRequests || s.Answered.Load() != 1 {
		t.Errorf("got %s, %d counted", res.Status, s.Answered.Load())
	}
}

// A request that finds no Elasticsearch must break, as it does without a proxy, and be counted: it is what shows that Elasticsearch was away.
func TestAway(t *testing.T) {
	s, err := NewSearch(t.Context(), "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if res, err := http.Get("http://" + s.Address() + "/"); err == nil {
		res.Body.Close()
		t.Errorf("got %s", res.Status)
	}
	if n := s.Away.Load(); n == 0 {
		t.Error("not counted")
	}
	if s.Forget(); s.Away.Load() != 0 {
		t.Error("not forgotten")
	}
}
