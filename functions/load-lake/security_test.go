package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/kafka"
)

// Guards the way to a Kafka that asks for a user: drains have one; a password that is refused is a drain's failure that names the user and not the password, and goes by.
func TestUser(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "millrace", "hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s := newSource(cluster.ListenAddrs(), kafka.Security{Mechanism: "PLAIN", User: "millrace", Password: "hunter3"})
	if _, err := s.Topic(t.Context(), "t"); err == nil || !strings.Contains(err.Error(), `as user "millrace" by PLAIN`) || strings.Contains(err.Error(), "hunter") {
		t.Errorf("refused: %v", err)
	}
	s.security.Password = "hunter2"
	if topic, err := s.Topic(t.Context(), "t"); err != nil || topic.ID == "" {
		t.Errorf("%+v, %v", topic, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
