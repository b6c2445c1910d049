package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/knative/local/internal/lock"
)

// Options are the settings of a [Server].
type Options struct {
	// Dir is the server's own directory, made where it is absent.
	Dir string
	// Listen is the address, host:port with a fixed port: clients are told of it, and find it again after a restart.
	Listen string
	// Log gets warnings; nil means slog.Default.
	Log *slog.Logger
}

// Server is a running Kafka broker.
type Server struct {
	cluster *kfake.Cluster
	lock    *lock.Lock
	addr    string
}

// cleanEvery is the time between two looks for segments that retention ends, in milliseconds.
const cleanEvery = "60000"

// Open starts a broker on the data that the directory has. It returns when the broker answers; the broker goes on after ctx ends.
func Open(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	_, portText, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("address of Kafka: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("address of Kafka %q: the port must be a number from 1 to 65535", o.Listen)
	}
	held, err := lock.Acquire(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(filepath.Join(o.Dir, "data")), kfake.ClusterID("millrace"),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return listen(ctx, network, o.Listen) }),
		kfake.WithLogger(logger{o.Log}),
		kfake.BrokerConfigs(map[string]string{"default.replication.factor": "1", "log.cleaner.backoff.ms": cleanEvery}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka on %s: %w", o.Listen, err), held.Release())
	}
	return &Server{cluster: cluster, lock: held, addr: cluster.ListenAddrs()[0]}, nil
}

// listen names the address in its error where another program has it.
func listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s: %w", addr, err)
	}
	return l, err
}

// Addr returns the address on which it listens, host:port.
func (s *Server) Addr() string { return s.addr }

// Close ends all connections, writes what is only in memory (which a SIGKILL would not have lost either) and returns when the data may be opened
// again. Whoever uses the server is to be closed before. Where ctx ends first the rest goes on in the background, and the directory stays locked.
func (s *Server) Close(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		s.cluster.Close()
		done <- s.lock.Release()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close Kafka: %w", ctx.Err())
	}
}

// logger gives kfake's lines to slog.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error(fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn(fmt.Sprintf(format, args...))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
