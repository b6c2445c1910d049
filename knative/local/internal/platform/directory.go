package platform

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"millrace/knative/local/internal/lock"
	"millrace/shared/mask"
)

// acquire locks the directory for this process.
func acquire(dir string) (*lock.Lock, error) {
	l, err := lock.Acquire(dir)
	var held *lock.HeldError
	if errors.As(err, &held) {
		return nil, fmt.Errorf("%w: stop that one, or choose another directory with -dir", err)
	}
	return l, err
}

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

// maskKey returns the key that personal data is masked with, made at the first time, in a file for its owner alone. Whoever wants a key of their own puts it there before.
func maskKey(dir string) (string, error) {
	name := filepath.Join(dir, "mask-key")
	content, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		random := make([]byte, 32)
		_, _ = rand.Read(random) // which never fails
		content = append(hex.AppendEncode(nil, random), '\n')
		err = writeFile(name, content)
	}
	if err == nil {
		_, err = mask.NewKey(content)
	}
	if err != nil {
		return "", fmt.Errorf("key for masking in %s: %w", name, err)
	}
	return strings.TrimSpace(string(content)), nil
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

// shellFile is where the variables for commands in another shell are.
func shellFile(dir string) string { return filepath.Join(dir, "env") }

// removeShell removes the file where it is there.
func removeShell(dir string) error {
	if err := os.Remove(shellFile(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the variables of the last start: %w", err)
	}
	return nil
}

// shellPath is the file's name as a shell's . takes it, which looks for a name without a slash in PATH.
func shellPath(dir string) string {
	name := shellFile(dir)
	if !strings.Contains(name, "/") {
		name = "./" + name
	}
	return quote(name)
}

// shellText is what a POSIX shell reads. A name that a shell cannot have is left out, though a ConfigMap may.
func shellText(values map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("# The servers of the running platform, for commands in another shell:  . FILE && go run ./functions/replay ...\n" +
		"# Not for a shell that is to start a platform, which would take them for real servers (MILLRACE_ENV keeps it from that). Removed when this one stops.\n")
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if shellName.MatchString(name) {
			fmt.Fprintf(&b, "export %s=%s\n", name, quote(values[name]))
		}
	}
	return b.Bytes()
}

var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// quote makes one word of a shell, whatever text holds.
func quote(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// plain is what no shell reads anything into.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:,@+-]+$`)

// exists says whether a file is there.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
