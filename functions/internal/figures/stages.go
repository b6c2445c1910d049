package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"

	"millrace/functions/internal/figures/internal/load"
	"millrace/functions/internal/figures/internal/rig"
	"millrace/functions/internal/pipeline"
	"millrace/shared/contract"
	"millrace/shared/document"
	"millrace/shared/kafka"
	"millrace/shared/mask"
	"millrace/shared/search"
)

// stageEvents is how many events a stage is measured with.
const stageEvents = 200_000

// patience bounds the waiting for one stage.
const patience = 5 * time.Minute

// fillRaw writes events to a topic as collect does: through it.
func (r *measurement) fillRaw(ctx context.Context) error {
	if r.raw != "" {
		return nil
	}
	raw, err := r.Topic(ctx, "stages.raw")
	if err != nil {
		return err
	}
	dead, err := r.Topic(ctx, "stages.dead")
	if err != nil {
		return err
	}
	collect, err := r.Function(ctx, "collect", with(collectEnv, "SINK=kafka:///"+raw, "DEAD_SINK=kafka:///"+dead)...)
	if err != nil {
		return err
	}
	if _, err := load.Send(ctx, load.Options{
		Address: collect.Address, Path: collectPath, Name: "stage", Events: stageEvents, Batch: perBatch, Connections: connections, Receipts: true,
	}); err != nil {
		return err
	}
	if _, err := collect.Stop(); err != nil {
		return err
	}
	r.raw = raw
	return r.Drop(dead)
}

// enrichOnce runs enrich over all raw events, to a new topic, until it has committed them.
func (r *measurement) enrichOnce(ctx context.Context, name string) (enriched string, cpu, took time.Duration, memory float64, err error) {
	if err := r.fillRaw(ctx); err != nil {
		return "", 0, 0, 0, err
	}
	if enriched, err = r.Topic(ctx, name+".enriched"); err != nil {
		return "", 0, 0, 0, err
	}
	dead, err := r.Topic(ctx, name+".dead")
	if err != nil {
		return "", 0, 0, 0, err
	}
	group := r.Group(name)
	began := time.Now()
	enrich, err := r.Function(ctx, "enrich", with(enrichEnv, "INTAKE=kafka:///"+r.raw+"?group="+group, "SINK=kafka:///"+enriched, "DEAD_SINK=kafka:///"+dead)...)
	if err != nil {
		return "", 0, 0, 0, err
	}
	if err := until(ctx, "all events enriched", 50*time.Millisecond, patience, func() (bool, error) {
		left, err := r.Lag(group, r.raw)
		return left == 0, errors.Join(err, enrich.Alive())
	}); err != nil {
		return "", 0, 0, 0, err
	}
	took = time.Since(began)
	if memory, err = rig.Memory(enrich.PID()); err != nil {
		return "", 0, 0, 0, err
	}
	if cpu, err = enrich.Stop(); err != nil {
		return "", 0, 0, 0, err
	}
	n, err := r.Length(enriched)
	if err == nil && n < stageEvents {
		err = fmt.Errorf("%d events were enriched, of %d", n, stageEvents)
	}
	return enriched, cpu, took, memory, errors.Join(err, r.Drop(dead))
}

// enrichIntake measures the processor time of enrich's process, start and end included, for events that wait in Kafka.
func enrichIntake(ctx context.Context, r *measurement) error {
	for i := range runs {
		enriched, cpu, took, memory, err := r.enrichOnce(ctx, fmt.Sprintf("enrich-%d", i))
		if err != nil {
			return err
		}
		r.results.add("Enrich", "us", perEvent(cpu, stageEvents))
		r.results.add("Enrich", "events/s", stageEvents/took.Seconds())
		r.results.add("Enrich", "MiB", memory)
		if r.enriched == "" {
			r.enriched = enriched
			continue
		}
		if err := r.Drop(enriched); err != nil {
			return err
		}
	}
	return nil
}

// fillEnriched makes sure of a topic of enriched events.
func (r *measurement) fillEnriched(ctx context.Context) (err error) {
	if r.enriched == "" {
		r.enriched, _, _, _, err = r.enrichOnce(ctx, "stages")
	}
	return err
}

// documents is how many are written on each side, in turns.
const (
	documents   = 60_000
	searchTurns = 3
)

