package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// Guards the whole way to a Kafka that asks for TLS and a user: with a wrong password events are busy, which is true, and no answer shows a password; once the file is right they are accepted
// without a restart, and the groups of READY_GROUPS are found with the same credentials.
func TestSecuredKafka(t *testing.T) {
	dir := t.TempDir()
	a := kafkatest.NewAuthority(t)
	server := kafkatest.Pair{Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")}
	a.Issue(t, server, "server", time.Now().Add(time.Hour))
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events.raw", "events.dead"),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "millrace", "hunter2"), kfake.TLS(a.Server(server, tls.NoClientCert)))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	security := kafka.Security{TLS: true, CAFile: a.File, Mechanism: "SCRAM-SHA-256", User: "millrace", PasswordFile: filepath.Join(dir, "password")}
	put := func(password string) {
		if err := os.WriteFile(security.PasswordFile, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("hunter3")
	s, srv := liveWith(t, new(broker), func(c *config) {
		c.Brokers = function.Brokers{Brokers: strings.Join(cluster.ListenAddrs(), ","), Security: security}
		c.ReadyGroups = []string{"g@events.raw"}
	})
	defer func() { _ = s.Drain[0].Do(context.WithoutCancel(t.Context())) }()
	code, got := postTo(t, srv, trip)
	if text := fmt.Sprintf("%+v", got); code != 503 || len(got) != 1 || got[0].Status != "busy" || strings.Contains(text, "hunter") {
		t.Errorf("refused: %d %s", code, text)
	}
	put("hunter2")
	for end := time.Now().Add(20 * time.Second); code != 200 && time.Now().Before(end); {
		code, got = postTo(t, srv, trip)
	}
	if code != 200 || got[0].Status != "accepted" {
		t.Errorf("with the right password: %d %+v", code, got)
	}
	config := kafka.NewConfig("test")
	security.Apply(config)
	admin, err := kafka.NewAdmin(cluster.ListenAddrs(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "group g has no committed offset") {
		t.Errorf("without offsets: %v", err)
	}
	if _, err := admin.EnsureStart(t.Context(), kafka.GroupTopic{Group: "g", Topic: "events.raw"}); err != nil {
		t.Error(err)
	}
	if err := admin.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("with offsets: %v", err)
	}
}
