package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Functions are the functions that the platform runs, in the order in which an event meets them.
var Functions = []string{"collect", "enrich", "load-search", "load-lake"}

// Build compiles packages of the module at root into dir, and returns the compiler's messages in its error.
func Build(ctx context.Context, root, dir string, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// Root returns the directory of the module, found upward from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory: this runs in a checkout")
		}
		dir = parent
	}
}

// The ports that are given out: above the ports that servers have by default, below those that the platform gives its functions, and below those that Linux and macOS give to outgoing
// connections. A server that is away for a minute finds its own free again, whatever was connected or started meanwhile.
const lowestPort, highestPort = 10000, 20000

// FreeAddress returns an address on loopback that nothing listened on a moment ago, and that no server has by default.
func FreeAddress(ctx context.Context) (string, error) {
	var last error
	for range 100 {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(lowestPort+rand.IntN(highestPort-lowestPort))))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

// Manifests copies the manifests of the module at root into dir, with what replace changes, as a user's overlay would have them, and returns the -manifests flag's value.
func Manifests(root, dir string, replace *strings.Replacer) (string, error) {
	if err := copyManifests(root, dir, replace, "knative", "knative/jobs", "triggers"); err != nil {
		return "", err
	}
	return filepath.Join(dir, "knative") + "," + filepath.Join(dir, "triggers"), nil
}

// Overlay does the same with an overlay of knative/ that is complete in itself, such as direct, and its provision job.
func Overlay(root, dir, name string, replace *strings.Replacer) (string, error) {
	part := "knative/" + name
	if err := copyManifests(root, dir, replace, part, part+"/jobs"); err != nil {
		return "", err
	}
	return filepath.Join(dir, part), nil
}

func copyManifests(root, dir string, replace *strings.Replacer, parts ...string) error {
	for _, part := range parts {
		files, err := fs.Glob(os.DirFS(filepath.Join(root, part)), "*.yaml")
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("%d manifests in %s", len(files), part), err)
		}
		if err := os.MkdirAll(filepath.Join(dir, part), 0o755); err != nil {
			return err
		}
		for _, name := range files {
			b, err := os.ReadFile(filepath.Join(root, part, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, part, name), []byte(replace.Replace(string(b))), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// Platform is a local platform that runs as a process. Its methods are not safe for concurrent use, but for Child and Collect.
type Platform struct {
	Binary string    // of knative/local
	Root   string    // of the module
	Dir    string    // for all its data
	Listen string    // of its gateway, host:port
	Flags  []string  // beside these: -dir, -listen, -feed 0, -cron 0
	Env    []string  // all of its environment
	Output io.Writer // what it and its functions say

	command *exec.Cmd
	ended   chan struct{}
}

// ErrEnded says that the platform ended by itself.
var ErrEnded = errors.New("the platform ended by itself")

// Collect is the address of collect's JSON endpoint.
func (p *Platform) Collect() string { return "http://" + p.Listen + "/api/v1/collect" }

// Start starts the platform and returns once collect answers through it, or when ctx is done.
func (p *Platform) Start(ctx context.Context) error {
	if p.command != nil {
		return errors.New("the platform runs already")
	}
	// The context ends the waiting, not the process: how that ends is for Stop to say.
	command := exec.Command(p.Binary, append([]string{"-dir", p.Dir, "-feed", "0", "-cron", "0", "-listen", p.Listen}, p.Flags...)...) //nolint:noctx // see above
	command.Dir, command.Env = p.Root, p.Env
	command.Stdout, command.Stderr = p.Output, p.Output
	command.SysProcAttr = Dependent()
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the platform: %w", err)
	}
	ended := make(chan struct{})
	p.command, p.ended = command, ended
	go func() {
		_ = command.Wait() // that it ended counts; why, it has said itself
		close(ended)
	}()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return fmt.Errorf("while it started: %w", ErrEnded)
		case <-ctx.Done():
			return fmt.Errorf("wait for collect's first answer: %w", context.Cause(ctx))
		case <-ticker.C:
		}
		if p.answers(ctx) {
			return nil
		}
	}
}

func (p *Platform) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Listen+"/api/v1", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// Stop ends the platform by the signal and returns when it has ended; after patience it is killed, which is an error. A platform that does not run is none.
func (p *Platform) Stop(signal syscall.Signal, patience time.Duration) error {
	if p.command == nil {
		return nil
	}
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the platform: %w", err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-p.ended:
	case <-timer.C:
		err = fmt.Errorf("the platform did not end within %s of %s", patience, signal)
		if kill := p.command.Process.Kill(); kill != nil && !errors.Is(kill, os.ErrProcessDone) {
			return errors.Join(err, kill)
		}
		<-p.ended
	}
	p.command = nil
	return err
}

// PID returns the platform's own process, 0 where it does not run.
func (p *Platform) PID() int {
	if p.command == nil {
		return 0
	}
	return p.command.Process.Pid
}

// Runs says that the process is still one of the function of this platform.
func (p *Platform) Runs(pid int, name string) bool {
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && exe == filepath.Join(p.Dir, "bin", name)
}

// Child returns the process of a function of this platform, 0 where none runs.
func (p *Platform) Child(name string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("functions are found in /proc: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p.Runs(pid, name) {
			return pid, nil
		}
	}
	return 0, nil
}
