package functions_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/IBM/sarama"

	"millrace/functions/internal/pipeline"
)

// direct are the consumer groups of the overlay knative/direct, as replay's --group names them.
const direct = "enrich=millrace-enrich,load-search-enriched=millrace-load-search,load-search-dead=millrace-load-search"

// behind is an error where the group has not committed the ends of the topic's partitions.
func behind(ctx context.Context, stores *pipeline.Stores, group, topic string) error {
	ends, err := stores.Ends(ctx, topic)
	if err != nil {
		return err
	}
	committed, err := stores.Committed(ctx, group, topic)
	if err != nil {
		return err
	}
	for p, end := range ends {
		if committed[p] != end {
			return fmt.Errorf("%s has committed %v of %s, whose ends are %v", group, committed, topic, ends)
		}
	}
	return nil
}

// Guards knative/direct as a whole: without Brokers and Triggers functions take their events straight from Kafka, unasked and from the first one on. enrich is killed with events in hand:
// nothing that was answered for is lost, nothing is in search twice, replay's accounts close, and no lag is left, which is what lets KEDA put functions to sleep.
func TestDirect(t *testing.T) {
	if testing.Short() {
		t.Skip("the pipeline takes half a minute: not in short mode")
	}
	s := newSystem(t)
	s.flags = append(s.flags, "-overlay", "direct")
	s.start()

	const batches, killAt = 40, 20
	accepted, stores := map[string]bool{}, s.stores()
	killed := 0
	for n := range batches {
		if n == killAt {
			s.eventually("enrich reads, unasked", func() error {
				length, err := stores.Length(t.Context(), s.names.Enriched)
				if err == nil && length < killAt*50/2 {
					err = fmt.Errorf("%d enriched", length)
				}
				return err
			})
		}
		receipts, err := s.send(t.Context(), trips(fmt.Sprintf("direct/%d", n), 50))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range receipts {
			accepted[r.RootID] = true
		}
		if n == killAt { // what was just sent is in its hands, or about to be
			killed = s.child("enrich")
			if err := syscall.Kill(killed, syscall.SIGKILL); killed == 0 || err != nil {
				t.Fatalf("process %d of enrich: %v", killed, err)
			}
			t.Logf("killed: %v", behind(t.Context(), stores, "millrace-enrich", s.names.Raw))
		}
	}
	s.eventually("enrich runs again by itself", func() error {
		if pid := s.child("enrich"); pid == 0 || pid == killed {
			return errors.New("not yet")
		}
		return nil
	})
	if len(accepted) != batches*50 {
		t.Errorf("%d accepted, want %d", len(accepted), batches*50)
	}
	s.allThere(accepted)

	for _, reader := range []struct{ group, topic string }{
		{"millrace-enrich", s.names.Raw}, {"millrace-load-search", s.names.Enriched}, {"millrace-load-search", s.names.Dead},
	} {
		s.eventually("no lag of "+reader.group, func() error { return behind(t.Context(), stores, reader.group, reader.topic) })
	}

	// Groups that nobody uses would look stuck to whoever watches lag.
	if unused, err := stores.Committed(t.Context(), "knative-trigger-millrace-enrich", s.names.Raw); !errors.Is(err, sarama.ErrGroupIDNotFound) {
		t.Errorf("a Trigger that is not there has a group, which has committed %v, %v", unused, err)
	}

	id, secret, err := s.credentials()
	if err != nil {
		t.Fatal(err)
	}
	reconcile := exec.CommandContext(t.Context(), filepath.Join(s.dir, "replay"), "reconcile", "--from", "1h", "--wait", "1m", "--group", direct)
	reconcile.Env = append(slices.Clone(s.environment), "KAFKA_BROKERS="+strings.Join(s.brokers, ","), "ELASTICSEARCH_URL="+s.es, "S3_ENDPOINT="+s.s3,
		"AWS_ACCESS_KEY_ID="+id, "AWS_SECRET_ACCESS_KEY="+secret)
	out, err := reconcile.CombinedOutput()
	t.Logf("replay reconcile:\n%s", out)
	if err != nil || !strings.Contains(string(out), "The sums close: nothing is missing.") || strings.Contains(string(out), "no committed offset") {
		t.Errorf("replay reconcile: %v", err)
	}
}
