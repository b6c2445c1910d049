// Package server runs real servers as processes of its own: Apache Kafka, Elasticsearch and MinIO, on free ports of loopback, with their data in a directory of the run. They are there
// to be killed, stopped and started again on the data that they left.
//
// It fetches nothing: the programs are those that ../shared/services brought, in a directory with lib and bin. All processes end with the program that started them, even where that
// is killed.
package server

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/internal/pipeline"
	"millrace/shared/kafka"
)

// patience is how long a server may take to get ready, on a busy machine.
const patience = 5 * time.Minute

// Server is one server. Its methods are not safe for concurrent use.
type Server struct {
	Name string
	// Address is where it listens, host:port.
	Address string

	args  []string
	env   []string
	dir   string
	as    *syscall.Credential // nil: who runs this
	ready func(ctx context.Context) error

	command *exec.Cmd
	done    chan struct{}
	log     *os.File
}

// Start starts the server on the data that is there, and returns once it is ready.
func (s *Server) Start(ctx context.Context) error {
	if s.command != nil {
		return fmt.Errorf("%s runs already", s.Name)
	}
	command := exec.Command(s.args[0], s.args[1:]...) //nolint:noctx // it ends by Kill or Stop, and with this program
	command.Dir, command.Env = s.dir, s.env
	command.Stdout, command.Stderr = s.log, s.log
	command.SysProcAttr = pipeline.Dependent()
	command.SysProcAttr.Credential = s.as
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	done := make(chan struct{})
	s.command, s.done = command, done
	go func() {
		_ = command.Wait() // its log says why
		close(done)
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-done:
			s.command = nil
			return fmt.Errorf("%s ended while it started: see %s", s.Name, s.log.Name())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: see %s", s.Name, err, s.log.Name())
		case <-ticker.C:
		}
	}
}

// Running says that the server was started, and was not killed since.
func (s *Server) Running() bool { return s.command != nil }

// Signal sends a signal to the server's processes.
func (s *Server) Signal(signal syscall.Signal) error {
	if s.command == nil {
		return fmt.Errorf("%s does not run", s.Name)
	}
	if err := syscall.Kill(-s.command.Process.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s to %s: %w", signal, s.Name, err)
	}
	return nil
}

// Kill ends the server by SIGKILL and returns when it has ended and its port is free. One that does not run is no error.
func (s *Server) Kill(ctx context.Context) error {
	if s.command == nil {
		return nil
	}
	if err := s.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.done
	s.command = nil
	// A process with many threads holds its port for a moment after its end, and a child of it may still be ending.
	timer, ticker := time.NewTimer(20*time.Second), time.NewTicker(50*time.Millisecond)
	defer timer.Stop()
	defer ticker.Stop()
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
		if err == nil {
			return l.Close()
		}
		select {
		case <-timer.C:
			return fmt.Errorf("%s was killed and its port is still taken: %w", s.Name, err)
		case <-ticker.C:
		}
	}
}

// Programs finds the servers' programs.
type Programs struct {
	// Dir holds lib/kafka, lib/elasticsearch and bin/minio.
	Dir string
	// User is who runs Elasticsearch where this program is root's; Elasticsearch refuses that.
	User string
}

// Missing says which programs are not there.
func (p Programs) Missing() error {
	var errs []error
	for _, pattern := range []string{"lib/kafka/kafka_2.13-*.jar", "lib/elasticsearch/elasticsearch-*/bin/elasticsearch", "bin/minio"} {
		if _, err := p.find(pattern); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := exec.LookPath("java"); err != nil {
		errs = append(errs, err)
	}
	if os.Geteuid() == 0 {
		errs = append(errs, enterable(p.Dir))
	}
	return errors.Join(errs...)
}

// Versions returns the servers' names with their versions, as far as they tell.
func (p Programs) Versions() []string {
	kafka, search, storage := "Kafka", "Elasticsearch", "MinIO"
	if jar, err := p.find("lib/kafka/kafka_2.13-*.jar"); err == nil {
		kafka += " " + strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jar), "kafka_2.13-"), ".jar")
	}
	if program, err := p.find("lib/elasticsearch/elasticsearch-*/bin/elasticsearch"); err == nil {
		search += strings.Replace(filepath.Base(filepath.Dir(filepath.Dir(program))), "elasticsearch-", " ", 1)
	}
	if program, err := p.find("bin/minio"); err == nil {
		if info, err := buildinfo.ReadFile(program); err == nil {
			storage += " " + release(info.Main.Version)
		}
	}
	return []string{kafka, search, storage}
}

// pseudo is the end of a version that Go gave a commit without a tag: when it was made, and its hash.
var pseudo = regexp.MustCompile(`[-.](\d{4})(\d{2})(\d{2})\d{6}-[0-9a-f]{12}$`)

// release is a module's version, or the day of its commit where that has none.
func release(version string) string {
	if day := pseudo.FindStringSubmatch(version); day != nil {
		return "of " + strings.Join(day[1:], "-")
	}
	return version
}

// enterable says where another user than root cannot go on to dir.
func enterable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("elasticsearch does not run as root, and others may not enter %s; while its servers run, ../shared/services mounts the programs where they can", dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (p Programs) find(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(p.Dir, pattern))
	if err != nil || len(found) == 0 {
		return "", errors.Join(fmt.Errorf("%s is not in %s", pattern, p.Dir), err)
	}
	return found[len(found)-1], nil
}

// make makes a server with its directory and log.
func (p Programs) make(ctx context.Context, name, dir string) (*Server, error) {
	address, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, Address: address, dir: filepath.Join(dir, name)}
	if err := os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o755); err != nil {
		return nil, err
	}
	s.log, err = os.Create(filepath.Join(dir, name+".log"))
	s.env = []string{"HOME=" + s.dir, "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return s, err
}

