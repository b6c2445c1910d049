package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// errFull is an error for want of room in the scratch directory, with what to do about it.
type errFull struct {
	dir string
	err error
}

func (e *errFull) Error() string {
	return fmt.Sprintf("%v\nThe scratch directory %s is full: give it more room, about three times the bytes of the new rows, or have SCRATCH name another, and run again. Of what failed nothing was committed.", e.err, e.dir)
}

func (e *errFull) Unwrap() error { return e.err }

// full adds what to do to an error that comes of a scratch directory without room, once, and leaves all others as they are.
func full(err error, dir string) error {
	var already *errFull
	if err == nil || errors.As(err, &already) || !lacksRoom(err, dir) {
		return err
	}
	return &errFull{dir, err}
}

// lacksRoom says whether the error, or one below it, tells of a file of the directory that had no room, or of DuckDB's limit, which it takes from the room that there is.
func lacksRoom(err error, dir string) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	if strings.Contains(text, "max_temp_directory_size") {
		return true
	}
	if strings.Contains(text, dir) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || strings.Contains(strings.ToLower(text), "no space left on device") || strings.Contains(strings.ToLower(text), "disk quota exceeded")) {
		return true
	}
	switch x := err.(type) { //nolint:errorlint // one step of the tree: an error may hide the words of the one below
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			if lacksRoom(e, dir) {
				return true
			}
		}
	case interface{ Unwrap() error }:
		return lacksRoom(x.Unwrap(), dir)
	}
	return false
}

// explained is full for a command's error, whose directory is that of the environment.
func explained(err error) error {
	c, invalid := readConfig()
	if invalid != nil { // then that is what err says
		return err
	}
	return full(err, c.scratch())
}
