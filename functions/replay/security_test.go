package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Guards the way to a Kafka that asks for a user, for the commands' client: it has one, and the error of one that is refused names it and not the password.
func TestUser(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "millrace", "hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	t.Setenv("KAFKA_BROKERS", strings.Join(cluster.ListenAddrs(), ","))
	t.Setenv("KAFKA_SASL_MECHANISM", "PLAIN")
	t.Setenv("KAFKA_USER", "millrace")
	connect := func(password string) error {
		t.Setenv("KAFKA_PASSWORD", password)
		c, err := readConfig()
		if err != nil {
			t.Fatal(err)
		}
		client, err := c.kafka()
		if err != nil {
			return err
		}
		return client.Close()
	}
	if err := connect("hunter2"); err != nil {
		t.Error(err)
	}
	if err := connect("hunter3"); err == nil || !strings.Contains(err.Error(), `as user "millrace" by PLAIN`) || strings.Contains(err.Error(), "hunter") {
		t.Errorf("refused: %v", err)
	}
	t.Setenv("KAFKA_USER", "")
	if _, err := readConfig(); err == nil || !strings.Contains(err.Error(), "KAFKA_USER") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("no user: %v", err)
	}
}
