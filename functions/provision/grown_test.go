package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/kafka"
)

// Guards a running system whose topic was given partitions: provision goes on past a group that is at work, says what it could not do, and does it once the group rests, from the
// beginning.
func TestGrownTopic(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close) // it waits for connections, so after the members have left
	grownTopic(t, cluster.ListenAddrs(), "grown")
}

// grownTopic does it on the brokers, with a topic and a group of this name that are not there.
func grownTopic(t *testing.T, brokers []string, name string) {
	c := settings(t)
	c.Brokers = brokers
	g := kafka.GroupTopic{Group: name, Topic: name}
	p := &provisioner{config: c, out: t.Output()}
	run := func(s step) string {
		t.Helper()
		var out strings.Builder
		p.out = &out
		if err := p.try(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		return out.String()
	}
	run(step{"kafka", p.connect})
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	if said := run(p.topic(name, time.Hour)); !strings.Contains(said, "2 partition(s), kept for 1h,") {
		t.Errorf("said %s", said)
	}

	config := kafka.NewConfig("test")
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	client, err := sarama.NewClient(brokers, config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	send := func(partition int32) {
		t.Helper()
		if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: name, Partition: partition, Value: sarama.StringEncoder("x")}); err != nil {
			t.Fatal(err)
		}
	}
	// join starts a member, which is one once it has a record in its hands.
	join := func() (finish, leave func()) {
		t.Helper()
		has, let := make(chan struct{}, 10), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		member := kafka.NewConsumer(brokers, name, name, func(context.Context, kafka.Message) bool {
			has <- struct{}{}
			<-let
			return true
		}, kafka.ConsumerOptions{Commit: 10 * time.Millisecond})
		go func() { ended <- member.Run(ctx) }()
		send(0)
		<-has
		finish = sync.OnceFunc(func() { close(let) })
		leave = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			finish()
			leave()
		})
		return finish, leave
	}

	// A group that is at work and has no position at all is not ready, and it is said why.
	finish, leave := join()
	var busy *kafka.AtWorkError
	if _, err := p.group(g).do(t.Context()); !errors.As(err, &busy) || fmt.Sprint(busy.Missing, busy.All) != "[0 1] 2" || !strings.Contains(err.Error(), "has members") {
		t.Errorf("no position anywhere: %v", err)
	}
	finish()
	leave()
	if said := run(p.group(g)); !strings.Contains(said, "starts at the beginning of "+name+", partitions [1]") {
		t.Errorf("at rest: %s", said)
	}

	finish, leave = join()
	if err := admin.CreatePartitions(name, 4, nil, false); err != nil {
		t.Fatal(err)
	}
	if err := client.RefreshMetadata(name); err != nil {
		t.Fatal(err)
	}
	if said := run(p.group(g)); !strings.Contains(said, "is at work on "+name+" and has no position on partitions [2 3]") {
		t.Errorf("at work: %s", said)
	}
	if err := p.admin.GroupsReady(t.Context(), []kafka.GroupTopic{g}); err != nil {
		t.Errorf("who writes has to go on: %v", err)
	}
	finish()
	leave()
	send(3) // before anyone gave the group a position there
	if said := run(p.group(g)); !strings.Contains(said, "starts at the beginning of "+name+", partitions [2 3]") {
		t.Errorf("at rest: %s", said)
	}
	committed, err := kafka.Committed(client, g)
	if err != nil || len(committed) != 4 || committed[2] != 0 || committed[3] != 0 {
		t.Errorf("committed %v, %v", committed, err)
	}
	if said := run(p.group(g)); !strings.Contains(said, "has its position on "+name) {
		t.Errorf("again: %s", said)
	}
}
