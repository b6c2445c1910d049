package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"millrace/functions/internal/figures/internal/load"
	"millrace/functions/internal/figures/internal/rig"
	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
)

// whole is the pipeline as processes, as knative/direct has it, on topics of its own.
type whole struct {
	r                   *measurement
	raw, enriched, dead string
	groups              [][2]string // group and topic
	functions           []*rig.Process
	collect, lake       *rig.Process
	sent                int
}

// startWhole starts the pipeline; lake says whether load-lake is part of it.
func (r *measurement) startWhole(ctx context.Context, name string, lake bool) (w *whole, err error) {
	w = &whole{r: r}
	for suffix, topic := range map[string]*string{".raw": &w.raw, ".enriched": &w.enriched, ".dead": &w.dead} {
		if *topic, err = r.Topic(ctx, name+suffix); err != nil {
			return nil, err
		}
	}
	enrichGroup, searchGroup := r.Group(name+"-enrich"), r.Group(name+"-load-search")
	w.groups = [][2]string{{enrichGroup, w.raw}, {searchGroup, w.enriched}, {searchGroup, w.dead}}
	deadSink := "DEAD_SINK=kafka:///" + w.dead
	start := func(function string, env []string) (*rig.Process, error) {
		p, err := r.Function(ctx, function, env...)
		if err == nil {
			w.functions = append(w.functions, p)
		}
		return p, err
	}
	if w.collect, err = start("collect", with(collectEnv, "SINK=kafka:///"+w.raw, deadSink)); err != nil {
		return nil, err
	}
	if _, err = start("enrich", with(enrichEnv, "INTAKE=kafka:///"+w.raw+"?group="+enrichGroup, "SINK=kafka:///"+w.enriched, deadSink)); err != nil {
		return nil, err
	}
	if _, err = start("load-search", with(searchEnv, "INTAKE=kafka:///"+w.enriched+","+w.dead+"?group="+searchGroup, deadSink)); err != nil {
		return nil, err
	}
	if !lake {
		return w, nil
	}
	public, err := r.Bucket(ctx, name)
	if err != nil {
		return nil, err
	}
	private, err := r.Bucket(ctx, name+"-private")
	if err != nil {
		return nil, err
	}
	w.lake, err = start("load-lake", with(lakeEnv, "TOPIC_RAW="+w.raw, "TOPIC_ENRICHED="+w.enriched, "TOPIC_DEAD="+w.dead,
		"S3_BUCKET="+public, "S3_BUCKET_PRIVATE="+private, "LAG_GROUP="+r.Group(name+"-lake")))
	return w, err
}

// pids are the processes of the pipeline and the servers that are on this machine.
func (w *whole) pids() map[string]int {
	pids := w.r.ServerPIDs()
	for _, p := range w.functions {
		pids[p.Name] = p.PID()
	}
	return pids
}

// lag returns how many events the functions that read have not finished, load-lake left out, which is behind by design.
func (w *whole) lag() (n int64, err error) {
	for _, g := range w.groups {
		lag, err := w.r.Lag(g[0], g[1])
		if err != nil {
			return 0, err
		}
		n += lag
	}
	return n, nil
}

// settled waits until nothing waits in Kafka.
func (w *whole) settled(ctx context.Context) error {
	return until(ctx, "nothing waits in Kafka", 200*time.Millisecond, patience, func() (bool, error) {
		n, err := w.lag()
		for _, p := range w.functions {
			err = errors.Join(err, p.Alive())
		}
		return n == 0, err
	})
}

// send sends events at a rate, in requests of batch.
func (w *whole) send(ctx context.Context, name string, rate, events, batch int, answered func(int, time.Time)) (load.Result, error) {
	sent, err := load.Send(ctx, load.Options{
		Address: w.collect.Address, Path: collectPath, Name: name, Events: events, Batch: batch, Connections: connections, Rate: float64(rate), Answered: answered, Receipts: true,
	})
	w.sent += sent.Events
	return sent, err
}

