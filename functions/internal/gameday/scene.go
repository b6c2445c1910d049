package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
	"millrace/functions/internal/gameday/internal/proxy"
	"millrace/functions/internal/gameday/internal/server"
	"millrace/functions/internal/pipeline"
)

// stage is what all rows share: servers and the proxies before them.
type stage struct {
	cfg  *config
	root string
	dir  string

	load atomic.Pointer[load.Load] // of the row under way, for who tells of it

	// tamper, which only tests set, spoils stores between calm and account.
	tamper func(ctx context.Context, s *scene, items []load.Item) error

	kafka, search, s3         *server.Server
	kafkaWay, searchWay, s3At *proxy.TCP
	documents                 *proxy.Search
	log                       *os.File
}

// open builds the platform and starts the servers. Close must follow, whatever it returns.
func (st *stage) open(ctx context.Context) error {
	var err error
	if st.log, err = os.Create(filepath.Join(st.dir, "platform.log")); err != nil {
		return err
	}
	if err := st.build(ctx); err != nil {
		return err
	}
	p := st.cfg.programs
	front, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return err
	}
	var behind string
	if st.kafka, behind, err = p.Kafka(ctx, st.dir, front); err != nil {
		return err
	}
	if st.search, err = p.Elasticsearch(ctx, st.dir); err != nil {
		return err
	}
	if st.s3, err = p.MinIO(ctx, st.dir); err != nil {
		return err
	}
	if st.kafkaWay, err = proxy.NewTCP(ctx, front, behind, st.cfg.seed); err != nil {
		return err
	}
	if st.documents, err = proxy.NewSearch(ctx, st.search.Address); err != nil {
		return err
	}
	// Not just any ports: one that a proxy leaves for a while must be free afterwards.
	if front, err = pipeline.FreeAddress(ctx); err != nil {
		return err
	}
	if st.searchWay, err = proxy.NewTCP(ctx, front, st.documents.Address(), st.cfg.seed+1); err != nil {
		return err
	}
	if front, err = pipeline.FreeAddress(ctx); err != nil {
		return err
	}
	if st.s3At, err = proxy.NewTCP(ctx, front, st.s3.Address, st.cfg.seed+2); err != nil {
		return err
	}
	return st.up(ctx)
}

