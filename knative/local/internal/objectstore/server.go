package objectstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// childArgument is the one argument by which the binary becomes the store. It is no flag that anyone types by mistake.
const childArgument = "millrace-objectstore-child"

// region is what the store says and takes in signatures.
const region = "us-east-1"

// healthPath is answered without a signature. No bucket can have this name.
const healthPath = "/-healthz"

// settings go to the child as one line of JSON.
type settings struct {
	Dir, Listen          string
	AccessKey, SecretKey string
}

// Options are the settings of a [Server]. All but Log and Exited are required.
type Options struct {
	// Dir is the server's own directory, made where it is absent.
	Dir string
	// Listen is the address, host:port.
	Listen string
	// AccessKey and SecretKey are those of the one account.
	AccessKey, SecretKey string
	// Log gets what the child says; nil means slog.Default.
	Log *slog.Logger
	// Exited is called at most once, where the child ends without Close having been called. It may be nil.
	Exited func(error)
}

// Server is a running store.
type Server struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	addr    string
	closing chan struct{}
	done    chan struct{} // closed when the child has ended
	err     error         // how it ended; read after done
}

// Start starts the store and returns when it answers; ctx bounds the start alone. The process must have called [Main] when it began.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the object storage: %w", err)
	}
	if err := free(ctx, o.Listen); err != nil {
		return nil, err
	}
	line, err := json.Marshal(settings{Dir: dir, Listen: o.Listen, AccessKey: o.AccessKey, SecretKey: o.SecretKey})
	if err != nil {
		return nil, fmt.Errorf("settings of the object storage: %w", err)
	}
	s, err := startChild(o)
	if err != nil {
		return nil, err
	}
	if _, err := s.stdin.(io.Writer).Write(append(line, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("tell the object storage its settings: %w", err), s.kill())
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

func startChild(o Options) (*Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the binary of this process: %w", err)
	}
	cmd := exec.Command(self, childArgument) //nolint:noctx // it lives longer than the context of its start
	cmd.SysProcAttr = attributes()
	// The gateway needs nothing of our environment, which may hold others' secrets.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOMEMLIMIT=96MiB"} //nolint:forbidigo // passed on, not read
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the object storage: %w", err)
	}
	output, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the object storage: %w", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	s := &Server{cmd: cmd, stdin: stdin, addr: o.Listen, closing: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel kills the child when the thread that made it ends, so that thread must live as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = w.Close() // the child has its own
		started <- err
		if err != nil {
			_ = output.Close()
			return
		}
		relay(output, o.Log)
		_ = output.Close()
		s.err = cmd.Wait()
		close(s.done)
		select {
		case <-s.closing:
		default:
			if o.Exited != nil {
				o.Exited(s.ended())
			}
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the object storage: %w", err)
	}
	return s, nil
}

// maxLine is how many bytes a line may have before it is cut in two.
const maxLine = 64 << 10

// relay logs the lines of the child until it ends. It must read whatever comes: a child that nobody listens to is killed by its next line.
func relay(output io.Reader, log *slog.Logger) {
	for r := bufio.NewReaderSize(output, maxLine); ; {
		line, _, err := r.ReadLine()
		if err != nil {
			return // the end: a pipe has no other
		}
		log.Warn(string(line))
	}
}

// free reports whether nobody listens on addr, since the child can tell only by a line of its log.
func free(ctx context.Context, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("object storage: another program listens on %s: %w", addr, err)
	}
	if err != nil {
		return fmt.Errorf("object storage: listen on %s: %w", addr, err)
	}
	return l.Close()
}

// await returns when the store answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+healthPath, http.NoBody)
		if err != nil {
			return fmt.Errorf("address of the object storage: %w", err)
		}
		resp, err := t.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close() // nothing of it is read
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", resp.Status)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-s.done:
			timer.Stop()
			return s.ended()
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("the object storage does not answer: %w", err)
		}
	}
}

func (s *Server) ended() error {
	if s.err == nil {
		return errors.New("the object storage ended; its last lines say why")
	}
	return fmt.Errorf("the object storage ended; its last lines say why: %w", s.err)
}

// Addr returns the address on which it listens, host:port.
func (s *Server) Addr() string { return s.addr }

// URL returns the endpoint for clients.
func (s *Server) URL() string { return "http://" + s.addr }

// Region returns the region for signatures.
func (s *Server) Region() string { return region }

// PID returns the process id of the child.
func (s *Server) PID() int { return s.cmd.Process.Pid }

func (s *Server) kill() error {
	close(s.closing)
	err := s.cmd.Process.Kill()
	<-s.done
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, s.stdin.Close())
}

// Close lets requests finish and returns when the child has ended; where ctx ends first, the child is killed, which loses nothing that was answered.
// It must be called once.
func (s *Server) Close(ctx context.Context) error {
	close(s.closing)
	err := s.stdin.Close() // the child's sign to end
	select {
	case <-s.done:
		if s.err != nil {
			err = s.ended()
		}
	case <-ctx.Done():
		err = errors.Join(fmt.Errorf("close the object storage: %w", ctx.Err()), s.cmd.Process.Kill())
		<-s.done
	}
	return err
}
