//go:build !linux

package main

import "os"

// ownStderr is standard error as it is, with the warnings of libraries among what the command says.
func ownStderr() (*os.File, error) { return os.Stderr, nil }
