//go:build integration && linux

package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"millrace/shared/kafka"
)

// Cluster is an Apache Kafka of a test's own, of several brokers that can be killed and started again. The first is the controller too.
type Cluster struct {
	Brokers []string // host:port, by number

	jars, dir string
	processes []*process
}

// process is a server while it runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

const clusterProperties = `process.roles=%[1]s
node.id=%[2]d
listeners=%[3]s
advertised.listeners=PLAINTEXT://%[4]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@%[5]s
log.dirs=%[6]s
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=3000
log.segment.bytes=8388608
metadata.log.segment.bytes=8388608
log.cleaner.dedupe.buffer.size=8388608
`

// StartCluster starts n brokers from the distribution that ../shared/services fetched into cache, and stops them when the test ends. Where there is no distribution, or no Java, the test is
// skipped. data, where it is not empty, is the directory of the brokers' data; else it is a temporary one.
func StartCluster(t *testing.T, cache string, n int, data string) *Cluster {
	t.Helper()
	c := &Cluster{jars: distribution(t, cache), dir: t.TempDir(), processes: make([]*process, n)}
	if data == "" {
		data = c.dir
	}
	controller := freeAddress(t)
	if err := os.WriteFile(c.path(0, "log4j2.properties"), []byte(securedLogging), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.Brokers = append(c.Brokers, freeAddress(t))
		roles, listeners := "broker", "PLAINTEXT://"+c.Brokers[i]
		if i == 0 {
			roles, listeners = "broker,controller", listeners+",CONTROLLER://"+controller
		}
		text := fmt.Sprintf(clusterProperties, roles, i+1, listeners, c.Brokers[i], controller, filepath.Join(data, fmt.Sprintf("data%d", i)))
		if err := os.WriteFile(c.path(i, "properties"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		format := []string{"-Xmx128m", "kafka.tools.StorageTool", "format", "-t", "Q2x1c3RlckthZmthVGVzdA", "-c", c.path(i, "properties")}
		if out, err := exec.CommandContext(t.Context(), "java", append(c.java(), format...)...).CombinedOutput(); err != nil {
			t.Fatalf("format Kafka's storage: %v\n%s", err, out)
		}
	}
	t.Cleanup(func() {
		for i := range c.processes {
			c.Kill(t, i)
			if text, err := os.ReadFile(c.path(i, "log")); t.Failed() && err == nil {
				t.Logf("the log of broker %d:\n%s", i+1, text[max(0, len(text)-4000):])
			}
		}
	})
	for i := range n {
		c.start(t, i)
	}
	for i := range n {
		c.await(t, i)
	}
	return c
}

func (c *Cluster) path(i int, name string) string {
	return filepath.Join(c.dir, fmt.Sprintf("broker%d.%s", i, name))
}

func (c *Cluster) java() []string {
	return []string{"-cp", c.jars, "-Dlog4j2.configurationFile=" + c.path(0, "log4j2.properties"), "-Djava.io.tmpdir=" + c.dir}
}

// Start starts a broker again, and waits until it answers as a member of the cluster.
func (c *Cluster) Start(t *testing.T, i int) {
	t.Helper()
	c.start(t, i)
	c.await(t, i)
}

func (c *Cluster) start(t *testing.T, i int) {
	t.Helper()
	log, err := os.OpenFile(c.path(i, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command("java", append(c.java(), "-Xms192m", "-Xmx192m", "-XX:+UseSerialGC", "kafka.Kafka", c.path(i, "properties"))...) //nolint:noctx // it outlives t.Context, which ends before Cleanup
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.processes[i] = p
	go func() {
		_ = p.cmd.Wait() // killed
		_ = log.Close()
		close(p.ended)
	}()
}

// Kill ends a broker by SIGKILL, and waits until it has ended. One that has ended is left.
func (c *Cluster) Kill(t *testing.T, i int) {
	t.Helper()
	if p := c.processes[i]; p != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	}
}

// Ended is closed once a broker has ended, killed or by itself.
func (c *Cluster) Ended(i int) <-chan struct{} { return c.processes[i].ended }

func (c *Cluster) await(t *testing.T, i int) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(90 * time.Second)
	for {
		err := c.ready(i)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-c.processes[i].ended:
			t.Fatalf("broker %d ended", i+1)
		case <-deadline:
			t.Fatalf("broker %d is not ready: %v", i+1, err)
		}
	}
}

// ready is nil once the broker tells of itself as one of the cluster's.
func (c *Cluster) ready(i int) error {
	config := kafka.NewConfig("kafkatest")
	config.Metadata.Retry.Max, config.Net.DialTimeout, config.Net.ReadTimeout = 0, time.Second, 2*time.Second
	client, err := kafka.Connect([]string{c.Brokers[i]}, config)
	if err != nil {
		return err
	}
	err = errors.New("it is no member yet")
	for _, b := range client.Brokers() {
		if b.Addr() == c.Brokers[i] {
			err = nil
		}
	}
	return errors.Join(err, client.Close())
}
