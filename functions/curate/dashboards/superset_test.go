package dashboards

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// fake answers as Superset does, with the guards that a production one has: a token, and a cookie with a token of its own against forged requests.
type fake struct {
	*httptest.Server
	imported  map[string]string // what an import brought, by path
	passwords string
	charts    map[string]string // an answer to the question for a chart's data, by id
	status    map[string]int
	noCSRF    bool
	export    []byte
	asked     []string
}

func newFake(t *testing.T) *fake {
	f := &fake{imported: map[string]string{}, charts: map[string]string{}, status: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
	if r.URL.Path == "/base/api/v1/security/login" {
		var login map[string]any
		if err := json.NewDecoder(r.Body).Decode(&login); err != nil || login["username"] != "me" || login["password"] != "secret" || login["provider"] != "db" {
			http.Error(w, `{"message": "Not authorized"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"access_token": "token"}`)
		return
	}
	if r.Header.Get("Authorization") != "Bearer token" {
		http.Error(w, `{"msg": "Missing Authorization Header"}`, http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/base/api/v1/security/csrf_token/" {
		if f.noCSRF {
			http.NotFound(w, r)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "mine", Path: "/"})
		fmt.Fprint(w, `{"result": "guard"}`)
		return
	}
	if r.Method != http.MethodGet && !f.noCSRF {
		cookie, err := r.Cookie("session")
		if err != nil || cookie.Value != "mine" || r.Header.Get("X-CSRFToken") != "guard" || !strings.HasPrefix(r.Header.Get("Referer"), f.URL) {
			http.Error(w, "<p>The CSRF token is missing.</p>", http.StatusBadRequest)
			return
		}
	}
	path := strings.TrimPrefix(r.URL.Path, "/base/api/v1/")
	if status := f.status[path]; status != 0 {
		http.Error(w, `{"errors": [{"message": "Error importing assets", "extra": {"databases/lake.yaml": {"password": ["Must provide a password"]}, "issue_codes": []}}]}`, status)
		return
	}
	switch {
	case path == "assets/import/":
		f.takeIn(w, r)
	case path == "dashboard/millrace-taxi":
		fmt.Fprint(w, `{"result": {"id": 7}}`)
	case path == "dashboard/export/":
		_, _ = w.Write(f.export)
	case path == "dashboard/millrace-taxi/charts":
		fmt.Fprint(w, `{"result": [{"id": 2, "slice_name": "Trips"}, {"id": 1, "slice_name": "Revenue"}]}`)
	case path == "dashboard/empty/charts":
		fmt.Fprint(w, `{"result": []}`)
	case strings.HasPrefix(path, "chart/"):
		fmt.Fprint(w, f.charts[strings.Split(path, "/")[1]])
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) takeIn(w http.ResponseWriter, r *http.Request) {
	file, _, err := r.FormFile("bundle")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	content, _ := io.ReadAll(file)
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, part := range archive.File {
		p, _ := part.Open()
		text, _ := io.ReadAll(p)
		f.imported[part.Name] = string(text)
	}
	f.passwords = r.FormValue("passwords")
	fmt.Fprint(w, `{"message": "OK"}`)
}

func (f *fake) login(t *testing.T) *Superset {
	t.Helper()
	s, err := Login(t.Context(), f.URL+"/base/", "me", "secret")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A production Superset refuses a POST without the token of its session; one for tests has none to give. Both take the whole bundle, under one root, with the passwords beside it.
func TestImport(t *testing.T) {
	for _, noCSRF := range []bool{false, true} {
		f := newFake(t)
		f.noCSRF = noCSRF
		o := options()
		o.TrinoPassword = "very secret"
		files, err := Bundle(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.login(t).Import(t.Context(), files, Passwords(o)); err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			if f.imported["millrace/"+name] != string(content) {
				t.Errorf("%s did not arrive as it is", name)
			}
		}
		if len(f.imported) != len(files) || f.passwords != `{"databases/lake.yaml":"very secret"}` {
			t.Errorf("%d files arrived of %d, with %q", len(f.imported), len(files), f.passwords)
		}
		if !strings.Contains(f.imported["millrace/metadata.yaml"], `"type": "assets"`) {
			t.Error("the bundle is not of type assets, which alone overwrites charts")
		}
	}
}

// What Superset says of a refusal must reach whoever typed the command, without the password.
func TestRefusals(t *testing.T) {
	f := newFake(t)
	f.status["assets/import/"] = http.StatusUnprocessableEntity
	err := f.login(t).Import(t.Context(), map[string][]byte{"metadata.yaml": nil}, nil)
	if err == nil || !strings.Contains(err.Error(), "Must provide a password") || !strings.Contains(err.Error(), "422") {
		t.Errorf("got %v", err)
	}
	_, err = Login(t.Context(), f.URL+"/base/", "me", "wrong-secret")
	if err == nil || strings.Contains(err.Error(), "wrong-secret") || !strings.Contains(err.Error(), "401") {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"superset:8088", "ftp://superset", "http://me:wrong-secret@superset", "http://"} {
		if _, err := Login(t.Context(), address, "me", "x"); err == nil || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

// One chart that fails must be told apart from those that answer and those that are empty, and no answer may come from a cache.
func TestCharts(t *testing.T) {
	f := newFake(t)
	f.charts["1"] = `{"result": [{"colnames": ["revenue"], "data": [{"revenue": 12.5}], "query": "select 1"}]}`
	f.charts["2"] = `{"result": [{"error": "line 1:1: Table 'x' does not exist"}]}`
	s := f.login(t)
	charts, err := s.Charts(t.Context(), []string{"millrace-taxi"})
	if err != nil {
		t.Fatal(err)
	}
	if len(charts) != 2 || charts[0].Name != "Revenue" || charts[0].Err != nil || charts[0].Rows[0]["revenue"] != 12.5 || charts[1].Err == nil || !strings.Contains(charts[1].Err.Error(), "does not exist") {
		t.Errorf("got %+v", charts)
	}
	if !slices.Contains(f.asked, "GET /base/api/v1/chart/1/data/?force=true") {
		t.Errorf("asked %q", f.asked)
	}
	for answer, status := range map[string]int{`{"result": []}`: 0, `not JSON`: 0, `{}`: http.StatusBadGateway} {
		f.charts["1"], f.status["chart/1/data/"] = answer, status
		charts, err := s.Charts(t.Context(), []string{"millrace-taxi"})
		if err != nil || charts[0].Err == nil {
			t.Errorf("%s: got %v, %+v", answer, err, charts)
		}
	}
	for _, slug := range []string{"empty", "none"} {
		if _, err := s.Charts(t.Context(), []string{slug}); err == nil {
			t.Errorf("the dashboard %s is taken for one with charts", slug)
		}
	}
}

// An export is written to disk by whoever asked: it must hold the files below its root, and none that leads elsewhere.
func TestExport(t *testing.T) {
	f := newFake(t)
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"dashboard_export_1/metadata.yaml", "dashboard_export_1/charts/Trips_1.yaml", "dashboard_export_1/../../evil.yaml", "dashboard_export_1/charts/", "plain.yaml"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("a: 1")); err != nil && !strings.HasSuffix(name, "/") {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f.export = b.Bytes()
	s := f.login(t)
	files, err := s.Export(t.Context(), []string{"millrace-taxi"})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || string(files["charts/Trips_1.yaml"]) != "a: 1" || files["metadata.yaml"] == nil {
		t.Errorf("got %q", files)
	}
	if !slices.Contains(f.asked, "GET /base/api/v1/dashboard/export/?q=%21%287%29") {
		t.Errorf("asked %q", f.asked)
	}
	f.export = []byte("no zip")
	if _, err := s.Export(t.Context(), []string{"millrace-taxi"}); err == nil {
		t.Error("what is no archive is taken for one")
	}
}

// An export of which one file is cut off would be written into the tree as if it were whole.
func TestUnpackTooMuch(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, size := range map[string]int{"most": fileLimit, "more": fileLimit + 1} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, int64(size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		content, err := unpack(f)
		switch {
		case f.Name == "most" && (err != nil || len(content) != fileLimit):
			t.Errorf("%d bytes of %d: %v", len(content), fileLimit, err)
		case f.Name == "more" && (err == nil || !strings.Contains(err.Error(), "larger than")):
			t.Errorf("a file that is too large is taken as %d bytes: %v", len(content), err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