// searchBulk compares load-search by Kafka intake with a bare bulk client: the same documents byte for byte, the same ids, the same template, an index of its own for each. To the left
// the time from load-search's readiness, with its events waiting in Kafka, until it has settled the last one: reading, decoding and making documents are in it. To the right that of
// esutil's BulkIndexer for documents that were made before.
func searchBulk(ctx context.Context, r *measurement) error {
	if err := r.fillEnriched(ctx); err != nil {
		return err
	}
	template, err := r.records(ctx, r.enriched, documents)
	if err != nil {
		return err
	}
	waiting, err := r.Topic(ctx, "search.enriched")
	if err != nil {
		return err
	}
	dead, err := r.Topic(ctx, "search.dead")
	if err != nil {
		return err
	}
	if _, err := rawProducer(r.Brokers, copies(waiting, template)); err != nil {
		return err
	}
	set, err := contract.Embedded()
	if err != nil {
		return err
	}
	bare, err := search.New(search.Options{URL: r.Search, Prefix: r.Prefix + "bare-"})
	if err != nil {
		return err
	}
	defer bare.Close()
	if err := bare.EnsureTemplates(ctx, set.All()); err != nil {
		return err
	}
	models := document.ModelsOf(set)
	ops := make([]search.Operation, len(template))
	ids := map[string]bool{} // an event that was sent twice would be a conflict
	for i, m := range template {
		e, err := kafka.Decode(m) //nolint:contextcheck // it reads from memory only
		if err != nil {
			return err
		}
		d, err := document.New(bare, models, noKey, e)
		if err != nil {
			return err
		}
		ops[i] = d.Operation
		ids[d.ID] = true
	}
	if len(ids) < len(ops) {
		return fmt.Errorf("of %d events %d are there twice, since Kafka was too slow for collect: measure again", len(ops), len(ops)-len(ids))
	}
	r.note("The bare bulk client is go-elasticsearch's BulkIndexer with two workers and its default of 5 MB a request; load-search is as knative/direct has it, with two requests at a time.")
	for range searchTurns {
		if err := r.loadTurn(ctx, waiting, dead); err != nil {
			return err
		}
		if err := r.bareTurn(ctx, ops); err != nil {
			return err
		}
	}
	key := func(metric string, i int) float64 { return r.results["Search "+metric][i] }
	for i := range searchTurns {
		r.results.add("Search", "ratio", key("load-docs/s", i)/key("bare-docs/s", i))
	}
	return r.Drop(waiting, dead)
}

// noKey is for documents of which nothing is masked: trips hold no personal data.
func noKey() (*mask.Key, error) { return nil, errors.New("there is no key to mask with") }

// searchMeter is a meter of one process and Elasticsearch.
func (r *measurement) searchMeter(m meter) meter {
	if pid, ok := r.ServerPIDs()["Elasticsearch"]; ok {
		m.pids["Elasticsearch"] = pid
	}
	return m
}

func (r *measurement) loadTurn(ctx context.Context, waiting, dead string) error {
	group := r.Group("search" + time.Now().Format("150405"))
	p, err := r.Function(ctx, "load-search", with(searchEnv, "INTAKE=kafka:///"+waiting+","+dead+"?group="+group, "DEAD_SINK=kafka:///"+dead)...)
	if err != nil {
		return err
	}
	began := time.Now()
	m := r.searchMeter(meter{pids: map[string]int{"it": p.PID()}})
	used, err := m.during(func() error {
		return until(ctx, "all documents written", 100*time.Millisecond, patience, func() (bool, error) {
			n, err := p.Counter(ctx, "millrace_search_events_total", `outcome="done"`)
			return int(n) >= documents, errors.Join(err, p.Alive())
		})
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	if _, err := p.Stop(); err != nil {
		return err
	}
	if n, err := r.Count(ctx, "enriched-*"); err != nil || n != documents {
		return errors.Join(fmt.Errorf("load-search wrote %d documents of %d", n, documents), err)
	}
	r.results.add("Search", "load-docs/s", documents/took.Seconds())
	r.results.add("Search", "load-us", perEvent(used["it"], documents))
	if _, ok := m.pids["Elasticsearch"]; ok {
		r.results.add("Search", "load-server-us", perEvent(used["Elasticsearch"], documents))
	}
	return r.DropIndexes(ctx, "enriched-*")
}

func (r *measurement) bareTurn(ctx context.Context, ops []search.Operation) error {
	client, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{r.Search}})
	if err != nil {
		return err
	}
	runtime.GC() // what came before is not the client's to pay
	var failed atomic.Pointer[error]
	fail := func(err error) { failed.CompareAndSwap(nil, &err) }
	m := r.searchMeter(meter{pids: map[string]int{}, self: true})
	var took time.Duration
	var done uint64
	used, err := m.during(func() error {
		began := time.Now()
		b, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, NumWorkers: 2, OnError: func(_ context.Context, err error) { fail(err) }})
		if err != nil {
			return err
		}
		for i := range ops {
			if err := b.Add(ctx, esutil.BulkIndexerItem{
				Action: "create", Index: ops[i].Index, DocumentID: ops[i].ID, Body: bytes.NewReader(ops[i].Source),
				OnFailure: func(_ context.Context, _ esutil.BulkIndexerItem, res esutil.BulkIndexerResponseItem, err error) {
					fail(errors.Join(err, errors.New("a document was refused: "+res.Error.Type)))
				},
			}); err != nil {
				return err
			}
		}
		err = b.Close(ctx)
		took, done = time.Since(began), b.Stats().NumFlushed
		return err
	})
	if first := failed.Load(); first != nil {
		err = errors.Join(err, *first)
	}
	if err == nil && int(done) != len(ops) {
		err = fmt.Errorf("%d documents of %d were written", done, len(ops))
	}
	if err != nil {
		return fmt.Errorf("bare bulk client: %w", err)
	}
	r.results.add("Search", "bare-docs/s", documents/took.Seconds())
	r.results.add("Search", "bare-us", perEvent(used[selfName], documents))
	if _, ok := m.pids["Elasticsearch"]; ok {
		r.results.add("Search", "bare-server-us", perEvent(used["Elasticsearch"], documents))
	}
	return r.DropIndexes(ctx, "bare-*")
}

