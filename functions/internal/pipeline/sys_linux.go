package pipeline

import "syscall"

// Dependent puts a process into a group of its own, so that a terminal's Ctrl-C is its owner's to pass on, and ends it with this one, even where this one is killed.
func Dependent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
