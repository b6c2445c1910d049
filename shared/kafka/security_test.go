package kafka_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

const password, wrongPassword = "hunter2-right", "hunter3-wrong"

// Guards what settings may be: each mistake is told by its variable, all at once, and without a secret.
func TestSecurityIsChecked(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	put(t, empty, "\n")
	a := kafkatest.NewAuthority(t)
	p := pair(dir, "client")
	a.Issue(t, p, "client", time.Now().Add(time.Hour))
	for want, s := range map[string]kafka.Security{
		"KAFKA_CA_FILE needs KAFKA_TLS=true":                                                   {CAFile: a.File},
		"KAFKA_SERVER_NAME needs KAFKA_TLS=true":                                               {ServerName: "x"},
		"KAFKA_CERT_FILE and KAFKA_KEY_FILE belong together":                                   {TLS: true, CertFile: p.Cert},
		"reading certificates to trust (KAFKA_CA_FILE): open":                                  {TLS: true, CAFile: empty + "x"},
		"(KAFKA_CA_FILE), which must be PEM":                                                   {TLS: true, CAFile: empty},
		"reading the own certificate and key (KAFKA_CERT_FILE, KAFKA_KEY_FILE)":                {TLS: true, CertFile: p.Cert, KeyFile: empty},
		"need KAFKA_SASL_MECHANISM":                                                            {Password: password},
		`"GSSAPI": PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are known`:                           {Mechanism: "GSSAPI"},
		"KAFKA_SASL_MECHANISM=PLAIN needs KAFKA_USER\nKAFKA_SASL_MECHANISM=PLAIN needs one of": {Mechanism: "PLAIN"},
		"needs one of KAFKA_PASSWORD_FILE and KAFKA_PASSWORD":                                  {Mechanism: "PLAIN", User: "u", Password: password, PasswordFile: empty},
		"reading the password of Kafka's user u (KAFKA_PASSWORD_FILE): open":                   {Mechanism: "PLAIN", User: "u", PasswordFile: empty + "x"},
		"of the password of Kafka's user u (KAFKA_PASSWORD_FILE) is empty":                     {Mechanism: "PLAIN", User: "u", PasswordFile: empty},
	} {
		err := s.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, s := range []kafka.Security{
		{},
		{TLS: true},
		{TLS: true, CAFile: a.File, CertFile: p.Cert, KeyFile: p.Key, ServerName: "x", Mechanism: "SCRAM-SHA-512", User: "u", Password: password},
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Guards a password against every way in which settings end in a log or an error.
func TestSecretIsNotPrinted(t *testing.T) {
	type config struct{ kafka.Security }
	c := config{kafka.Security{Mechanism: "PLAIN", User: "u", Password: password}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", c, c.Password)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c, "password", c.Password)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "password", c.Password)
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	s := sarama.NewConfig()
	c.Apply(s)
	fmt.Fprintf(&out, "%+v", s.Net.SASL)
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%s is in %s", form, out.String())
		}
	}
	if n := strings.Count(out.String(), "(secret)"); n < 15 {
		t.Errorf("only %d say that there is one: %s", n, out.String())
	}
	if text := fmt.Sprint(kafka.Secret("")); text != "" {
		t.Errorf("none is %q", text)
	}
}

// Guards each mechanism, with TLS and without: a producer with a wrong password says who was refused, not the password, keeps no event and takes none, and goes on by itself once the file is
// right; a consumer reads what was written; and a password that is changed later is used by the next connection of the same client.
func TestSASL(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		for _, secured := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/TLS=%t", mechanism, secured), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := kafka.Security{Mechanism: mechanism, User: "millrace", PasswordFile: filepath.Join(dir, "password")}
				options := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser(mechanism, "millrace", password)}
				if secured {
					a := kafkatest.NewAuthority(t)
					p := pair(dir, "server")
					a.Issue(t, p, "server", time.Now().Add(time.Hour))
					s.TLS, s.CAFile = true, a.File
					options = append(options, kfake.TLS(a.Server(p, tls.NoClientCert)))
				}
				cluster, err := kfake.NewCluster(options...)
				if err != nil {
					t.Fatal(err)
				}
				defer cluster.Close()
				put(t, s.PasswordFile, wrongPassword)
				var log bytes.Buffer
				producer := kafka.NewProducer(cluster.ListenAddrs(), kafka.ProducerOptions{Timeout: 3 * time.Second, Config: s.Apply, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				err = publish(t, producer, "1")
				refused(t, err, mechanism)
				if !errors.Is(err, kafka.ErrBusy) {
					t.Errorf("%v does not say that nothing is written", err)
				}
				put(t, s.PasswordFile, password+"\n")
				until(t, func() error { return publish(t, producer, "1") })

				// Another connection of the same client, as after a broker's restart.
				config := kafka.NewConfig("test")
				s.Apply(config)
				client, err := kafka.Connect(cluster.ListenAddrs(), config)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = client.Close() }()
				broker, err := client.Leader("t", 0)
				if err != nil {
					t.Fatal(err)
				}
				reconnect := func() error {
					_ = broker.Close() // where it is not closed already
					if err := broker.Open(client.Config()); err != nil {
						return err
					}
					_, err := broker.Connected()
					return err
				}
				put(t, s.PasswordFile, wrongPassword)
				if err := reconnect(); !errors.Is(err, sarama.ErrSASLAuthenticationFailed) && !errors.Is(err, io.EOF) {
					t.Errorf("a new connection with the wrong password: %v", err)
				}
				if err := os.Remove(s.PasswordFile); err != nil {
					t.Fatal(err)
				}
				if err := reconnect(); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a new connection without a password: %v", err)
				}
				put(t, s.PasswordFile, password)
				if err := reconnect(); err != nil {
					t.Errorf("a new connection with the password: %v", err)
				}

				got := readFrom(t, cluster.ListenAddrs(), "t", s, 1)
				if got[0] != "1" {
					t.Errorf("read %v", got)
				}
				if err := producer.Close(t.Context()); err != nil {
					t.Error(err)
				}
				for _, secret := range []string{password, wrongPassword} {
					if strings.Contains(log.String(), secret) {
						t.Errorf("%s is in the log: %s", secret, log.String())
					}
				}
			})
		}
	}
}

