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

// signalled sends a signal to the processes of functions, in turn, n times each, while events flow.
func signalled(signal syscall.Signal, n int, functions ...string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		last := map[string]int{}
		var sent []string
		for range n {
			for _, name := range functions {
				if err := s.hit(ctx, name, signal, last); err != nil {
					return err
				}
				sent = append(sent, name)
				// Long enough for a process to be in the midst of work, and never in step with it.
				if !wait(ctx, pace/2+time.Duration(s.random.Int64N(int64(pace/2)))) {
					return context.Cause(ctx)
				}
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("%s to %s", signal, strings.Join(sent, ", ")))
		return nil
	}
}

// hit sends a signal to a process of the function that has had none yet.
func (s *scene) hit(ctx context.Context, name string, signal syscall.Signal, last map[string]int) error {
	limit := time.Now().Add(time.Minute)
	for {
		pid, err := s.platform.Child(name)
		if err != nil {
			return err
		}
		if pid != 0 && pid != last[name] && syscall.Kill(pid, signal) == nil {
			last[name] = pid
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("no new process of %s within a minute", name)
		}
		if !wait(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
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

// storm makes every Trigger's group rebalance again and again: guests come and go.
func storm(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, s.row.lasts)
	defer cancel()
	var sessions atomic.Int64
	var guests sync.WaitGroup
	rawGroup, enrichedGroup, deadGroup := s.groups()
	all := []struct{ group, topic string }{{rawGroup, s.stores.Names.Raw}, {enrichedGroup, s.stores.Names.Enriched}, {deadGroup, s.stores.Names.Dead}}
	errs := make([]error, len(all))
	for i, one := range all {
		stay := time.Second + time.Duration(s.random.Int64N(int64(time.Second)))
		guests.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = visit(ctx, s.stores.Brokers, one.group, one.topic, guest{&sessions, stay})
				wait(ctx, stay/2)
			}
		})
	}
	guests.Wait()
	s.notes = append(s.notes, fmt.Sprintf("guests were given partitions %d times", sessions.Load()))
	return errors.Join(errors.Join(errs...), happened("rebalance", sessions.Load()))
}

// visit is one guest's stay. It may be over before the group has let the guest in.
func visit(ctx context.Context, brokers []string, group, topic string, g guest) error {
	config := kafka.NewConfig("gameday-guest")
	config.Consumer.Group.Rebalance.Timeout = 20 * time.Second
	member, err := sarama.NewConsumerGroup(brokers, group, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = member.Consume(ctx, []string{topic}, g)
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
			m.Value = sarama.StringEncoder("no event")
		case 2:
			m.Value = sarama.ByteEncoder{0, 0xff, 0xfe}
			m.Headers = []sarama.RecordHeader{{Key: []byte("ce_specversion"), Value: []byte("1.0")}}
		case 3:
			m.Value = sarama.StringEncoder(`{"specversion":"1.0","id":`)
			m.Headers = []sarama.RecordHeader{{Key: []byte("content-type"), Value: []byte("application/cloudevents+json")}}
		}
		if _, _, err := p.SendMessage(m); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return p.Close()
}
