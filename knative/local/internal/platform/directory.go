package platform

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lock is the right to a directory. The system takes it back when the process ends in whatever way.
type lock struct{ file *os.File }

// acquire makes the directory where it is absent and locks it.
func acquire(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	name := filepath.Join(dir, "lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		defer func() { _ = file.Close() }() // nothing was written
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		holder := "another process"
		// The holder may be about to write it; then its number is just not known.
		if content, err := os.ReadFile(name); err == nil && len(content) > 0 {
			holder = "process " + strings.TrimSpace(string(content))
		}
		return nil, fmt.Errorf("the directory %s is in use by %s: stop that one, or choose another directory with -dir", dir, holder)
	}
	if err = file.Truncate(0); err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), file.Close())
	}
	return &lock{file}, nil
}

func (l *lock) release() error { return l.file.Close() }

// port is an address that a part of the platform listens on.
type port struct {
	what     string // for people
	flag     string
	variable string // names a server to use instead, "" where there is none
	addr     string
}

// listen listens on the address, or says who is to do what.
func (p port) listen(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		text := fmt.Sprintf("%s is to listen on %s, which another program uses: stop that one, or choose another address with -%s", p.what, p.addr, p.flag)
		if p.variable != "" {
			text += fmt.Sprintf(" 127.0.0.1:PORT, or use the server that runs there with %s", p.variable)
		} else {
			text += " 127.0.0.1:PORT"
		}
		return nil, errors.New(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot listen on %s (-%s): %w", p.what, p.addr, p.flag, err)
	}
	return listener, nil
}

// check returns the address with a port that is free, which is a chosen one where the address says 0.
func (p port) check(ctx context.Context) (string, error) {
	listener, err := p.listen(ctx)
	if err != nil {
		return "", err
	}
	addr := listener.Addr().String()
	return addr, listener.Close()
}

// Credentials are those of the object storage.
type Credentials struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

// credentials returns those that the directory has, made at the first time, in a file for its owner alone.
func credentials(dir string) (Credentials, error) {
	name := filepath.Join(dir, "s3-credentials.json")
	content, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		c := Credentials{AccessKeyID: "millrace", SecretAccessKey: rand.Text()}
		if content, err = json.Marshal(c); err == nil {
			err = writeFile(name, content)
		}
		return c, err
	}
	var c Credentials
	if err == nil {
		err = json.Unmarshal(content, &c)
	}
	if err == nil && (c.AccessKeyID == "" || c.SecretAccessKey == "") {
		err = errors.New("a key is missing")
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials from %s: %w", name, err)
	}
	return c, nil
}

// writeFile writes a file that is there whole or not at all, for its owner alone.
func writeFile(name string, content []byte) error {
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// exists says whether a file is there.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