// Guards certificates: a server's of an unknown authority, of another name and one that ended are refused, and so is our own that ended or is of an unknown authority; each error says what is wrong, and
// each goes by without a restart once the file is replaced.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	a, other := kafkatest.NewAuthority(t), kafkatest.NewAuthority(t)
	server, client := pair(dir, "server"), pair(dir, "client")
	hour, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	a.Issue(t, server, "server", hour)
	a.Issue(t, client, "client", hour)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(a.Server(server, tls.RequireAndVerifyClientCert)))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s := kafka.Security{TLS: true, CAFile: filepath.Join(dir, "trusted.pem"), CertFile: client.Cert, KeyFile: client.Key}
	trust := func(a *kafkatest.Authority) {
		b, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s.CAFile, string(b))
	}
	connect := func(s kafka.Security, want string) {
		t.Helper()
		config := kafka.NewConfig("test")
		config.Metadata.Retry.Max = 0
		s.Apply(config)
		c, err := kafka.Connect(cluster.ListenAddrs(), config)
		if err == nil {
			err = c.Close()
		}
		if (err == nil) != (want == "") || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	trust(a)
	connect(s, "")
	connect(kafka.Security{TLS: true, CAFile: s.CAFile}, "certificate required")
	connect(kafka.Security{TLS: true, CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: "kafka.example"}, "not kafka.example")
	connect(kafka.Security{}, "EOF")
	trust(other)
	connect(s, "certificate signed by unknown authority")
	trust(a)
	a.Issue(t, server, "server", past)
	connect(s, "certificate has expired")
	a.Issue(t, server, "server", hour)
	a.Issue(t, client, "client", past)
	connect(s, "(KAFKA_CERT_FILE) is valid from")
	other.Issue(t, client, "client", hour)
	connect(s, "tls: unknown certificate authority")
	a.Issue(t, client, "client", hour)
	connect(s, "")
	if err := os.Remove(client.Key); err != nil {
		t.Fatal(err)
	}
	connect(s, "(KAFKA_CERT_FILE, KAFKA_KEY_FILE)")
}

