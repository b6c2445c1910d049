//go:build integration

package main

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/search"
)

// Guards the way back of what Kafka has forgotten, on real servers: dead letters and raw events are drained to the lake and then deleted from Kafka; the plan is made of the lake, its application sends them, and
// enrich and load-search, as they are deployed, put them into search in the place of what it showed.
func TestReplayFromTheLake(t *testing.T) {
	s := withServers(t, 2)
	s.build()
	s.startLake()
	bound := rules(s)
	c, _ := bound.Contracts().Find(taxi, "0-0-1")
	s.must(s.search.EnsureEnriched(s.Context(), []*contract.Contract{c}))
	const n = 30
	var letters []*event.Event
	var refs []search.Ref
	var ops []search.Operation
	for i := range n {
		e := raw(s, strconv.Itoa(i), trip)
		letters = append(letters, letter(e, "enrich", event.CodeDeliveryExhausted))
		out, _, failure := bound.Enrich(e)
		if failure != nil {
			t.Fatal(failure)
		}
		op, err := s.operation(out, `{"wrong":1}`)
		s.must(err)
		refs = append(refs, search.Ref{Index: op.Index, ID: op.ID})
		if i%3 == 0 { // search shows it already
			ops = append(ops, op)
		}
	}
	for _, err := range s.producer.Sink(s.dead).Publish(s.Context(), letters) {
		s.must(err)
	}
	_, err := s.search.Bulk(s.Context(), ops)
	s.must(err)
	s.drain(s.dead)
	ends := map[int32]int64{}
	for _, partition := range []int32{0, 1} {
		ends[partition], err = s.client.GetOffset(s.dead, partition, sarama.OffsetNewest)
		s.must(err)
	}
	s.must(s.admin.DeleteRecords(s.dead, ends))

	var summary planned
	plan := func(args ...string) {
		t.Helper()
		r := s.replay(append([]string{"plan", "--format", "json"}, args...)...)
		if r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		summary = planned{}
		s.decode(r, &summary)
	}
	if plan(); summary.Read != 0 {
		t.Fatalf("Kafka has not forgotten: %+v", summary.Summary)
	}
	file := s.dir + "/plan.json"
	if plan("--lake", "--from", "1h", "-o", file); summary.Events != n || summary.Count("overwrite") != int64(len(ops)) || summary.Count("pass") != int64(n-len(ops)) {
		t.Fatalf("the plan: %+v", summary.Summary)
	}
	if r := s.replay("plan", "--lake", "-o", file); r.code != 1 || !strings.Contains(r.stderr, "--force") {
		t.Errorf("the plan is replaced: %d, %s", r.code, r.stderr)
	}
	if r := s.replay("apply", "--rate", "1000", file); r.code != 0 {
		t.Fatalf("apply: %s%s", r.stdout, r.stderr)
	}
	t.Cleanup(func() { // after the ends of its members
		for _, group := range []string{"-enrich", "-search"} {
			s.eventually("group "+group+" is gone", func() bool {
				err := s.admin.DeleteConsumerGroup(s.id + group)
				return err == nil || errors.Is(err, sarama.ErrGroupIDNotFound)
			})
		}
	})
	s.start("enrich", "INTAKE=kafka:///"+s.raw+"?group="+s.id+"-enrich", "SINK=kafka:///"+s.enriched, "DEAD_SINK=kafka:///"+s.dead)
	s.start("load-search", "INTAKE=kafka:///"+s.enriched+"?group="+s.id+"-search", "DEAD_SINK=kafka:///"+s.dead)
	s.eventually("every document is the replay's", func() bool {
		versions, err := s.search.Versions(s.Context(), refs)
		s.must(err)
		for i, v := range versions {
			if v.Number != 2 || v.Hash != event.Attr(letters[i], event.DataHash) {
				return false
			}
		}
		return true
	})
	for _, ref := range refs {
		if text := s.http("GET", s.url+"/"+ref.Index+"/_source/"+ref.ID, nil); strings.Contains(text, "wrong") || !strings.Contains(text, summary.ID) {
			t.Errorf("document %s: %s", ref.ID, text)
		}
	}
	if r := s.replay("reconcile", "--from", "1h", "--group", "enrich="+s.id+"-enrich,load-search-enriched="+s.id+"-search"); r.code != 1 || !strings.Contains(r.stdout, "at most "+strconv.Itoa(n)+" of them") {
		t.Errorf("reconcile: %d, %s%s", r.code, r.stdout, r.stderr)
	}
}