// indexed makes the first events searchable, so that the day's index is there, and sets its refresh interval.
func (w *whole) indexed(ctx context.Context) error {
	if _, err := w.send(ctx, "first", 1000, 1000, 10, nil); err != nil {
		return err
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	return w.r.Refresh(ctx, "enriched-*", "500ms")
}

// close ends the functions, proves that every event is a document, and removes documents and topics.
func (w *whole) close(ctx context.Context) error {
	if err := w.settled(ctx); err != nil {
		return err
	}
	n, err := w.r.Count(ctx, "enriched-*")
	if err == nil && n != int64(w.sent) {
		err = fmt.Errorf("%d events were accepted, and %d are in search", w.sent, n)
	}
	for _, p := range w.functions {
		_, stopping := p.Stop()
		err = errors.Join(err, stopping)
	}
	return errors.Join(err, w.r.DropIndexes(ctx, "*"), w.r.Drop(w.raw, w.enriched, w.dead))
}

// samples are events that are looked for in search.
type samples struct {
	mu      sync.Mutex
	waiting map[string]time.Time // by root id: when the receipt came
	took    []time.Duration
}

// most is how many samples one look asks for.
const most = 500

// look searches for those that wait, the eldest first, as a person would: by a query, which sees what is refreshed.
func (s *samples) look(ctx context.Context, r *measurement) error {
	s.mu.Lock()
	ids := slices.SortedFunc(maps.Keys(s.waiting), func(a, b string) int { return s.waiting[a].Compare(s.waiting[b]) })
	s.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{
		"size": most, "_source": false, "track_total_hits": false, "query": map[string]any{"terms": map[string]any{"root_id": ids[:min(most, len(ids))]}},
	})
	if err != nil {
		return err
	}
	var page struct {
		Hits struct {
			Hits []struct {
				ID string `json:"_id"`
			}
		}
	}
	if err := pipeline.Do(ctx, http.MethodPost, r.Search+"/"+r.Prefix+"enriched-*/_search", body, &page); err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range page.Hits.Hits {
		if receipt, ok := s.waiting[h.ID]; ok {
			s.took = append(s.took, now.Sub(receipt))
			delete(s.waiting, h.ID)
		}
	}
	return nil
}

func (s *samples) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// searchable measures the time from an event's receipt until a query finds it, for one event in 50, looked for every 50 ms, under single events at 1,000 a second.
func searchable(ctx context.Context, r *measurement) error {
	const rate, seconds, every = 1000, 30, 50
	w, err := r.startWhole(ctx, "searchable", false)
	if err != nil {
		return err
	}
	if err := w.indexed(ctx); err != nil {
		return err
	}
	if _, err := w.send(ctx, "warm", rate, 5*rate, 1, nil); err != nil {
		return err
	}
	s := &samples{waiting: map[string]time.Time{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looking, stop := context.WithCancel(ctx)
	defer stop()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-looking.Done():
				return
			}
			if err := s.look(ctx, r); err != nil {
				cancel(err)
				return
			}
		}
	})
	const name = "searchable"
	_, err = w.send(ctx, name, rate, rate*seconds, 1, func(i int, at time.Time) {
		if i%every == 0 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.waiting[event.Identity(load.Source, load.ID(name, i))] = at
		}
	})
	if err == nil {
		err = until(ctx, "all samples are searchable", 50*time.Millisecond, time.Minute, func() (bool, error) { return s.left() == 0, nil })
	}
	stop()
	watcher.Wait()
	if err != nil {
		return err
	}
	slices.Sort(s.took)
	r.results.add("Searchable", "median-s", s.took[len(s.took)/2].Seconds())
	r.results.add("Searchable", "p99-s", s.took[len(s.took)*99/100].Seconds())
	r.note("Searchable: %d samples, one event in %d, looked for by a query every 50 ms.", len(s.took), every)
	return w.close(ctx)
}
