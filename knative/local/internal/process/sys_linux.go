package process

import "syscall"

// attributes put a process into a group of its own, so that Ctrl-C on the terminal reaches only us, and let the kernel kill it when
// we end in whatever way.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