const kafkaProperties = `process.roles=broker,controller
node.id=1
listeners=OWN://%[1]s,PROXY://%[2]s,CONTROLLER://%[3]s
advertised.listeners=OWN://%[1]s,PROXY://%[4]s
listener.security.protocol.map=OWN:PLAINTEXT,PROXY:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=OWN
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=%[3]s
log.dirs=%[5]s/data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=67108864
`

const kafkaLogging = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`

// Kafka makes a Kafka, formatted and not started. It has two listeners: Address, for whoever looks at it, and behind, which says that it is reached at front: a proxy between the two
// stands between clients and Kafka.
func (p Programs) Kafka(ctx context.Context, dir, front string) (s *Server, behind string, err error) {
	jars, err := p.find("lib/kafka/kafka_2.13-*.jar")
	if err != nil {
		return nil, "", err
	}
	s, err = p.make(ctx, "kafka", dir)
	if err != nil {
		return nil, "", err
	}
	behind, err = pipeline.FreeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	controller, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	properties, logging := filepath.Join(s.dir, "server.properties"), filepath.Join(s.dir, "log4j2.properties")
	if err := os.WriteFile(properties, fmt.Appendf(nil, kafkaProperties, s.Address, behind, controller, front, s.dir), 0o600); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(logging, []byte(kafkaLogging), 0o600); err != nil {
		return nil, "", err
	}
	java := []string{"-cp", filepath.Join(filepath.Dir(jars), "*"), "-Dlog4j2.configurationFile=" + logging, "-Djava.io.tmpdir=" + filepath.Join(s.dir, "tmp")}
	format := exec.CommandContext(ctx, "java", append(java, "-Xmx128m", "kafka.tools.StorageTool", "format", "--standalone", "-t", "R2FtZURheUdhbWVEYXlHYQ", "-c", properties)...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("format Kafka's storage: %w\n%s", err, out)
	}
	s.args = append(append([]string{"java"}, java...), "-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", properties)
	s.ready = func(context.Context) error {
		config := kafka.NewConfig("gameday")
		config.Metadata.Retry.Max, config.Net.DialTimeout, config.Net.ReadTimeout = 0, time.Second, 2*time.Second
		c, err := sarama.NewClient([]string{s.Address}, config)
		if err != nil {
			return err
		}
		if len(c.Brokers()) == 0 {
			err = errors.New("no broker is registered yet")
		}
		return errors.Join(err, c.Close())
	}
	return s, behind, nil
}

// Elasticsearch makes an Elasticsearch, not started.
func (p Programs) Elasticsearch(ctx context.Context, dir string) (*Server, error) {
	program, err := p.find("lib/elasticsearch/elasticsearch-*/bin/elasticsearch")
	if err != nil {
		return nil, err
	}
	s, err := p.make(ctx, "elasticsearch", dir)
	if err != nil {
		return nil, err
	}
	transport, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(s.dir, "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"jvm.options", "log4j2.properties"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(program)), "config", name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(config, name), b, 0o644); err != nil {
			return nil, err
		}
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	_, transportPort, err := net.SplitHostPort(transport)
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("cluster.name: gameday\nnode.name: node1\npath.data: %[1]s/data\npath.logs: %[1]s/logs\nhttp.host: %[2]s\nhttp.port: %[3]s\ntransport.host: 127.0.0.1\ntransport.port: %[4]s\n"+
		"discovery.type: single-node\nxpack.security.enabled: false\nnode.store.allow_mmap: false\ncluster.routing.allocation.disk.threshold_enabled: false\n", s.dir, host, port, transportPort)
	if err := os.WriteFile(filepath.Join(config, "elasticsearch.yml"), []byte(settings), 0o644); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if s.as, err = credential(p.User); err != nil {
			return nil, err
		}
		err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(path, int(s.as.Uid), int(s.as.Gid))
		})
		if err != nil {
			return nil, err
		}
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, err
	}
	if java, err = filepath.EvalSymlinks(java); err != nil {
		return nil, err
	}
	s.env = append(s.env, "ES_JAVA_HOME="+strings.TrimSuffix(java, "/bin/java"), "ES_PATH_CONF="+config, "ES_TMPDIR="+filepath.Join(s.dir, "tmp"), "ES_JAVA_OPTS=-Xms512m -Xmx512m")
	s.args = []string{program}
	s.ready = func(ctx context.Context) error {
		return pipeline.Do(ctx, http.MethodGet, "http://"+s.Address+"/_cluster/health?wait_for_status=yellow&timeout=2s", nil, nil)
	}
	return s, nil
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("elasticsearch does not run as root, and its user is not there: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// S3User and S3Password are MinIO's.
const (
	S3User     = "gameday"
	S3Password = "gameday-secret"
)

// MinIO makes a MinIO, not started.
func (p Programs) MinIO(ctx context.Context, dir string) (*Server, error) {
	program, err := p.find("bin/minio")
	if err != nil {
		return nil, err
	}
	s, err := p.make(ctx, "minio", dir)
	if err != nil {
		return nil, err
	}
	s.env = append(s.env, "MINIO_ROOT_USER="+S3User, "MINIO_ROOT_PASSWORD="+S3Password, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.args = []string{program, "server", "--address", s.Address, filepath.Join(s.dir, "data")}
	s.ready = func(ctx context.Context) error {
		return pipeline.Do(ctx, http.MethodGet, "http://"+s.Address+"/minio/health/ready", nil, nil)
	}
	return s, nil
}
