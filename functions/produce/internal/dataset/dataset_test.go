package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func opts(t *testing.T) Options {
	return Options{Client: http.DefaultClient, TempDir: t.TempDir(), MaxBytes: 1 << 20, Attempts: 3, Pause: time.Millisecond}
}

// Guards against a download that passes for a data set when it is none, and against temporary files that stay behind.
func TestDownloadsThatFail(t *testing.T) {
	const secret = "sig=s3cr3t"
	f := func(name string, h http.HandlerFunc, want string, wantTries int) {
		t.Run(name, func(t *testing.T) {
			o, tries := opts(t), 0
			url := serve(t, func(w http.ResponseWriter, r *http.Request) { tries++; h(w, r) })
			_, err := Open(t.Context(), url+"/d/yellow_2024-01.parquet?"+secret, o)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "yellow_2024-01.parquet") {
				t.Errorf("error %v, want it to name the file and to say %q", err, want)
			}
			if strings.Contains(fmt.Sprint(err), "s3cr3t") {
				t.Errorf("the error tells the URL's signature: %v", err)
			}
			if tries != wantTries {
				t.Errorf("%d attempts, want %d", tries, wantTries)
			}
			if left, err := os.ReadDir(o.TempDir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
	page := "<!DOCTYPE html><html><head><title>Not here</title>"
	f("forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); _, _ = io.WriteString(w, page) }, `403 Forbidden, with an HTML page ("Not here")`, 1)
	f("a page with status 200", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) }, "looks like an HTML page", 1)
	f("unavailable", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503", 3)
	f("cut off", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "PAR1")
	}, "after 4 bytes", 3)
	f("announced too large", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "2000000") }, "more than the limit", 1)
	f("too large without saying", func(w http.ResponseWriter, _ *http.Request) {
		for range 300 {
			_, _ = w.Write(make([]byte, 4096))
			w.(http.Flusher).Flush()
		}
	}, "larger than the limit", 1)
	f("empty", func(http.ResponseWriter, *http.Request) {}, "empty", 1)
}

// Guards against an identity that depends on how the file came, and against a download that stays on disk.
func TestADownloadIsTheFile(t *testing.T) {
	o, content, tries := opts(t), "a,b\n1,2\n", 0
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries == 1 {
			w.WriteHeader(500)
			return
		}
		_, _ = io.WriteString(w, content)
	})
	local := filepath.Join(t.TempDir(), "a b.csv")
	if err := os.WriteFile(local, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	for _, where := range []string{url + "/x/a%20b.csv?v=1", local, "file://" + strings.ReplaceAll(local, " ", "%20")} {
		f, err := Open(t.Context(), where, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || string(got) != content || f.Name != "a b.csv" || f.Hash != hex.EncodeToString(sum[:]) || f.Size != int64(len(content)) || f.Format != Text {
			t.Errorf("%s: %q %+v (%v)", where, got, f, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(o.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if _, err := os.Stat(local); err != nil {
		t.Errorf("the user's own file: %v", err)
	}
}

// Guards against taking what is no table for one; each message says what the file looks like.
func TestLooksLike(t *testing.T) {
	f := func(name, content, want string) {
		t.Helper()
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Open(t.Context(), p, opts(t))
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", content, err)
				return
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: error %v, want it to name %s and to say %q", content, err, name, want)
		}
	}
	f("a.csv", "a,b\n", "")
	f("a.csv", "\xef\xbb\xbfa,b\n", "")
	f("a.csv", "", "empty")
	f("a.csv", " \n", "blank")
	f("a.csv", "\n <HTML>", "HTML")
	f("a.csv", `<?xml version="1.0"?><Error><Code>NoSuchKey</Code>`, `XML document ("NoSuchKey")`)
	f("a.csv", `<?xml version="1.0"?><html>`, "HTML")
	f("a.csv", `{"error": 1}`, "JSON")
	f("a.csv", "\x1f\x8b\x08", "gzip")
	f("a.csv", "PK\x03\x04", "ZIP")
	f("a.csv", "\xff\xfea\x00", "UTF-16")
	f("a.csv", "a\x00b", "binary")
	f("a.parquet", "version https://git-lfs.github.com/spec/v1\n", "Git LFS")
	f("a.parquet", "a,b\n", "does not begin with PAR1")
	f("a.parquet", "PARE....", "encrypted")
	for _, where := range []string{"s3://bucket/a.csv", filepath.Join(t.TempDir(), "none.csv"), t.TempDir()} {
		if _, err := Open(t.Context(), where, opts(t)); err == nil {
			t.Errorf("%s was opened", where)
		}
	}
}
