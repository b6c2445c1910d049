//go:build integration && linux

package kafka_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// Guards credentials on an Apache Kafka that demands them, which kfake does not do in all respects: each mechanism over TLS, and a certificate of our own. A producer under way loses its
// access, says why, and goes on by itself once the file is right; and every event that was taken is there.
func TestSecuredKafka(t *testing.T) {
	server := kafkatest.StartSecured(t, services(), map[string]string{"millrace": password, "other": wrongPassword})
	admin, err := kafka.NewAdmin([]string{server.Plain}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := admin.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			s := kafka.Security{TLS: true, CAFile: server.Authority.File, Mechanism: mechanism, User: "millrace", PasswordFile: filepath.Join(t.TempDir(), "password")}
			put(t, s.PasswordFile, wrongPassword)
			l := newLoad(t, admin, server.SASL, s)
			l.fails("SASL Authentication failed", `as user "millrace" by `+mechanism)
			put(t, s.PasswordFile, password)
			l.goesOn()
			// The brokers ask again on the connection that is open.
			put(t, s.PasswordFile, wrongPassword)
			l.fails("SASL", `as user "millrace" by `+mechanism)
			put(t, s.PasswordFile, password)
			l.goesOn()
			l.holds()
		})
	}
	t.Run("certificate", func(t *testing.T) {
		dir := t.TempDir()
		p := pair(dir, "client")
		server.Authority.Issue(t, p, "millrace", time.Now().Add(-time.Hour))
		s := kafka.Security{TLS: true, CAFile: server.Authority.File, CertFile: p.Cert, KeyFile: p.Key}
		l := newLoad(t, admin, server.MTLS, s)
		l.fails("the own certificate in "+p.Cert+" (KAFKA_CERT_FILE) is valid from", "")
		server.Authority.Issue(t, p, "millrace", time.Now().Add(time.Hour))
		l.goesOn()
		l.holds()

		refusedBy := func(s kafka.Security, want string) {
			t.Helper()
			config := kafka.NewConfig("test")
			config.Metadata.Retry.Max = 0
			s.Apply(config)
			c, err := kafka.Connect([]string{server.MTLS}, config)
			if err == nil {
				err = c.Close()
			}
			if (err == nil) != (want == "") || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		refusedBy(s, "")
		refusedBy(kafka.Security{TLS: true, CAFile: s.CAFile}, "certificate")
		kafkatest.NewAuthority(t).Issue(t, p, "millrace", time.Now().Add(time.Hour))
		refusedBy(s, "certificate")
		server.Authority.Issue(t, p, "millrace", time.Now().Add(time.Hour))
		server.Certify(t, "mtls", time.Now().Add(-time.Hour))
		server.Reload(t, "mtls")
		until(t, func() error {
			config := kafka.NewConfig("test")
			config.Metadata.Retry.Max = 0
			s.Apply(config)
			c, err := kafka.Connect([]string{server.MTLS}, config)
			if err == nil {
				return errors.Join(errors.New("not reloaded yet"), c.Close())
			}
			if !strings.Contains(err.Error(), "certificate has expired") {
				return err
			}
			return nil
		})
		server.Certify(t, "mtls", time.Now().Add(time.Hour))
		server.Reload(t, "mtls")
		until(t, func() error {
			c, err := kafka.NewAdmin([]string{server.MTLS}, func() *sarama.Config {
				config := kafka.NewConfig("test")
				s.Apply(config)
				return config
			}())
			if err != nil {
				return err
			}
			return c.Close()
		})
	})
}

// services is where ../shared/services keeps what it fetched.
func services() string {
	home, _ := os.UserHomeDir() // "" where there is none
	return cmp.Or(os.Getenv("SERVICES_CACHE"), filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "test-services"))
}

// load is a producer that sends events, and an intake, which must read every one that was taken.
type load struct {
	t        *testing.T
	topic    string
	security kafka.Security
	producer *kafka.Producer
	log      *lockedText
	sent     int
	taken    []string
	end      func() // of the intake

	mu   sync.Mutex
	read map[string]bool // by the intake
}

func newLoad(t *testing.T, admin *kafka.Admin, address string, s kafka.Security) *load {
	t.Helper()
	l := &load{t: t, topic: strings.ReplaceAll(t.Name(), "/", "."), security: s, log: new(lockedText), read: map[string]bool{}}
	if _, err := admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: l.topic, Partitions: 1, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	until(t, func() error { _, err := admin.Topic(t.Context(), l.topic); return err })
	logger := slog.New(slog.NewTextHandler(l.log, nil))
	l.producer = kafka.NewProducer([]string{address}, kafka.ProducerOptions{Timeout: 2 * time.Second, Config: s.Apply, Logger: logger})
	in := kafka.NewIntake([]string{address}, []string{l.topic}, "g-"+l.topic, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		l.mu.Lock()
		defer l.mu.Unlock()
		o := delivery.NewOutcomes(len(events))
		for i, e := range events {
			l.read[e.ID()] = true
			o.Settle(i, nil)
		}
		return o
	}), kafka.IntakeOptions{
		Config: s.Apply, Logger: logger, OnUndecodable: func(context.Context, http.Header, []byte, error) error { return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	l.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.end)
	return l
}

// send sends one event.
func (l *load) send() error {
	l.t.Helper()
	l.sent++
	id := fmt.Sprint(l.sent)
	err := publishTo(l.t, l.producer, l.topic, id)
	if err == nil {
		l.taken = append(l.taken, id)
	}
	return err
}

// fails sends until an error says both.
func (l *load) fails(what, who string) {
	l.t.Helper()
	until(l.t, func() error {
		err := l.send()
		text := fmt.Sprint(err)
		if strings.Contains(text, password) || strings.Contains(text, wrongPassword) {
			l.t.Fatalf("a password is in %s", text)
		}
		if err == nil || !strings.Contains(text, what) || !strings.Contains(text, who) {
			return fmt.Errorf("not as it should fail: %w", errors.Join(err, errors.New("want "+what+" "+who)))
		}
		return nil
	})
}

// goesOn sends until it is taken, and some more.
func (l *load) goesOn() {
	l.t.Helper()
	until(l.t, l.send)
	for range 20 {
		if err := l.send(); err != nil {
			l.t.Errorf("not taken: %v", err)
		}
	}
}

// holds ends the producer, and waits until the intake has read what was taken; no password is in their logs.
func (l *load) holds() {
	l.t.Helper()
	if err := l.producer.Close(l.t.Context()); err != nil {
		l.t.Error(err)
	}
	until(l.t, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range l.taken {
			if !l.read[id] {
				return fmt.Errorf("%s was taken, and the intake has not read it", id)
			}
		}
		return nil
	})
	l.end()
	for _, secret := range []string{password, wrongPassword} {
		if strings.Contains(l.log.String(), secret) {
			l.t.Errorf("%s is in the log: %s", secret, l.log)
		}
	}
	if len(l.taken) < 20 {
		l.t.Errorf("only %d of %d were taken", len(l.taken), l.sent)
	}
}
