package plan

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/functions/replay/internal/selection"
	"millrace/shared/event"
)

func example(t *testing.T) (Header, []Entry) {
	t.Helper()
	at := time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.UTC)
	h := Header{
		Created:   at,
		Selection: selection.Selection{Source: selection.Dead, Codes: []event.Code{event.CodeDeliveryExhausted}, From: at, Limit: 5, MaxReplays: 3},
		Origin:    Origin{Topic: Topic{"events.dead", "id"}, Partitions: []Partition{{1, 2, 3}}, Objects: []Object{{"k", "s"}}},
		Topics:    map[Target]Topic{Raw: {"events.raw", "r"}, Enriched: {"events.enriched", "e"}},
		Contracts: []Contract{{"urn:x", "s"}}, Reasons: []Reason{{"enrich", event.CodeContractViolation, "/a is <b> & \u2028"}},
	}
	entries := []Entry{
		{Place: Place{1, 2}, Root: "r1", Hash: "h1", To: Raw, Count: 1, Outcome: Pass},
		{Place: Place{1, 3}, Root: "r2", Hash: "h2", To: Enriched, Count: 4, Returned: 3, Outcome: GivenUp, Reason: 1},
	}
	h, err := Seal(h, entries)
	if err != nil {
		t.Fatal(err)
	}
	return h, entries
}

// Guards the file between the two commands: what is read is what was written, and the id is that of the content, not of the moment.
func TestWriteAndRead(t *testing.T) {
	h, entries := example(t)
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := Write(path, h, entries, false); err != nil {
		t.Fatal(err)
	}
	gotH, gotE, err := Read(path)
	if err != nil || !reflect.DeepEqual(gotH, h) || !reflect.DeepEqual(gotE, entries) {
		t.Errorf("%v\n%+v\n%+v\n%+v\n%+v", err, gotH, h, gotE, entries)
	}
	later := h
	later.Created = later.Created.Add(time.Hour)
	if later, err = Seal(later, entries); err != nil || later.ID != h.ID || h.ID == "" {
		t.Errorf("id %q, later %q, %v", h.ID, later.ID, err)
	}
	entries[1].Count++
	if other, err := Seal(h, entries); err != nil || other.ID == h.ID {
		t.Errorf("other events have the id %q, too, %v", other.ID, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
	if err := Write(filepath.Join(path, "no", "folder"), h, entries, false); err == nil {
		t.Error("written to nowhere")
	}
}

// Guards a plan that may be half applied against another one in its place: it is replaced only where that is asked for, and a write that fails leaves nothing beside it.
func TestWriteReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	write := func(n int, replace bool) error {
		h, err := Seal(Header{}, make([]Entry, n))
		if err != nil {
			t.Fatal(err)
		}
		return Write(path, h, make([]Entry, n), replace)
	}
	if err := errors.Join(Free(path), write(1, false)); err != nil {
		t.Fatal(err)
	}
	if err := write(2, false); !errors.Is(err, ErrExists) || !errors.Is(Free(path), ErrExists) {
		t.Errorf("written over: %v", err)
	}
	if _, entries, err := Read(path); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if err := write(2, true); err != nil {
		t.Error(err)
	}
	if _, entries, err := Read(path); err != nil || len(entries) != 2 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// Guards a replay against a plan that was edited by hand, cut by a full disk or joined by a careless copy: no byte of it can be another without its being refused.
func TestDamageIsFound(t *testing.T) {
	h, entries := example(t)
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := Write(path, h, entries, false); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, body []byte) {
		t.Helper()
		gotH, gotE, err := read(bytes.NewReader(body))
		if err == nil && (!reflect.DeepEqual(gotE, entries) || !reflect.DeepEqual(gotH.Origin, h.Origin) || gotH.Digest != h.Digest) {
			t.Errorf("%s: taken\n%s", what, body)
		}
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		try("a bit", damaged)
		try("cut", whole[:i])
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	try("a line twice", append(bytes.Clone(whole), lines[1]...))
	if _, _, err := read(strings.NewReader("{}\n")); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("no plan at all: %v", err)
	}
	if _, _, err := read(bytes.NewReader(bytes.Join(lines[:2], nil))); !errors.Is(err, ErrDamaged) {
		t.Errorf("without its last line: %v", err)
	}
}

// Guards what is sent: the event as it was, marked as a replay, without what its failure left; the dead letter itself stays as it is.
func TestEvent(t *testing.T) {
	e := ce.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("T")
	e.DataEncoded = []byte(" {} ")
	e.SetExtension("color", "red")
	e.SetExtension(event.KnativeErrorDst, "x")
	e.SetExtension(event.ReplayID, "old")
	dead := event.DeadLetter(&e, event.Failure{Stage: "enrich", Code: event.CodeNotJSON})
	before := dead.String()
	out, err := Event(dead, "new", 3)
	if err != nil {
		t.Fatal(err)
	}
	want := e.Clone()
	want.SetExtension(event.KnativeErrorDst, nil)
	want.SetExtension(event.ReplayID, "new")
	want.SetExtension(event.ReplayCount, "3")
	if out.String() != want.String() || dead.String() != before || string(out.Data()) != " {} " {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}
