package functions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"millrace/shared/archive"
	"millrace/shared/landing"
	"millrace/shared/mask"
	"millrace/shared/objectstore"
)

// bodies returns all objects that lie under landing/ of a bucket, but for the logs.
func (s *system) bodies(bucket string) ([][]byte, error) {
	id, secret, err := s.credentials()
	if err != nil {
		return nil, err
	}
	b, err := objectstore.Open(objectstore.Config{Endpoint: s.s3, Region: "us-east-1", AccessKey: id, SecretKey: secret, Bucket: bucket})
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	infos, err := b.List(s.t.Context(), "landing/", "", 1000)
	for _, info := range infos {
		if !strings.HasSuffix(info.Key, ".parquet") || err != nil {
			continue
		}
		var body []byte
		if body, err = b.Get(s.t.Context(), info.Key); err == nil {
			bodies = append(bodies, body)
		}
	}
	return bodies, err
}

// Guards people through the whole pipeline, as make run starts it: a page view's visitor is the same pseudonym in search and in the lake's enriched rows, under the key that the platform made, in no document
// of search as sent (neither where the event passes, nor where its contract, or none, refuses it), and as sent in the private bucket alone.
func TestPersonalData(t *testing.T) {
	if testing.Short() {
		t.Skip("the pipeline takes half a minute: not in short mode")
	}
	s := newSystem(t)
	s.start()
	const view = `{"event_type":%q,"schema_version":"0-0-1","source":"/personal","id":"%d","partition_key":"jane.example.com",` +
		`"payload":{"host":"jane.example.com","method":%q,"url":"/","status":200,"user_agent":"jane","visited_at":"2026-11-21T12:04:20Z","jane":"jane"}}`
	if _, err := s.send(t.Context(), fmt.Appendf(nil, "["+view+","+view+","+view+"]", "PageView", 1, "GET", "PageView", 2, "get", "Stranger", 3, "GET")); err != nil {
		t.Fatal(err)
	}
	if err := s.do(http.MethodPost, "http://"+s.listen+"/api/v1/collect", []byte(`{"event_type":"PageView","host":"jane.example.com"`), nil); err == nil {
		t.Error("half an object passes")
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "mask-key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := mask.NewKey(text)
	if err != nil {
		t.Fatal(err)
	}
	who := string(key.Append(nil, "jane.example.com"))
	s.eventually("the views are found", func() error {
		for indices, want := range map[string]int{"enriched-*": 1, "dead-*": 3} {
			var all json.RawMessage
			if err := s.get(s.es+"/"+indices+"/_search?size=100", &all); err != nil {
				return err
			}
			if n := bytes.Count(all, []byte(`"_source"`)); n != want {
				return fmt.Errorf("%d documents in %s", n, indices)
			}
			shown := strings.ReplaceAll(string(all), `"partition_key":"jane.example.com"`, "") // of events that no contract says anything of
			if strings.Contains(shown, "jane") {
				t.Errorf("a person is in %s: %s", indices, all)
			}
			if !strings.Contains(shown, who) {
				t.Errorf("no pseudonym in %s: %s", indices, all)
			}
		}
		return nil
	})
	s.eventually("the views are in the lake", func() error {
		for topic, want := range map[string]int64{"events.raw": 3, "events.enriched": 1, "events.dead": 3} {
			if n, err := s.landed(topic); err != nil || n != want {
				return fmt.Errorf("%d rows of %s, %w", n, topic, err)
			}
		}
		return nil
	})
	enriched, err := s.bodies(s.names.Bucket)
	if err != nil || len(enriched) != 1 {
		t.Fatalf("%d objects, %v", len(enriched), err)
	}
	type row struct {
		Key     string  `parquet:"partition_key,optional"`
		Rescued *string `parquet:"_rescued,optional"`
		Payload struct {
			Host  string `parquet:"host,optional"`
			Agent string `parquet:"user_agent,optional"`
			URL   string `parquet:"url,optional"`
		} `parquet:"payload,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(enriched[0]), int64(len(enriched[0])))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want := row{Key: who}
	want.Payload.Host, want.Payload.Agent, want.Payload.URL = who, string(key.Append(nil, "jane")), "/"
	if rows[0] != want {
		t.Errorf("row %+v, want %+v", rows[0], want)
	}
	private, err := s.bodies(s.names.Private)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, object := range private {
		if err := archive.Read(object, func(_ int64, r archive.Row) error {
			if bytes.Contains(r.Event.Data(), []byte(`"jane.example.com"`)) {
				sent++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 6 { // raw 3, dead 3
		t.Errorf("%d of raw and dead hold what was sent, in %s", sent, landing.KindRaw)
	}
}
