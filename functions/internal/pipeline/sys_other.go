//go:build !linux

package pipeline

import "syscall"

// Dependent puts a process into a group of its own, so that a terminal's Ctrl-C is its owner's to pass on. That it ends where this one is killed, only Linux can be asked for.
func Dependent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
