package rig

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millrace/functions/internal/pipeline"
)

// readyWithin is how long a process may take until it is ready.
const readyWithin = 60 * time.Second

// Spec says what process to start.
type Spec struct {
	Name string
	Path string
	// Args may hold {port}, which is a free one; the environment has it as PORT.
	Args  []string
	Env   []string
	Dir   string
	Ready string // a path that answers 200 once it is ready
}

// Process is a process of the run. It ends with this one.
type Process struct {
	Name    string
	Address string // host:port

	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{}
	err   error
}

// client asks for nothing compressed: what that costs would be the process's that is measured.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableCompression: true}}

// Start starts a process and returns once it is ready. What it says goes to a file in the run's directory, whose last lines an error has.
func (r *Rig) Start(ctx context.Context, s Spec) (*Process, error) {
	address, err := pipeline.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	port := address[strings.LastIndexByte(address, ':')+1:]
	log, err := os.CreateTemp(r.Dir, s.Name+"-*.log")
	if err != nil {
		return nil, err
	}
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		args[i] = strings.ReplaceAll(a, "{port}", port)
	}
	// The context ends the waiting, not the process: how that ends is for Stop to say.
	cmd := exec.Command(s.Path, args...) //nolint:noctx // see above
	cmd.Env, cmd.Dir = append(slices.Clone(s.Env), "PORT="+port), s.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = pipeline.Dependent()
	p := &Process{Name: s.Name, Address: address, cmd: cmd, log: log, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Name, err), log.Close())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	r.mu.Lock()
	r.processes = append(r.processes, p)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended by itself: %w\n%s", s.Name, p.err, p.said())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is not ready: %w\n%s", s.Name, context.Cause(ctx), p.said())
		case <-tick.C:
		}
		if p.answers(ctx, s.Ready) {
			return p, nil
		}
	}
}

func (p *Process) answers(ctx context.Context, path string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+path, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// said returns the end of what the process said.
func (p *Process) said() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Alive says, as an error with the end of what it said, that the process ended by itself.
func (p *Process) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %w\n%s", p.Name, p.err, p.said())
	default:
		return nil
	}
}

// Stop ends the process by SIGTERM, or SIGKILL where it takes more than half a minute, which is an error, and returns the processor time of its whole life. It may be repeated.
func (p *Process) Stop() (time.Duration, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("stop %s: %w", p.Name, err)
	}
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	var err error
	select {
	case <-p.ended:
	case <-timer.C:
		err = fmt.Errorf("%s did not end within 30 s of SIGTERM", p.Name)
		if kill := p.cmd.Process.Kill(); kill != nil && !errors.Is(kill, os.ErrProcessDone) {
			return 0, errors.Join(err, kill)
		}
		<-p.ended
	}
	if closing := p.log.Close(); closing != nil && !errors.Is(closing, os.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), err
}

// CPU returns the processor time of the process so far.
func (p *Process) CPU() (time.Duration, error) { return CPU(p.PID()) }

// CPU returns the processor time that a process has used, in user and kernel; Linux counts it in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time of %d: %q is not known", pid, stat)
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// Memory returns the resident memory of a process, in MiB.
func Memory(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	for sc := bufio.NewScanner(bytes.NewReader(status)); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of %d: no VmRSS", pid)
}

// Listener returns the process of this machine that listens on the port of address (host:port, or a URL), 0 where none is found: the server is elsewhere, or another user's.
func Listener(address string) int {
	address = strings.TrimSuffix(address, "/")
	port, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	if err != nil {
		return 0
	}
	sockets := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(sockets) == 0 {
		return 0
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && sockets[to] { // a descriptor may be closed between
			pid, err := strconv.Atoi(strings.Split(l, "/")[2])
			if err != nil {
				return 0
			}
			return pid
		}
	}
	return 0
}

// ServerPIDs returns the processes of the servers that are on this machine, by name.
func (r *Rig) ServerPIDs() map[string]int {
	pids := map[string]int{}
	for name, address := range map[string]string{"Kafka": r.Brokers[0], "Elasticsearch": r.Search, "object storage": r.S3} {
		if pid := Listener(address); pid != 0 {
			pids[name] = pid
		}
	}
	return pids
}

// Counter returns the sum of a Prometheus counter of the process over the labels that hold the text.
func (p *Process) Counter(ctx context.Context, name, labels string) (sum float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("metrics of %s: %w", p.Name, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || !strings.HasPrefix(rest, "{") || !strings.Contains(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metrics of %s: %w", p.Name, err)
		}
		sum += v
	}
	return sum, sc.Err()
}
