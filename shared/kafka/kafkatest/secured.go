//go:build integration && linux

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// Secured is an Apache Kafka of a test's own, with listeners that demand credentials.
type Secured struct {
	// Plain asks for nothing: for the test's own look. SASL asks for a user (PLAIN or SCRAM) over TLS and asks again every [Reauthentication]; MTLS asks for a certificate of Authority.
	Plain, SASL, MTLS string
	// Authority signed the server's certificate, and signs clients'.
	Authority *Authority

	dir string
}

// Reauthentication is how long the listener SASL trusts a connection.
const Reauthentication = 3 * time.Second

const securedProperties = `process.roles=broker,controller
node.id=1
listeners=LOCAL://%[1]s,SASL://%[2]s,MTLS://%[3]s,CONTROLLER://%[4]s
advertised.listeners=LOCAL://%[1]s,SASL://%[2]s,MTLS://%[3]s
listener.security.protocol.map=LOCAL:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=LOCAL
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=%[4]s
log.dirs=%[5]s/data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
listener.name.sasl.ssl.keystore.type=PEM
listener.name.sasl.ssl.keystore.location=%[5]s/sasl.pem
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.connections.max.reauth.ms=%[7]d
listener.name.sasl.scram-sha-256.connections.max.reauth.ms=%[7]d
listener.name.sasl.scram-sha-512.connections.max.reauth.ms=%[7]d
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required %[8]s;
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mtls.ssl.keystore.type=PEM
listener.name.mtls.ssl.keystore.location=%[5]s/mtls.pem
listener.name.mtls.ssl.truststore.type=PEM
listener.name.mtls.ssl.truststore.location=%[6]s
listener.name.mtls.ssl.client.auth=required
`

const securedLogging = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`

// StartSecured starts a Kafka with the given users and passwords from the distribution that ../shared/services fetched into cache, and stops it when the test
// ends. Where there is no distribution, or no Java, the test is skipped.
func StartSecured(t *testing.T, cache string, users map[string]string) *Secured {
	t.Helper()
	jars := distribution(t, cache)
	s := &Secured{Authority: NewAuthority(t), dir: t.TempDir()}
	s.Certify(t, "sasl", time.Now().Add(time.Hour))
	s.Certify(t, "mtls", time.Now().Add(time.Hour))
	var controller string
	for _, a := range []*string{&s.Plain, &s.SASL, &s.MTLS, &controller} {
		*a = freeAddress(t)
	}
	var jaas strings.Builder
	for user, password := range users {
		fmt.Fprintf(&jaas, " user_%s=%q", user, password)
	}
	properties, logging := filepath.Join(s.dir, "server.properties"), filepath.Join(s.dir, "log4j2.properties")
	text := fmt.Sprintf(securedProperties, s.Plain, s.SASL, s.MTLS, controller, s.dir, s.Authority.File, Reauthentication.Milliseconds(), jaas.String())
	for path, text := range map[string]string{properties: text, logging: securedLogging} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	java := []string{"-cp", jars, "-Dlog4j2.configurationFile=" + logging, "-Djava.io.tmpdir=" + s.dir}
	format := []string{"-Xmx128m", "kafka.tools.StorageTool", "format", "--standalone", "-t", "U2VjdXJlZEthZmthVGVzdA", "-c", properties}
	for user, password := range users {
		for _, mechanism := range []string{sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512} {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, password))
		}
	}
	if out, err := exec.CommandContext(t.Context(), "java", append(java, format...)...).CombinedOutput(); err != nil {
		t.Fatalf("format Kafka's storage: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command("java", append(java, "-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "kafka.Kafka", properties)...) //nolint:noctx // it outlives t.Context, which ends before Cleanup
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait() // killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill() // it may have ended
		<-ended
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Kafka's log:\n%s", text[max(0, len(text)-8000):])
		}
		_ = log.Close()
	})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(90 * time.Second)
	for {
		err := s.ready()
		if err == nil {
			return s
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatal("Kafka ended")
		case <-deadline:
			t.Fatalf("Kafka is not ready: %v", err)
		}
	}
}

func (s *Secured) ready() error {
	config := kafka.NewConfig("kafkatest")
	config.Metadata.Retry.Max, config.Net.DialTimeout, config.Net.ReadTimeout = 0, time.Second, 2*time.Second
	c, err := kafka.Connect([]string{s.Plain}, config)
	if err != nil {
		return err
	}
	if len(c.Brokers()) == 0 {
		err = errors.New("no broker is registered yet")
	}
	return errors.Join(err, c.Close())
}

// Certify writes the certificate of a listener ("sasl", "mtls"), which ends at the given time. A server that runs already takes it at [Secured.Reload].
func (s *Secured) Certify(t *testing.T, listener string, until time.Time) {
	t.Helper()
	p := Pair{Cert: filepath.Join(s.dir, listener+".crt"), Key: filepath.Join(s.dir, listener+".key")}
	s.Authority.Issue(t, p, "kafka", until)
	var both []byte
	for _, path := range []string{p.Key, p.Cert} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	if err := os.WriteFile(filepath.Join(s.dir, listener+".pem"), both, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Reload makes the server read a listener's certificate again.
func (s *Secured) Reload(t *testing.T, listener string) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin([]string{s.Plain}, kafka.NewConfig("kafkatest"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, listener+".pem")
	err = admin.IncrementalAlterConfig(sarama.BrokerResource, "1", map[string]sarama.IncrementalAlterConfigsEntry{
		"listener.name." + listener + ".ssl.keystore.location": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &path},
	}, false)
	if err := errors.Join(err, admin.Close()); err != nil {
		t.Fatal(err)
	}
}

// distribution returns the class path of Kafka's programs.
func distribution(t *testing.T, cache string) string {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		t.Skipf("SKIPPED, NOTHING IS PROVEN about a Kafka that demands credentials: %v", err)
	}
	if found, err := filepath.Glob(filepath.Join(cache, "lib/kafka/kafka_2.13-*.jar")); err != nil || len(found) == 0 {
		t.Skipf("SKIPPED, NOTHING IS PROVEN about a Kafka that demands credentials: no distribution in %s; ../shared/services/services up kafka fetches it", cache)
	}
	return filepath.Join(cache, "lib/kafka", "*")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.WithoutCancel(t.Context()), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nothing came over it
	return l.Addr().String()
}
