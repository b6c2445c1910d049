package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// signalled sends a signal to the processes of functions, in turn, n times each, while events flow. Every other process is stopped before, until events wait in its hands: else a signal
// would mostly meet a function between two batches.
func signalled(signal syscall.Signal, n int, functions ...string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		last, finished := map[string]int{}, map[string]int64{}
		for i := range n {
			for _, name := range functions {
				err := until(ctx, "for work of "+name, func() (bool, error) {
					n, err := s.finished(ctx, name)
					return n < 0 || n > finished[name], err
				})
				if err == nil {
					err = s.hit(ctx, name, signal, last, i%2 == 0)
				}
				if err == nil {
					finished[name], err = s.finished(ctx, name)
				}
				if err != nil {
					return err
				}
				// Long enough for a process to be in the midst of work, and never in step with it.
				if !wait(ctx, pace/2+time.Duration(s.random.Int64N(int64(pace/2)))) {
					return context.Cause(ctx)
				}
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("%d processes of %s ended by %s", n*len(functions), strings.Join(functions, ", "), name(signal)))
		return nil
	}
}

func name(signal syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[signal]
}

// until asks every so often until it is so; after a minute, that it is not is an error.
func until(ctx context.Context, what string, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	for {
		ok, err := f()
		if ok && err == nil {
			return nil
		}
		if !wait(ctx, 20*time.Millisecond) {
			return errors.Join(fmt.Errorf("%s: %w", what, context.Cause(ctx)), err)
		}
	}
}

// finished says how many records a function that reads Kafka itself has finished, and -1 of others. One that was started anew after SIGKILL waits for its partitions at first, and is in the
// midst of nothing.
func (s *scene) finished(ctx context.Context, function string) (int64, error) {
	group, topic := s.reads(function)
	if !s.row.direct || group == "" {
		return -1, nil
	}
	at, err := s.stores.Committed(ctx, group, topic)
	return sum(at), err
}

// reads returns the group and the topic in which a function's work waits, "" where it has none.
func (s *scene) reads(function string) (group, topic string) {
	rawGroup, enrichedGroup, _ := s.groups()
	switch function {
	case "enrich":
		return rawGroup, s.stores.Names.Raw
	case "load-search":
		return enrichedGroup, s.stores.Names.Enriched
	}
	return "", ""
}

// busy says that events wait for the function's answer.
func (s *scene) busy(ctx context.Context, function string) (bool, error) {
	group, topic := s.reads(function)
	done := func() (map[int32]int64, error) { return s.stores.Committed(ctx, group, topic) }
	switch {
	case function == "collect":
		return s.load.Waiting(time.Now()) > 0, nil
	case group == "":
		topic = s.stores.Names.Raw
		done = func() (map[int32]int64, error) { return s.stores.Drained(ctx, topic) }
	}
	// In this order: what is finished in between must not count as waiting.
	ends, err := s.stores.Ends(ctx, topic)
	if err != nil {
		return false, err
	}
	at, err := done()
	return err == nil && !reached(at, ends), err
}

// reaching is how long what waits for a function that is stopped may take to get into its hands.
const reaching = 100 * time.Millisecond

// hit sends a signal to a process of the function that has had none yet, and returns when that process has ended. Frozen, the process is stopped first until events are in its hands.
func (s *scene) hit(ctx context.Context, function string, signal syscall.Signal, last map[string]int, frozen bool) error {
	pid := 0
	err := until(ctx, "for a new process of "+function, func() (ok bool, err error) {
		pid, err = s.platform.Child(function)
		return pid != 0 && pid != last[function], err
	})
	if err != nil {
		return err
	}
	last[function] = pid
	if frozen {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stop %s: %w", function, err)
		}
		err := until(ctx, "for events in the hands of "+function, func() (bool, error) { return s.busy(ctx, function) })
		if err == nil && !wait(ctx, reaching) {
			err = context.Cause(ctx)
		}
		if err != nil {
			return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
		}
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("%s to %s: %w", name(signal), function, err)
	}
	if frozen && signal != syscall.SIGKILL {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			return fmt.Errorf("let %s go on: %w", function, err)
		}
	}
	err = until(ctx, fmt.Sprintf("for the end of %s by %s", function, name(signal)), func() (bool, error) { return !s.platform.Runs(pid, function), nil })
	if err == nil && frozen {
		s.inHand++
	}
	return err
}