// build compiles the platform, and the functions that it would else compile in the first row: a linker's minute on a busy machine is not the row's.
func (st *stage) build(ctx context.Context) error {
	if err := pipeline.Build(ctx, st.root, st.dir, "./knative/local"); err != nil {
		return err
	}
	functions := []string{"./functions/produce", "./functions/provision"}
	for _, name := range pipeline.Functions {
		functions = append(functions, "./functions/"+name)
	}
	bin := filepath.Join(st.platformDir(), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	return pipeline.Build(ctx, st.root, bin, functions...)
}

// platformDir is the directory of the platforms of all rows.
func (st *stage) platformDir() string { return filepath.Join(st.dir, "platform") }

// up starts the servers that do not run, and lets all proxies pass.
func (st *stage) up(ctx context.Context) error {
	errs := make([]error, 3)
	var starting sync.WaitGroup
	for i, s := range []*server.Server{st.kafka, st.search, st.s3} {
		if !s.Running() {
			starting.Go(func() { errs[i] = s.Start(ctx) })
		}
	}
	starting.Wait()
	for _, p := range []*proxy.TCP{st.kafkaWay, st.searchWay, st.s3At} {
		errs = append(errs, p.Set(ctx, proxy.Pass))
	}
	st.documents.Answer(0)
	st.documents.Judge(nil)
	return errors.Join(errs...)
}

// forget makes proxies count anew: what a row's fault did must not be proven by another's.
func (st *stage) forget() {
	for _, p := range []*proxy.TCP{st.kafkaWay, st.searchWay, st.s3At} {
		p.Forget()
	}
	st.documents.Forget()
}

// close ends everything that open began.
func (st *stage) close(ctx context.Context) error {
	var errs []error
	for _, p := range []*proxy.TCP{st.kafkaWay, st.searchWay, st.s3At} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if st.documents != nil {
		errs = append(errs, st.documents.Close())
	}
	for _, s := range []*server.Server{st.kafka, st.search, st.s3} {
		if s != nil {
			errs = append(errs, s.Kill(ctx))
		}
	}
	return errors.Join(errs...)
}

// scene is one row under way.
type scene struct {
	*stage
	row      *row
	platform *pipeline.Platform
	stores   *pipeline.Stores
	source   string
	random   *rand.Rand
	load     *load.Load
	notes    []string // what the faults found worth telling

	inHand int64        // processes that ended with events in hand, for sure
	guests atomic.Int64 // that were given partitions
}

// outcome is what a row came to.
type outcome struct {
	row    *row
	notes  []string
	err    error // the row could not be played, or did not come to rest
	broken []string
	*ledger.Account

	fault, toSearch, toLake time.Duration
	// What the row took: to start the platform, to load it and break it, to recover and calm down, to read everything, to stop the platform.
	started, loaded, calmed, read, stopped time.Duration
}

// ok says that the row held.
func (o *outcome) ok() bool {
	return o.err == nil && len(o.broken) == 0 && o.Account != nil && o.Clean()
}

// tick is how often the lake's drains are asked for.
const tick = "1s"

// prepare starts the platform with names of the row's own.
func (s *scene) prepare(ctx context.Context, number int) error {
	own := fmt.Sprintf("row%d", number)
	s.source = "/gameday/" + own
	names := pipeline.Names{
		Raw: own + ".raw", Enriched: own + ".enriched", Dead: own + ".dead", Bucket: "gameday-" + own, Private: "gameday-" + own + "-private", IndexPrefix: own + "-",
	}
	changes := []string{
		"events.raw", names.Raw, "events.enriched", names.Enriched, "events.dead", names.Dead,
		"S3_BUCKET: millrace", "S3_BUCKET: " + names.Bucket + "\n  INDEX_PREFIX: " + names.IndexPrefix, "S3_BUCKET_PRIVATE: millrace-private", "S3_BUCKET_PRIVATE: " + names.Private,
	}
	if s.row.retries > 0 {
		changes = append(changes, "retry: 200", fmt.Sprintf("retry: %d", s.row.retries))
	}
	copied, replace := filepath.Join(s.dir, own), strings.NewReplacer(changes...)
	manifests, err := pipeline.Manifests(s.root, copied, replace)
	if s.row.direct {
		manifests, err = pipeline.Overlay(s.root, copied, "direct", replace)
	}
	if err != nil {
		return err
	}
	listen, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return err
	}
	s.stores = &pipeline.Stores{
		Brokers: []string{s.kafka.Address}, S3: "http://" + s.s3.Address, Search: "http://" + s.search.Address, Names: names,
		Credentials: func() (string, string, error) { return server.S3User, server.S3Password, nil },
	}
	s.platform = &pipeline.Platform{
		Binary: filepath.Join(s.dir, "local"), Root: s.root, Dir: s.platformDir(), Listen: listen, Output: s.log,
		Flags: []string{"-tick", tick, "-manifests", manifests},
		Env: append(s.cfg.environment(), "KAFKA_BROKERS="+s.kafkaWay.Address(), "ELASTICSEARCH_URL=http://"+s.searchWay.Address(), "S3_ENDPOINT=http://"+s.s3At.Address(),
			"AWS_ACCESS_KEY_ID="+server.S3User, "AWS_SECRET_ACCESS_KEY="+server.S3Password),
	}
	fmt.Fprintf(s.log, "\n==== %s: %s\n", own, s.row)
	starting, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("the platform did not start within 3 minutes"))
	defer cancel()
	return s.platform.Start(starting)
}

// before is the share of the load that goes by before the fault.
const before = 0.15

// play plays one row.
func (st *stage) play(ctx context.Context, r *row, number int) *outcome {
	lap := stopwatch()
	o := &outcome{row: r}
	s := &scene{stage: st, row: r, random: rand.New(rand.NewPCG(st.cfg.seed, uint64(number)))}
	err := st.up(ctx)
	st.forget()
	if err == nil {
		err = s.prepare(ctx, number)
	}
	o.started = lap()
	if err == nil {
		err = s.perform(ctx, o, lap)
	}
	switch {
	case s.platform == nil:
	case ctx.Err() != nil: // nobody waits for it any more
		err = errors.Join(err, s.platform.Stop(syscall.SIGKILL, time.Minute))
	default:
		err = errors.Join(err, s.platform.Stop(syscall.SIGTERM, 2*time.Minute))
	}
	o.err, o.notes, o.stopped = err, s.notes, lap()
	return o
}

// stopwatch returns a function that says how long ago it was called before.
func stopwatch() func() time.Duration {
	last := time.Now()
	return func() time.Duration {
		before := last
		last = time.Now()
		return last.Sub(before)
	}
}

