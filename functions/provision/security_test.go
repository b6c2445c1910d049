package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/kafka"
)

// Guards the way to a Kafka that asks for a user: the job has one, and the error of one that is refused names it and not the password.
func TestUser(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "millrace", "hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	connect := func(password kafka.Secret) error {
		c := settings(t)
		c.Brokers, c.Security = cluster.ListenAddrs(), kafka.Security{Mechanism: "SCRAM-SHA-512", User: "millrace", Password: password}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		p := &provisioner{config: c, out: t.Output()}
		if _, err := p.connect(t.Context()); err != nil {
			return err
		}
		return p.close()
	}
	if err := connect("hunter2"); err != nil {
		t.Error(err)
	}
	if err := connect("hunter3"); err == nil || !strings.Contains(err.Error(), `as user "millrace" by SCRAM-SHA-512`) || strings.Contains(err.Error(), "hunter") {
		t.Errorf("refused: %v", err)
	}
}
