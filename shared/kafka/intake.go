package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/intake"
	"millrace/shared/tracecontext"
)

// IntakeOptions are the settings of an [Intake]; zero values take the defaults.
type IntakeOptions struct {
	ClientID             string        // default "millrace"
	Instance             string        // the name of a static member, of which there may be one only in the group at one time; default none, a dynamic member
	MaxBytes             int64         // bytes of records held at one time, and a quarter more of those that are read again; default 24 MiB
	MaxWaiting           int           // events that wait for a time of their own without their bytes, some 200 bytes each; default 100,000
	MaxBatch             int           // events in one batch; default 500
	MaxBatchBytes        int64         // size at which a batch is full, in bytes of records; default 8 MiB
	MaxWait              time.Duration // how long an event waits for others; default 5 ms
	MaxConcurrentBatches int           // batches in the handler at one time; default 2
	Timeout              time.Duration // of one batch in the handler; default 30 s
	Window               int64         // the distance, in offsets, from a partition's oldest unfinished record to its newest in hand, at most: as many come again after a crash; default 1,000,000
	Commit               time.Duration // how often offsets are committed; default 1 s
	Drain                time.Duration // how long batches may take when partitions are given up, before their contexts end; default 10 s
	Start                Start
	// Ordered keeps order within a record's key: an event is not handed out while an earlier one with its key, on its partition, is unfinished. Others go on.
	Ordered bool
	// Attempts counts failures, and is told those that were counted before a rebalance or restart. nil: they are forgotten then.
	Attempts AttemptKeeper
	// OnUndecodable keeps a record that is no CloudEvent, as a dead letter; nil means that it is durable, an error that it is tried again. header holds the record's headers
	// as HTTP has them (ce_id is Ce-Id), reason quotes no values. It is called concurrently. Required.
	OnUndecodable intake.Keeper
	// Trace hands the handler the trace contexts of records' plain headers, by [tracecontext.Hops].
	Trace      bool
	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // takes the metrics millrace_intake_*; nil means none
	Config     func(*sarama.Config)
}

// AttemptKeeper knows how often events failed. [delivery.AttemptCounter] is one. It is used concurrently.
type AttemptKeeper interface {
	Count(e *event.Event) int
	Restore(e *event.Event, n int)
}

// Intake reads topics as a member of a group and hands their events to a [delivery.Handler] in batches, over all partitions. It commits behind the oldest
// unfinished event of each partition, so delivery is at least once: after a crash or a rebalance all from that event on comes again.
//
// An event that is not done is kept and handed out again, without being read again. Where a whole batch is Retry, not all of it with a time of its own, a
// dependency is away: nothing is handed out for a growing, jittered pause, and then one ever smaller batch at a time to find out, until something is done again. Else what is not done
// comes again by itself, after a pause of its own.
//
// An event that is Retry with a time of its own (not [delivery.Outcome].Away), as one that waits for its contract, is given up from memory and read again: its offset alone is kept, of at
// most MaxWaiting events; more stay in memory. Events of one type and version wait together: one of them is tried after the time, and all others follow once it did not have to wait.
// Where Ordered, later events of its key wait behind it, whatever their type, without their bytes as well.
//
// How often it failed, and since when, is kept in the commit's metadata ([IntakeOptions.Attempts]).
//
// Memory is bounded by MaxBytes and a quarter of it for what is read again, beside some 200 bytes for each event that waits and what sarama reads ahead (about 256 KiB a partition, compressed);
// partitions are not read on while MaxBytes are used up.
//
// Before partitions are given up nothing further is handed out, and batches in the handler have the time Drain; what they finished is committed.
type Intake struct {
	runner *intake.Runner
	o      IntakeOptions
	member member
	bytes  *semaphore.Weighted
	// again is for events that are read again: what waits for them may hold all other bytes.
	again      *semaphore.Weighted
	againBytes int64
	reader     func() (r rereader, closeIt func() error, err error)

	batches sync.WaitGroup
	joined  atomic.Bool
	left    atomic.Bool // Run returned
	// metadataLimit is how long a commit's metadata may be: less once a broker refused it.
	metadataLimit atomic.Int64
	paused        atomic.Int64 // partitions that wait for room
	held          atomic.Int64 // bytes

	mu      sync.Mutex
	current *round // nil outside of generations
	lastErr error

	lost prometheus.Counter
}

