package objectstore

import "syscall"

// attributes put the child into a group of its own, so that Ctrl-C on the terminal reaches only us, and let the kernel kill it when we end in whatever way.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
