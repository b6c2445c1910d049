package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/mask"
)

const viewPayload = `{"host":"jane.example.com","method":"GET","url":"/","status":200,"visited_at":"2026-11-21T12:04:20Z"}`

func view(t testing.TB, id string, more ...string) *event.Event {
	t.Helper()
	return raw(t, "PageView", id, event.EnrichedData([]byte(viewPayload), []byte(`{}`)), append([]string{
		event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte(viewPayload)),
	}, more...)...)
}

// Guards personal data without a key: its events wait, counted and with a word in the log once a minute, those of other contracts and dead letters go on, and once there is a key, in a
// file that was not there before, all of them are found, the same person under the same pseudonym; delivered again they are there already, under another key too.
func TestEventsWaitForTheKey(t *testing.T) {
	s := start(t)
	file := filepath.Join(t.TempDir(), "key")
	s.loader.key, s.loader.interval = mask.Settings{File: file}.Open().Key, 10*time.Second
	var log bytes.Buffer
	s.loader.logger = slog.New(slog.NewTextHandler(&log, nil))
	letter := raw(t, "PageView", "4", []byte(viewPayload), event.FailureStage, "enrich", event.FailureCode, "contract_violation", event.FailureTime, "2026-11-21T10:00:01Z")
	o := s.want(t, "retry done retry done", view(t, "1"), trip(t, "2", tripPayload), view(t, "3"), letter)
	if !errors.Is(o[0].Err, mask.ErrNoKey) || o[0].After != 10*time.Second {
		t.Errorf("%+v", o[0])
	}
	for range 5 { // more than the attempts that an event has
		s.want(t, "retry", view(t, "1"))
	}
	s.letters(t, "")
	if n := counted(t, s.registry, "millrace_mask_waiting_total"); n != 7 || strings.Count(log.String(), "events wait") != 1 {
		t.Errorf("counted %v: %s", n, log.String())
	}
	s.now = s.now.Add(time.Minute)
	s.want(t, "retry", view(t, "1"))
	if strings.Count(log.String(), "events wait") != 2 {
		t.Errorf("%s", log.String())
	}
	write := func(key string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("0123456789abcdef0123456789abcdef\n")
	s.want(t, "done done", view(t, "1"), view(t, "3"))
	host := func(id string) string {
		payload, _ := s.doc(t, "enriched-pageview-0-2026.11.21", root(id))["payload"].(map[string]any)
		host, _ := payload["host"].(string)
		return host
	}
	if first := host("1"); len(first) != 34 || !strings.HasPrefix(first, "p_") || first != host("3") {
		t.Errorf("hosts %q, %q", first, host("3"))
	}
	first := host("1")
	write("another key, of another year")
	s.want(t, "done done", view(t, "1"), view(t, "5"))
	if host("1") != first || host("5") == first {
		t.Errorf("hosts %q, %q, before %q", host("1"), host("5"), first)
	}
	for index, d := range s.fake.Docs() {
		if bytes.Contains(d.Source, []byte("jane")) {
			t.Errorf("%s: %s", index, d.Source)
		}
	}
}

// Guards people against a version that enrich has read and this function has not: its events wait as those of a new MODEL do, and what it names first is masked.
func TestNewVersionWaits(t *testing.T) {
	s := start(t)
	s.loader.key, s.loader.interval, s.loader.wait = mask.Settings{Text: "0123456789abcdef0123456789abcdef"}.Open().Key, time.Second, 30*time.Second
	a := contract.Field{Name: "a", Type: contract.String}
	s.take(t, version(1, a))
	looks := 0
	s.loader.reload = func(context.Context) (bool, error) { looks++; return false, nil }
	novel := func(id, version string) *event.Event {
		return raw(t, "New", id, event.EnrichedData([]byte(`{"a":"x","who":"jane"}`), []byte(`{}`)), event.Stage, event.StageEnriched, event.SchemaVersion, version)
	}
	s.want(t, "done retry", novel("1", "0-0-1"), novel("2", "0-0-2"))
	if looks != 1 {
		t.Errorf("%d looks", looks)
	}
	s.take(t, version(1, a), version(2, a, contract.Field{Name: "who", Type: contract.String, Classification: "personal"}))
	s.want(t, "done", novel("2", "0-0-2"))
	payload, _ := s.doc(t, "enriched-new-0-2026.11.21", root("2"))["payload"].(map[string]any)
	if who, _ := payload["who"].(string); !strings.HasPrefix(who, "p_") || payload["a"] != "x" {
		t.Errorf("payload %v", payload)
	}
}