// loads is how long the row's load takes, in seconds, where the fault takes no longer than it should.
func (r *row) loads(cfg *config) float64 {
	return max(float64(cfg.events)/cfg.rate, (r.takes(cfg).Seconds()+5)/(1-before))
}

func (s *scene) perform(ctx context.Context, o *outcome, lap func() time.Duration) error {
	seconds, over := s.row.loads(s.cfg), make(chan struct{})
	options := load.Options{
		URL: s.platform.Collect(), Count: s.cfg.events, Until: over, Rate: float64(s.cfg.events) / seconds, Batch: 20, Workers: 8, Patience: s.cfg.patience,
		Make: func(i int) load.Event { return trip(s.source, i) },
	}
	if s.row.events != nil {
		options.Make = func(i int) load.Event { return s.row.events(s.source, i) }
	}
	if s.row.abandon {
		options.Abandon = func(b int) float64 { return []float64{0, 0.5, 0, 1}[b%4] }
	}
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	s.load = load.Start(loading, options)
	s.stage.load.Store(s.load)
	defer s.stage.load.Store(nil)
	defer func() { cancel(); <-s.load.Done() }()
	if !wait(ctx, time.Duration(before*seconds*float64(time.Second))) {
		return context.Cause(ctx)
	}
	injected := time.Now()
	atFirst, _ := s.load.Progress()
	if s.row.inject != nil {
		if err := s.row.inject(ctx, s); err != nil {
			return fmt.Errorf("inject: %w", err)
		}
	}
	if s.row.stays {
		if !wait(ctx, time.Until(injected.Add(s.row.takes(s.cfg)))) {
			return context.Cause(ctx)
		}
		if p := s.row.proof; p != nil {
			// On a busy machine little may have happened so far. Where nothing happens at all, the account says so.
			err := until(ctx, "for a first "+p.what, func() (bool, error) { return p.n(s) > 0, nil })
			if ctx.Err() != nil {
				return err
			}
		}
	}
	if s.row.end != nil {
		if err := s.row.end(ctx, s); err != nil {
			return fmt.Errorf("end the fault: %w", err)
		}
	}
	ended := time.Now()
	o.fault = ended.Sub(injected)
	during, _ := s.load.Progress()
	during -= atFirst
	close(over)
	var err error
	if o.toSearch, o.toLake, err = s.recover(ctx, ended); err != nil {
		return err
	}
	select {
	case <-s.load.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	o.loaded = lap()
	items, wrong := s.load.Result()
	if err := s.settle(ctx); err != nil {
		return err
	}
	o.calmed = lap()
	if s.tamper != nil {
		if err := s.tamper(ctx, s, items); err != nil {
			return fmt.Errorf("tamper: %w", err)
		}
	}
	if o.Account, err = s.account(ctx, items); err != nil {
		return err
	}
	o.read = lap()
	o.Wrong = append(o.Wrong, wrong...)
	if n := o.Final[load.NoAnswer]; n > 0 {
		o.broken = append(o.broken, fmt.Sprintf("%d events never got a final receipt", n))
	}
	if s.row.takes(s.cfg) > 0 && during == 0 {
		o.broken = append(o.broken, "the row shows nothing: not one event was sent while the fault lasted")
	}
	if p := s.row.proof; p != nil {
		s.notes = append(s.notes, fmt.Sprintf("%d times: %s", p.n(s), p.what))
		if err := happened(p.what, p.n(s)); err != nil {
			o.broken = append(o.broken, err.Error())
		}
	}
	if s.row.check != nil {
		if err := s.row.check(s, o.Account); err != nil {
			o.broken = append(o.broken, err.Error())
		}
	}
	return nil
}

// groups are the groups of Triggers, or of functions that read Kafka themselves, by what they read.
func (s *scene) groups() (raw, enriched, dead string) {
	if s.row.direct {
		return "millrace-enrich", "millrace-load-search", "millrace-load-search"
	}
	const prefix = "knative-trigger-millrace-"
	return prefix + "enrich", prefix + "load-search-enriched", prefix + "load-search-dead"
}

// pollEvery is how often recovery is looked at.
const pollEvery = 250 * time.Millisecond

// recover waits until everything that was due at the time is answered for and through, and returns how long after that time this was so.
func (s *scene) recover(ctx context.Context, then time.Time) (toSearch, toLake time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.patience, fmt.Errorf("not recovered within %s of the fault's end", s.cfg.patience))
	defer cancel()
	patiently := func(what string, f func() (bool, error)) error {
		for {
			ok, err := f()
			if ok && err == nil {
				return nil
			}
			if !wait(ctx, pollEvery) {
				return errors.Join(fmt.Errorf("%s: %w", what, context.Cause(ctx)), err)
			}
		}
	}
	rawGroup, enrichedGroup, deadGroup := s.groups()
	n := s.stores.Names
	if err := patiently("receipts of what was due", func() (bool, error) { return s.load.Waiting(then) == 0, nil }); err != nil {
		return 0, 0, err
	}
	ends := map[string]map[int32]int64{}
	mark := func(topic string) error {
		return patiently("the end of "+topic, func() (ok bool, err error) {
			ends[topic], err = s.stores.Ends(ctx, topic)
			return err == nil, err
		})
	}
	passed := func(group, topic string) error {
		return patiently(group+" behind "+topic, func() (bool, error) {
			at, err := s.stores.Committed(ctx, group, topic)
			return reached(at, ends[topic]), err
		})
	}
	err = mark(n.Raw)
	if err == nil {
		err = passed(rawGroup, n.Raw)
	}
	for _, topic := range []string{n.Enriched, n.Dead} {
		if err == nil {
			err = mark(topic)
		}
	}
	if err == nil {
		err = passed(enrichedGroup, n.Enriched)
	}
	if err == nil {
		err = passed(deadGroup, n.Dead)
	}
	if err != nil {
		return 0, 0, err
	}
	toSearch = time.Since(then)
	for _, topic := range []string{n.Raw, n.Enriched, n.Dead} {
		err := patiently("the drain of "+topic, func() (bool, error) {
			at, err := s.stores.Drained(ctx, topic)
			return reached(at, ends[topic]), err
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return toSearch, time.Since(then), nil
}

func reached(at, ends map[int32]int64) bool {
	for p, end := range ends {
		if at[p] < end {
			return false
		}
	}
	return true
}

// settle waits until nothing moves any more.
func (s *scene) settle(ctx context.Context) error {
	deadline := time.Now().Add(s.cfg.patience)
	var last []int64
	for calm := 0; calm < 2; {
		now, err := s.standing(ctx)
		if err == nil && slices.Equal(now, last) {
			calm++
		} else {
			calm = 0
		}
		last = now
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("still moving after %s: %v", s.cfg.patience, now), err)
		}
		if !wait(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// account compares. Where that does not close at once, it is done again: a search that is not refreshed yet is no loss. The account that stays is what counts.
func (s *scene) account(ctx context.Context, items []load.Item) (*ledger.Account, error) {
	var a *ledger.Account
	for try := range 4 {
		if try > 0 && !wait(ctx, 5*time.Second) {
			return nil, context.Cause(ctx)
		}
		var err error
		if a, err = ledger.Take(ctx, s.stores, s.stores.Names, items); err != nil {
			if try == 3 {
				return nil, err
			}
			continue
		}
		if a.Clean() {
			break
		}
	}
	if a == nil {
		return nil, errors.New("no account could be taken")
	}
	return a, nil
}

// standing returns numbers that stay the same when nothing moves: what topics and indexes hold, and how far groups and drains are behind.
func (s *scene) standing(ctx context.Context) ([]int64, error) {
	var all []int64
	rawGroup, enrichedGroup, deadGroup := s.groups()
	for _, one := range []struct{ group, topic string }{{rawGroup, s.stores.Names.Raw}, {enrichedGroup, s.stores.Names.Enriched}, {deadGroup, s.stores.Names.Dead}} {
		ends, err := s.stores.Ends(ctx, one.topic)
		if err != nil {
			return nil, err
		}
		committed, err := s.stores.Committed(ctx, one.group, one.topic)
		if err != nil {
			return nil, err
		}
		drained, err := s.stores.Drained(ctx, one.topic)
		if err != nil {
			return nil, err
		}
		all = append(all, sum(ends), sum(committed), sum(drained))
		if !reached(committed, ends) || !reached(drained, ends) {
			return all, fmt.Errorf("%s: %d records, %d behind its Trigger, %d in the lake", one.topic, sum(ends), sum(committed), sum(drained))
		}
	}
	for _, pattern := range []string{"enriched-*", "dead-*"} {
		n, err := s.stores.Count(ctx, pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func sum(offsets map[int32]int64) (n int64) {
	for _, at := range offsets {
		n += at
	}
	return n
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
