package functions_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// zones returns for each taxi trip that search shows its pickup zone and replay count, by root id.
func (s *system) zones() (map[string]string, error) {
	body := []byte(`{"size":1000,"_source":["root_id","replay_count","enrichment.pickup_zone"],"query":{"match_all":{}}}`)
	var page struct {
		Hits struct {
			Hits []struct {
				Source struct {
					RootID      string `json:"root_id"`
					ReplayCount int    `json:"replay_count"`
					Enrichment  struct {
						Zone string `json:"pickup_zone"`
					}
				} `json:"_source"`
			}
		}
	}
	if err := s.do("POST", s.es+"/enriched-yellowtaxitriprecords-0-*/_search", body, &page); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, h := range page.Hits.Hits {
		if _, twice := found[h.Source.RootID]; twice {
			return nil, fmt.Errorf("%s is there twice", h.Source.RootID)
		}
		found[h.Source.RootID] = fmt.Sprintf("%s %d", h.Source.Enrichment.Zone, h.Source.ReplayCount)
	}
	return found, nil
}

// Guards the promise that a mistake of ours can be mended: under a contract that is too strict trips become dead letters, and by a lookup of the wrong column others are
// enriched wrongly. Once the contract is corrected, the plan says that all pass, and after its application search shows the corrected documents, once each; applied again,
// or planned from the lake, it is the same events, and the sums still close.
func TestReplayMends(t *testing.T) {
	if testing.Short() {
		t.Skip("the pipeline takes a minute: not in short mode")
	}
	s := newSystem(t)
	binary := filepath.Join(s.dir, "replay")
	contracts := t.TempDir()
	s.environment = append(s.environment, "CONTRACTS="+contracts)
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := embedded.Find("YellowTaxiTripRecords", "0-0-1")
	publish := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(contracts, "tmp"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(contracts, "tmp"), filepath.Join(contracts, "taxi"+contract.Suffix)); err != nil {
			t.Fatal(err)
		}
	}
	wrong := strings.Replace(strings.Replace(string(base.Source()), "maximum: 1000", "maximum: 2", 1), "pickup_zone: Zone", "pickup_zone: Borough", 1)
	if strings.Contains(wrong, "maximum: 1000") || strings.Contains(wrong, "pickup_zone: Zone") {
		t.Fatal("the contract is written in another way")
	}
	publish(wrong)
	s.start()

	trip := func(id int, distance string) string {
		all := strings.Replace(string(trips("replay", 1)), `"replay/0"`, fmt.Sprintf(`"replay/%d"`, id), 1)
		return strings.Trim(strings.Replace(all, `"trip_distance":2.5`, `"trip_distance":`+distance, 1), "[]")
	}
	root := func(id int) string { return event.Identity("/pipeline", fmt.Sprintf("replay/%d", id)) }
	send := func(events ...string) {
		t.Helper()
		if _, err := s.send(t.Context(), []byte("["+strings.Join(events, ",")+"]")); err != nil {
			t.Fatal(err)
		}
	}
	const short, long = 10, 20 // trips that pass the wrong contract, and that do not
	for id := range short + long {
		if id < short {
			send(trip(id, "1.5"))
		} else {
			send(trip(id, "2.5"))
		}
	}
	s.eventually("the trips are wrong", func() error {
		found, err := s.zones()
		if err != nil {
			return err
		}
		dead, err := s.documents("dead-*")
		if err != nil {
			return err
		}
		if len(found) != short || len(dead) != long || found[root(0)] != "Manhattan 0" {
			return fmt.Errorf("%d enriched, %d dead, %q", len(found), len(dead), found[root(0)])
		}
		return nil
	})

	key, secret, err := s.credentials()
	if err != nil {
		t.Fatal(err)
	}
	replay := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = slices.Concat(s.environment, []string{
			"KAFKA_BROKERS=" + strings.Join(s.brokers, ","), "ELASTICSEARCH_URL=" + s.es, "S3_ENDPOINT=" + s.s3,
			"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret,
		})
		var told strings.Builder
		cmd.Stderr = &told
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("replay %v: %v\n%s%s", args, err, out, told.String())
		}
		return out
	}
	file := func(name string) string { return filepath.Join(s.dir, name) }
	plan := func(name string, args ...string) map[string]int {
		t.Helper()
		var summary struct {
			Outcomes []struct {
				Outcome string
				Events  int
			}
		}
		if err := json.Unmarshal(replay(append([]string{"plan", "--format", "json", "-o", file(name)}, args...)...), &summary); err != nil {
			t.Fatal(err)
		}
		found := map[string]int{}
		for _, o := range summary.Outcomes {
			found[o.Outcome] += o.Events
		}
		return found
	}
	dead := []string{"--stage", "enrich", "--code", "contract_violation"}
	if got := plan("early.json", dead...); got["fail"] != long || len(got) != 1 {
		t.Errorf("before the correction: %v", got)
	}
	publish(string(base.Source()))
	probes := 0
	s.eventually("enrich has the corrected contract", func() error {
		id := short + long + probes
		probes++
		send(trip(id, "1.5"))
		var zone string
		s.eventually("the probe is in search", func() error {
			found, err := s.zones()
			if err == nil && found[root(id)] == "" {
				err = fmt.Errorf("%d documents", len(found))
			}
			zone = found[root(id)]
			return err
		})
		if zone != "Midtown Center 0" {
			return fmt.Errorf("zone %q", zone)
		}
		return nil
	})

	if got := plan("dead.json", dead...); got["pass"] != long || len(got) != 1 {
		t.Errorf("dead letters: %v", got)
	}
	replay("apply", file("dead.json"))
	s.eventually("the dead letters are in search", func() error {
		found, err := s.zones()
		if err == nil && (len(found) != short+long+probes || found[root(short)] != "Midtown Center 1") {
			err = fmt.Errorf("%d documents, %q", len(found), found[root(short)])
		}
		return err
	})

	raw := []string{"--source", "raw", "--from", "1h"}
	if got := plan("raw.json", raw...); got["overwrite"] != short+long+probes || len(got) != 1 {
		t.Errorf("raw events: %v", got)
	}
	replay("apply", file("raw.json"))
	want := func() error {
		found, err := s.zones()
		if err != nil {
			return err
		}
		for id := range short + long + probes {
			count := 1
			if id >= short && id < short+long {
				count = 2 // for the second time
			}
			if want := fmt.Sprintf("Midtown Center %d", count); found[root(id)] != want {
				return fmt.Errorf("%d is %q, want %q", id, found[root(id)], want)
			}
		}
		if len(found) != short+long+probes {
			return fmt.Errorf("%d documents", len(found))
		}
		return nil
	}
	s.eventually("every zone is right", want)

	// Twice is once; and what was replayed well is left alone by the next plan.
	replay("apply", "--journal", file("again"), file("raw.json"))
	replay("apply", "--journal", file("again2"), file("dead.json"))
	if got := plan("settled.json", dead...); got["settled"] != long || len(got) != 1 {
		t.Errorf("the day after: %v", got)
	}
	s.reconcile()
	if err := want(); err != nil {
		t.Error(err)
	}
	// The lake has it all, with the replays.
	if got := plan("lake.json", append(raw, "--lake")...); got["overwrite"] != short+long+probes || len(got) != 1 {
		t.Errorf("from the lake: %v", got)
	}
	replay("apply", "--dry-run", file("lake.json"))
}