// Guards the operator: sarama keeps to itself why it gets no answer, and an event that is not confirmed must still say it.
func TestUnconfirmedSaysWhy(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	p := kafka.NewProducer(cluster.ListenAddrs(), kafka.ProducerOptions{Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	until(t, func() error { return publish(t, p, "1") })
	cluster.Close()
	until(t, func() error {
		if err := publish(t, p, "2"); !errors.Is(err, kafka.ErrUnconfirmed) || !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("not the reason: %w", err)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

func pair(dir, name string) kafkatest.Pair {
	return kafkatest.Pair{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
}

// put replaces a file at once, as Kubernetes does.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Guards whoever finds brokers refused for a certificate that ended: the error names the broker, and for a certificate to trust its file and until when it was valid; once the file has the
// new one, the next connection is made.
func TestEndedCertificatesAreNamed(t *testing.T) {
	dir := t.TempDir()
	server := pair(dir, "server")
	old, renewed := kafkatest.NewAuthorityUntil(t, time.Now().Add(-time.Hour)), kafkatest.NewAuthority(t)
	old.Issue(t, server, "server", time.Now().Add(time.Hour))
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(renewed.Server(server, tls.NoClientCert)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	s := kafka.Security{TLS: true, CAFile: filepath.Join(dir, "ca.pem")}
	trust := func(a *kafkatest.Authority) {
		b, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s.CAFile, string(b))
	}
	connect := func(want ...string) {
		t.Helper()
		c := kafka.NewConfig("test")
		c.Metadata.Retry.Max = 0
		s.Apply(c)
		client, err := kafka.Connect(cluster.ListenAddrs(), c)
		if err == nil {
			err = client.Close()
		}
		if (err == nil) != (len(want) == 0) {
			t.Errorf("got %v", err)
		}
		for _, w := range want {
			if !strings.Contains(fmt.Sprint(err), w) {
				t.Errorf("%v does not say %q", err, w)
			}
		}
	}
	trust(old)
	connect("TLS with broker "+cluster.ListenAddrs()[0], "in "+s.CAFile+" (KAFKA_CA_FILE) is valid from", "to "+time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15"))
	trust(renewed)
	connect("TLS with broker", "certificate signed by unknown authority")
	renewed.Issue(t, server, "server", time.Now().Add(-time.Minute))
	connect("TLS with broker "+cluster.ListenAddrs()[0], "certificate has expired", "is after "+time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15"))
	renewed.Issue(t, server, "server", time.Now().Add(time.Hour))
	connect()
}

// refused checks that err says who was refused, and no password.
func refused(t *testing.T, err error, mechanism string) {
	t.Helper()
	text := fmt.Sprint(err)
	if !strings.Contains(text, `as user "millrace" by `+mechanism) {
		t.Errorf("%v does not say who was refused", err)
	}
	if strings.Contains(text, password) || strings.Contains(text, wrongPassword) {
		t.Errorf("a password is in %s", text)
	}
}

// until calls f until it returns nil.
func until(t *testing.T, f func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func publish(t *testing.T, p *kafka.Producer, id string) error {
	t.Helper()
	return publishTo(t, p, "t", id)
}

func publishTo(t *testing.T, p *kafka.Producer, topic, id string) error {
	t.Helper()
	e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T","data":1}`, id))
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Derive(e, time.Now()); err != nil {
		t.Fatal(err)
	}
	return p.Sink(topic).Publish(t.Context(), []*event.Event{e})[0]
}

// readFrom returns the ids of the first n events of a topic, by a consumer.
func readFrom(t *testing.T, brokers []string, topic string, s kafka.Security, n int) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan string, n)
	c := kafka.NewConsumer(brokers, topic, "g-"+topic, func(_ context.Context, m kafka.Message) bool {
		if e, err := kafka.Decode(m.ConsumerMessage); err == nil {
			got <- e.ID()
		}
		return true
	}, kafka.ConsumerOptions{Config: s.Apply, Logger: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for range n {
		select {
		case id := <-got:
			ids = append(ids, id)
		case <-ctx.Done():
			t.Fatal("too few events")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return ids
}
