package dashboards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// Guards what other people have in the same Superset, on whatever page of a list: only members of the bundle go, what uses something before what it uses, and one that is gone already stops nothing.
func TestRemove(t *testing.T) {
	const own = "11111111-1111-5111-8111-%012d"
	lists := map[string][]map[string]any{}
	for _, kind := range []string{"dashboard", "chart", "dataset", "database"} {
		for i := range 2*pageSize + 1 {
			lists[kind] = append(lists[kind], map[string]any{"id": i, "uuid": fmt.Sprintf("22222222-2222-5222-8222-%012d", i)})
		}
	}
	lists["database"][3]["uuid"], lists["chart"][2*pageSize]["uuid"], lists["chart"][0]["uuid"] = fmt.Sprintf(own, 1), fmt.Sprintf(own, 2), fmt.Sprintf(own, 3)
	var deleted []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
		switch {
		case strings.HasPrefix(kind, "security"):
			fmt.Fprint(w, `{"access_token": "token", "result": "guard"}`)
		case r.Method == http.MethodDelete && id == "0":
			http.Error(w, `{"message": "Not found"}`, http.StatusNotFound)
		case r.Method == http.MethodDelete && kind == "database":
			http.Error(w, `{"message": "There are associated dashboards"}`, http.StatusUnprocessableEntity)
		case r.Method == http.MethodDelete:
			deleted = append(deleted, kind+" "+id)
			fmt.Fprint(w, `{"message": "OK"}`)
		default:
			page := 0
			_, after, _ := strings.Cut(r.URL.Query().Get("q"), "page:")
			if _, err := fmt.Sscanf(after, "%d", &page); err != nil {
				t.Errorf("%s: %v", r.URL, err)
			}
			of := lists[kind]
			of = of[min(len(of), page*pageSize):min(len(of), (page+1)*pageSize)]
			if err := json.NewEncoder(w).Encode(map[string]any{"result": of}); err != nil {
				t.Error(err)
			}
		}
	}))
	defer server.Close()
	s, err := Login(t.Context(), server.URL, "me", "secret")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"metadata.yaml": []byte(`{"version": "1.0.0"}`)}
	for i := 1; i <= 3; i++ {
		files[fmt.Sprintf("%d.yaml", i)] = fmt.Appendf(nil, `{"uuid": "`+own+`"}`, i)
	}
	members, err := s.Members(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range members {
		found = append(found, fmt.Sprintf("%s %d", m.Kind, m.ID))
	}
	if want := []string{"chart 0", fmt.Sprintf("chart %d", 2*pageSize), "database 3"}; !slices.Equal(found, want) {
		t.Fatalf("members %v, want %v", found, want)
	}
	if err := s.Remove(t.Context(), members); err == nil || !strings.Contains(err.Error(), "associated dashboards") {
		t.Errorf("a database that others need: %v", err)
	}
	if want := []string{fmt.Sprintf("chart %d", 2*pageSize)}; !slices.Equal(deleted, want) {
		t.Errorf("deleted %v, want %v", deleted, want)
	}
}