// NewIntake returns an intake that does nothing until it is run. h is called concurrently, at most MaxConcurrentBatches times.
func NewIntake(brokers, topics []string, group string, h delivery.Handler, o IntakeOptions) *Intake {
	o.setDefaults()
	in := &Intake{runner: intake.NewRunner(h, o.Logger, o.Registerer), o: o, bytes: semaphore.NewWeighted(o.MaxBytes), againBytes: max(1, o.MaxBytes/4)}
	in.again = semaphore.NewWeighted(in.againBytes)
	in.reader = in.openReader
	in.metadataLimit.Store(maxMetadata)
	in.member = member{
		brokers: brokers, topics: topics, group: group, start: o.Start, instance: o.Instance, logger: o.Logger,
		config: func() *sarama.Config {
			s := groupConfig(o.ClientID, o.Commit, o.Drain)
			s.Consumer.Group.InstanceId = o.Instance
			// What is fetched is decompressed at once, some ten times as large, for each partition.
			s.Consumer.Fetch.Default = 256 << 10
			s.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRoundRobin()}
			if o.Config != nil {
				o.Config(s)
			}
			return s
		},
		session: in.newRound,
		onError: in.failed, metadata: &in.metadataLimit,
	}
	in.register()
	return in
}

func (o *IntakeOptions) setDefaults() {
	if o.ClientID == "" {
		o.ClientID = "millrace"
	}
	setDefault(&o.MaxBytes, 24<<20)
	setDefault(&o.MaxBatch, 500)
	setDefault(&o.MaxBatchBytes, 8<<20)
	setDefault(&o.MaxWait, 5*time.Millisecond)
	setDefault(&o.MaxConcurrentBatches, 2)
	setDefault(&o.Timeout, 30*time.Second)
	setDefault(&o.MaxWaiting, maxWaiting)
	setDefault(&o.Window, 1_000_000)
	setDefault(&o.Commit, time.Second)
	setDefault(&o.Drain, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

func (in *Intake) register() {
	r := in.o.Registerer
	in.lost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_intake_lost_offsets_total", Help: "Offsets that Kafka deleted before they were finished, at most: control records, and what was finished behind an unfinished one, count too.",
	})
	if r == nil {
		return
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	r.MustRegister(in.lost)
	for _, topic := range in.member.topics {
		gauge("millrace_intake_lag_offsets", "Offsets between what is finished and the end, as seen with the last fetch, on partitions of this member.",
			prometheus.Labels{"topic": topic}, func() float64 { return float64(in.lag(topic)) })
	}
	gauge("millrace_intake_partitions", "Partitions assigned to this member.", nil, func() float64 { return float64(in.Status().Partitions) })
	gauge("millrace_intake_unfinished_events", "Events read and not finished.", nil, func() float64 { return float64(in.Status().Unfinished) })
	gauge("millrace_intake_waiting_events", "Unfinished events that wait for a time of their own, as for their contract, and are read again then.", nil, func() float64 { return float64(in.Status().Waiting) })
	gauge("millrace_intake_failing_events", "Unfinished events that failed at least once.", nil, func() float64 { return float64(in.Status().Failing) })
	gauge("millrace_intake_oldest_failure_seconds", "Time since the first failure of the event that fails longest; 0 without one.", nil, func() float64 {
		if first := in.Status().FirstFailure; !first.IsZero() {
			return time.Since(first).Seconds()
		}
		return 0
	})
	gauge("millrace_intake_paused_partitions", "Partitions not read on, since the bytes or the window are used up.", nil, func() float64 { return float64(in.paused.Load()) })
	gauge("millrace_intake_longest_pause_seconds", "For how long the partition that waits longest has not been read on; 0 where none waits.", nil, func() float64 {
		if since := in.Status().Paused; !since.IsZero() {
			return time.Since(since).Seconds()
		}
		return 0
	})
	gauge("millrace_intake_admitted_bytes", "Bytes of records held now.", nil, func() float64 { return float64(in.held.Load()) })
}

// Run reads until ctx ends; then it hands out nothing more, gives batches in the handler the time Drain, commits, leaves the group and returns nil. Errors of
// Kafka are logged and tried again with a growing pause; only settings that cannot work are returned.
//
// Run returns only when all batches did: a handler that ignores its context holds it up. What does not hold it up is a group that waits for its other members,
// as long as a rebalance may take: nothing is in hand then, and Run returns after some seconds, though sarama's call goes on until its answer comes.
func (in *Intake) Run(ctx context.Context) error {
	defer in.batches.Wait()
	ended := make(chan error, 1)
	go func() { ended <- in.member.run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	tick := time.NewTicker(joinTime / 10)
	defer tick.Stop()
	for idle := 0; idle < 10; {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if idle++; in.Status().Joined {
				idle = 0
			}
		}
	}
	in.left.Store(true)
	in.o.Logger.Warn("ended while the group was waiting for other members, which learn of it after the session's timeout", "group", in.member.group)
	return nil
}

// joinTime is how long the end waits outside of a generation: for the last commit, for leaving the group, or for one that is being joined.
const joinTime = 3 * time.Second

// failed remembers an error of Kafka for [Intake.Ready], and makes metadata shorter where they were refused.
func (in *Intake) failed(err error) {
	in.mu.Lock()
	in.lastErr = err
	s := in.current
	in.mu.Unlock()
	if errors.Is(err, sarama.ErrOffsetMetadataTooLarge) {
		limit := in.metadataLimit.Load() / 2
		if limit < 64 {
			limit = 0
		}
		in.metadataLimit.Store(limit)
		if s != nil {
			s.mark()
		}
	}
}

// Ready is nil once the topics were seen and the group was joined. The error says what is missing.
func (in *Intake) Ready(context.Context) error {
	if in.joined.Load() {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.lastErr != nil {
		return fmt.Errorf("group %s not joined: %w", in.member.group, in.lastErr)
	}
	return fmt.Errorf("group %s not joined yet", in.member.group)
}

// IntakeStatus says how an intake stands.
type IntakeStatus struct {
	Joined       bool      // the group, in its present generation
	Partitions   int       // assigned to this member
	Unfinished   int       // events read and not finished
	Waiting      int       // those of them that wait for a time of their own, and are read again then
	Paused       time.Time // since when the partition waits for room that waits longest; zero where none does
	Failing      int       // those of them that failed before
	FirstFailure time.Time // the earliest of theirs; zero where there is none
}

// Status returns how the intake stands. It asks nobody.
func (in *Intake) Status() (st IntakeStatus) {
	in.mu.Lock()
	s := in.current
	in.mu.Unlock()
	if s == nil {
		return st
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Joined, st.Waiting = true, s.waiting
	for _, p := range s.parts {
		st.Partitions++
		if !p.paused.IsZero() && (st.Paused.IsZero() || p.paused.Before(st.Paused)) {
			st.Paused = p.paused
		}
		st.Unfinished += p.offsets.Unfinished()
		st.Failing += len(p.failing)
		for _, r := range p.failing {
			if st.FirstFailure.IsZero() || r.first.Before(st.FirstFailure) {
				st.FirstFailure = r.first
			}
		}
	}
	return st
}

func (in *Intake) lag(topic string) (lag int64) {
	in.mu.Lock()
	s := in.current
	in.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.claim.Topic() == topic {
			lag += max(0, p.claim.HighWaterMarkOffset()-max(0, p.offsets.Next()))
		}
	}
	return lag
}

// handle hands a batch to the handler, and its records that are no events to OnUndecodable. Whatever they do, one outcome comes back for each record.
func (in *Intake) handle(ctx context.Context, items []*item) delivery.Outcomes {
	ctx, cancel := context.WithTimeout(ctx, in.o.Timeout)
	defer cancel()
	out := delivery.NewOutcomes(len(items))
	events := make([]*event.Event, 0, len(items))
	of := make([]int, 0, len(items)) // events[n] is items[of[n]]'s
	var others sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, r := range items {
		if r.event != nil {
			events, of = append(events, r.event), append(of, i)
			continue
		}
		others.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			m := r.foreign.message
			if err := in.runner.Undecodable(ctx, in.o.OnUndecodable, header(m), m.Value, r.foreign.reason, whence(r)...); err != nil {
				out.Retry(i, err)
				return
			}
			out.Done(i)
		})
	}
	if len(events) > 0 {
		if in.o.Trace {
			hops := make([]tracecontext.Context, len(of))
			for n, i := range of {
				if hop := items[i].hop; hop != nil {
					hops[n] = *hop
				}
			}
			ctx = tracecontext.WithHops(ctx, hops)
		}
		got := in.runner.Handle(ctx, events, func(n int) []any { return whence(items[of[n]]) })
		for n, i := range of {
			out[i] = got[n]
		}
	}
	others.Wait()
	return out
}

// whence says for the log where a record is.
func whence(r *item) []any {
	return []any{"topic", r.part.claim.Topic(), "partition", r.part.claim.Partition(), "offset", r.offset}
}

// hop returns what a record's plain headers say of its trace, where somebody asked and they do.
func (in *Intake) hop(m *sarama.ConsumerMessage) *tracecontext.Context {
	if !in.o.Trace {
		return nil
	}
	hop := traceOf(m)
	if hop.IsZero() {
		return nil
	}
	return &hop
}

// header returns a record's headers as HTTP would have them.
func header(m *sarama.ConsumerMessage) http.Header {
	h := make(http.Header, len(m.Headers))
	for _, rh := range m.Headers {
		name := string(rh.Key)
		if rest, ok := strings.CutPrefix(strings.ToLower(name), headerPrefix); ok {
			name = "Ce-" + rest
		}
		h.Add(name, string(rh.Value))
	}
	return h
}