// lakeDrains measures load-lake's process, its start left out, over a drain of a topic of raw events and one of enriched ones.
func lakeDrains(ctx context.Context, r *measurement) error {
	if err := r.fillEnriched(ctx); err != nil {
		return err
	}
	dead, err := r.Topic(ctx, "lake.dead")
	if err != nil {
		return err
	}
	for i := range runs {
		public, err := r.Bucket(ctx, fmt.Sprintf("lake-%d", i))
		if err != nil {
			return err
		}
		private, err := r.Bucket(ctx, fmt.Sprintf("lake-private-%d", i))
		if err != nil {
			return err
		}
		p, err := r.Function(ctx, "load-lake", with(lakeEnv, "TOPIC_RAW="+r.raw, "TOPIC_ENRICHED="+r.enriched, "TOPIC_DEAD="+dead,
			"S3_BUCKET="+public, "S3_BUCKET_PRIVATE="+private, "LAG_GROUP="+r.Group(fmt.Sprintf("lake-%d", i)))...)
		if err != nil {
			return err
		}
		stores := pipeline.Stores{
			Brokers: r.Brokers, S3: r.S3, Names: pipeline.Names{Raw: r.raw, Enriched: r.enriched, Dead: dead, Bucket: public, Private: private},
			Credentials: func() (string, string, error) { return r.ID, r.Key, nil },
		}
		for _, kind := range []struct{ name, topic string }{{"raw", r.raw}, {"typed", r.enriched}} {
			began := time.Now()
			used, err := meter{pids: map[string]int{"it": p.PID()}}.during(func() error { return drain(ctx, p, kind.topic) })
			if err != nil {
				return err
			}
			took := time.Since(began)
			n, err := r.Length(kind.topic)
			if err != nil {
				return err
			}
			if landed, err := stores.Landed(ctx, kind.topic, false); err != nil || landed.Rows != n {
				return errors.Join(fmt.Errorf("%d rows of %d landed", landed.Rows, n), err)
			}
			r.results.add("Lake", kind.name+"-us", perEvent(used["it"], int(n)))
			r.results.add("Lake", kind.name+"-events/s", float64(n)/took.Seconds())
		}
		if _, err := p.Stop(); err != nil {
			return err
		}
	}
	return r.Drop(dead)
}

var ticker = &http.Client{Timeout: patience}

// drain asks load-lake for a drain of the topic, as a PingSource does, and returns when it is done.
func drain(ctx context.Context, p *rig.Process, topic string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Address+"/", bytes.NewReader(fmt.Appendf(nil, `{"topic":%q}`, topic)))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": time.Now().Format(time.RFC3339Nano), "Ce-Source": "/figures", "Ce-Type": "dev.knative.sources.ping",
	} {
		req.Header.Set(name, value)
	}
	resp, err := ticker.Do(req)
	if err != nil {
		return fmt.Errorf("drain %s: %w", topic, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	if resp.StatusCode >= 300 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 300))
		return errors.Join(fmt.Errorf("drain %s: %s %s", topic, resp.Status, text), err)
	}
	return nil
}
