//go:build !linux

package process

import "syscall"

// attributes put a process into a group of its own, so that Ctrl-C on the terminal reaches only us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
