//go:build integration && linux

package functions_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// storm is collect and enrich, on Kafka intake, as processes on a Kafka of two brokers, with what was answered for and must be found.
type storm struct {
	*testing.T
	cluster *kafkatest.Cluster
	admin   sarama.ClusterAdmin
	collect *process
	sent    int
	good    []string // ids of good events that were accepted since events.enriched was made
	bad     []string // ids of events that break their contract, accepted since events.dead was made
}

type stormReceipt struct{ Status, Durability, Message string }

const weatherEvent = `{"event_type":"PageView","schema_version":"0-0-1","source":"/weather","id":"%s","payload":{"host":"example.com","method":"GET","url":"/","status":%s,"visited_at":"2026-11-21T12:04:20Z"}}`

// send sends one event, and returns its receipt with the answer's status. What is accepted must be found later.
func (s *storm) send(good bool) (code int, r stormReceipt) {
	s.Helper()
	s.sent++
	id, status := fmt.Sprintf("%d", s.sent), "200"
	if !good {
		status = `"none"`
	}
	res, err := http.Post(s.collect.url+"/api/v1/collect", "", strings.NewReader(fmt.Sprintf(weatherEvent, id, status)))
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var body struct {
		Receipts []stormReceipt `json:"receipts"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || len(body.Receipts) != 1 {
		s.Fatalf("status %d with %d receipts: %v", res.StatusCode, len(body.Receipts), err)
	}
	r = body.Receipts[0]
	switch {
	case r.Status == "accepted" && res.StatusCode != http.StatusOK, r.Status != "accepted" && res.StatusCode != http.StatusServiceUnavailable:
		s.Fatalf("answered %d, and %q", res.StatusCode, r.Status)
	case r.Status == "accepted" && good:
		s.good = append(s.good, id)
	case r.Status == "accepted":
		s.bad = append(s.bad, id)
	}
	return res.StatusCode, r
}

// flows sends until 20 events of each kind were taken one after the other.
func (s *storm) flows(what string) {
	s.Helper()
	row := 0
	within(s.T, 90*time.Second, what, func() error {
		for row < 20 {
			for _, good := range []bool{true, false} {
				if code, r := s.send(good); code != http.StatusOK {
					row = 0
					return fmt.Errorf("%s: %s", r.Status, r.Message)
				}
			}
			row++
		}
		return nil
	})
}

// refused sends until an event is busy and collect's log says why.
func (s *storm) refused(what, why string) {
	s.Helper()
	within(s.T, 90*time.Second, what, func() error {
		_, r := s.send(true)
		if r.Status != "busy" || !strings.Contains(s.collect.said(s.T), why) {
			return fmt.Errorf("an event is %s: %s; the log lacks %q", r.Status, r.Message, why)
		}
		return nil
	})
}

// found waits until a topic has every one of the ids.
func (s *storm) found(topic string, ids *[]string) {
	s.Helper()
	within(s.T, 90*time.Second, topic, func() error {
		there := make(map[string]bool)
		for _, m := range records(s.T, s.cluster.Brokers, topic) {
			there[headerOf(m, "ce_id")] = true
		}
		missing := slices.DeleteFunc(slices.Clone(*ids), func(id string) bool { return there[id] })
		if len(missing) > 0 {
			return fmt.Errorf("%d of %d are missing: %v", len(missing), len(*ids), missing[:min(5, len(missing))])
		}
		return nil
	})
}

// make makes a topic that needs both brokers.
func (s *storm) make(topic string) {
	s.Helper()
	two := "2"
	within(s.T, 30*time.Second, "make "+topic, func() error { // one that was deleted takes a moment to be gone
		return s.admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 2, ConfigEntries: map[string]*string{"min.insync.replicas": &two}}, false)
	})
}

// Guards what collect answers and what enrich does when the servers' own weather is bad: too few replicas, and each topic deleted under way. Nothing that was answered for is missing in a topic that was
// not deleted, no answer says accepted meanwhile, collect's log says why, and all goes on by itself.
func TestKafkaWeather(t *testing.T) {
	binaries, err := built()
	if err != nil {
		t.Fatal(err)
	}
	home, _ := os.UserHomeDir() // "" where there is none
	cache := cmp.Or(os.Getenv("SERVICES_CACHE"), filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "test-services"))
	s := &storm{T: t, cluster: kafkatest.StartCluster(t, cache, 2, "")}
	if s.admin, err = sarama.NewClusterAdmin(s.cluster.Brokers[:1], kafka.NewConfig("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.admin.Close() })
	for _, topic := range []string{"events.raw", "events.enriched", "events.dead"} {
		s.make(topic)
	}
	brokers := "KAFKA_BROKERS=" + strings.Join(s.cluster.Brokers, ",")
	s.collect = startFunction(t, binaries, "collect", brokers, "SEND_TIMEOUT=2s")
	startFunction(t, binaries, "enrich", brokers, "INTAKE=kafka:///events.raw?group=enrich", "SEND_TIMEOUT=3s")
	s.flows("two brokers")
	if _, r := s.send(true); r.Durability != kafka.DurabilityReplicated {
		t.Errorf("durability %q on two brokers", r.Durability)
	}

	s.cluster.Kill(t, 1)
	s.refused("one broker of two", "min.insync.replicas is 2")
	s.cluster.Start(t, 1)
	s.flows("both brokers again")

	for topic, ids := range map[string]*[]string{"events.raw": nil, "events.enriched": &s.good, "events.dead": &s.bad} {
		s.found("events.enriched", &s.good)
		s.found("events.dead", &s.bad)
		within(t, 30*time.Second, "delete "+topic, func() error {
			if err := s.admin.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
				return err
			}
			return nil
		})
		if ids == nil {
			s.refused("no "+topic, "topic "+topic+" does not exist")
		} else {
			*ids = nil
			s.flows("no " + topic) // collect does not write there: enrich holds back
		}
		s.make(topic)
		s.flows(topic + " made anew")
	}
	s.found("events.enriched", &s.good)
	s.found("events.dead", &s.bad)
}