// guest joins a group, holds what it is given for a while without reading or committing, and leaves.
type guest struct {
	sessions *atomic.Int64
	stay     time.Duration
}

// Setup implements sarama.ConsumerGroupHandler.
func (g guest) Setup(sarama.ConsumerGroupSession) error {
	g.sessions.Add(1)
	return nil
}

// Cleanup implements sarama.ConsumerGroupHandler.
func (guest) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim implements sarama.ConsumerGroupHandler.
func (g guest) ConsumeClaim(session sarama.ConsumerGroupSession, _ sarama.ConsumerGroupClaim) error {
	wait(session.Context(), g.stay)
	return nil
}

// visits is how often guests must have been given partitions before a storm is over, however busy the machine is.
const visits = 4

// storm makes every function's group rebalance again and again: guests come and go.
func storm(ctx context.Context, s *scene) error {
	over := time.Now().Add(s.row.takes(s.cfg))
	ctx, cancel := context.WithTimeout(ctx, s.row.takes(s.cfg)+2*time.Minute)
	defer cancel()
	var guests sync.WaitGroup
	rawGroup, enrichedGroup, deadGroup := s.groups()
	all := []struct {
		group  string
		topics []string
	}{{rawGroup, []string{s.stores.Names.Raw}}, {enrichedGroup, []string{s.stores.Names.Enriched}}, {deadGroup, []string{s.stores.Names.Dead}}}
	if enrichedGroup == deadGroup {
		all = all[:2]
		all[1].topics = append(all[1].topics, s.stores.Names.Dead)
	}
	errs := make([]error, len(all))
	for i, one := range all {
		stay := time.Second + time.Duration(s.random.Int64N(int64(time.Second)))
		guests.Go(func() {
			for ctx.Err() == nil && errs[i] == nil && (time.Now().Before(over) || s.guests.Load() < visits) {
				errs[i] = visit(ctx, s.stores.Brokers, one.group, one.topics, guest{&s.guests, stay})
				wait(ctx, stay/2)
			}
		})
	}
	guests.Wait()
	if n := s.guests.Load(); n < visits {
		errs = append(errs, fmt.Errorf("guests were given partitions %d times, not %d", n, visits))
	}
	return errors.Join(errs...)
}

// visit is one guest's stay. It may be over before the group has let the guest in.
func visit(ctx context.Context, brokers []string, group string, topics []string, g guest) error {
	config := kafka.NewConfig("gameday-guest")
	config.Consumer.Group.Rebalance.Timeout = 20 * time.Second
	// One way of sharing that all members of a group know: Triggers have the first, functions the other.
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategyRoundRobin()}
	member, err := sarama.NewConsumerGroup(brokers, group, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = member.Consume(ctx, topics, g)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, member.Close())
}

// junkRecords is how many records that are no events poison comes with.
const junkRecords = 20

// junk writes records to events.raw that are no CloudEvents, as another team's producer might.
func junk(_ context.Context, s *scene) error {
	p, err := sarama.NewSyncProducer(s.stores.Brokers, kafka.NewConfig("gameday-junk"))
	if err != nil {
		return err
	}
	for i := range junkRecords {
		m := &sarama.ProducerMessage{Topic: s.stores.Names.Raw}
		switch i % 4 {
		case 0: // nothing at all
		case 1:
			m.Value = sarama.StringEncoder(fmt.Sprintf("no event %d", i))
		case 2:
			m.Value = sarama.ByteEncoder{byte(i), 0xff, 0xfe}
			m.Headers = []sarama.RecordHeader{{Key: []byte("ce_specversion"), Value: []byte("1.0")}}
		case 3:
			m.Value = sarama.StringEncoder(fmt.Sprintf(`{"specversion":"1.0","id":%d`, i))
			m.Headers = []sarama.RecordHeader{{Key: []byte("content-type"), Value: []byte("application/cloudevents+json")}}
		}
		if _, _, err := p.SendMessage(m); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return p.Close()
}
