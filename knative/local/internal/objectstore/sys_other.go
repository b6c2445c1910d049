//go:build !linux

package objectstore

import "syscall"

// attributes put the child into a group of its own, so that Ctrl-C on the terminal reaches only us. It ends when its standard input does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
