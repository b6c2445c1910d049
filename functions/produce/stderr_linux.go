package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
)

// ownStderr returns a file for what the command says, and sends what the runtime's println writes nowhere: parquet-go warns by it of offsets beyond a page's values, which it then
// leaves out, as it should, and nothing else can keep that off the terminal. A crash is still written to the file returned.
func ownStderr() (*os.File, error) {
	fd, err := syscall.Dup(syscall.Stderr)
	if err != nil {
		return nil, fmt.Errorf("duplicate standard error: %w", err)
	}
	syscall.CloseOnExec(fd)
	own := os.NewFile(uintptr(fd), "/dev/stderr")
	if err := debug.SetCrashOutput(own, debug.CrashOptions{}); err != nil {
		return nil, fmt.Errorf("send crashes to standard error: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("send a library's warnings nowhere: %w", err)
	}
	if err := syscall.Dup3(int(null.Fd()), syscall.Stderr, 0); err != nil {
		return nil, fmt.Errorf("send a library's warnings nowhere: %w", err)
	}
	return own, null.Close()
}
