package process

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is one running process.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and its output is written
	err  error         // how it ended, nil for exit status 0; valid after done
}

// startChild starts the binary at path. Its environment is exactly env.
func startChild(path string, args, env []string, dir string, out *Lines) (*child, error) {
	// The process must outlive the context of the request that started it; Function and RunJob end it.
	cmd := exec.Command(path, args...) //nolint:noctx // see above
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attributes()
	// Somebody who inherited the output must not keep us from seeing that the process ended.
	cmd.WaitDelay = 2 * time.Second
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent's death signal when the thread that started the child ends, so this thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		c.err = cmd.Wait()
		out.Flush()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return c, nil
}

// stop sends SIGTERM, after grace or when kill is closed SIGKILL, and returns when the process has ended.
func (c *child) stop(kill <-chan struct{}, grace time.Duration) (killed bool) {
	// The only error is that the process has ended already, which done tells.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return false
	case <-timer.C:
	case <-kill:
	}
	_ = c.cmd.Process.Kill()
	<-c.done
	return true
}
