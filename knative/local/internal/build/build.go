// Package build turns ko:// references of manifests into binaries on this machine.
//
// All references are built by one run of the go command: it compiles what several functions need once, uses as many processors as
// there are, and links only what changed. The package guarantees that a binary it returns was built from the tree as it is now, and
// that the compiler's messages are shown whole.
//
// Binaries have no symbols for debuggers, as in an image: that is a quarter of one.
//
// It builds for this machine only and makes no images. Of ko's own settings (.ko.yaml) it knows one: which packages are built with CGO_ENABLED=1, and so need a C compiler ([Builder.NeedC], [Builder.Compiler]).
package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Scheme is how an image begins that is built from a package of this module.
const Scheme = "ko://"

// tick is how often a build that takes long says how far it is.
const tick = 5 * time.Second

// coldPackages is how many packages there must be to compile for the build to be worth a warning about its duration.
const coldPackages = 100

// Builder builds packages of one module.
type Builder struct {
	// Root is the module's directory.
	Root string
	// Bin is where binaries go; it is made where it is absent.
	Bin string
	// Progress gets a line now and then, for people.
	Progress io.Writer
}

// Error is a build that failed. Output is all that the go command wrote.
type Error struct {
	Output string
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("build: %v\n%s", e.Err, e.Output) }

// Unwrap returns how the go command ended.
func (e *Error) Unwrap() error { return e.Err }

// Build builds the images' packages and returns the absolute path of the binary of each. It blocks until all are built, or until
// the context ends, which stops the compiler. An image that is no ko:// reference is an error, as is a package that does not
// compile (*Error); then none is returned.
func (b *Builder) Build(ctx context.Context, images []string) (map[string]string, error) {
	images = slices.Compact(slices.Sorted(slices.Values(images)))
	if len(images) == 0 {
		return map[string]string{}, nil
	}
	bin, err := filepath.Abs(b.Bin)
	if err != nil {
		return nil, fmt.Errorf("build into %s: %w", b.Bin, err)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, fmt.Errorf("build into %s: %w", bin, err)
	}
	binaries := map[string]string{}
	owner := map[string]string{}
	var packages []string
	for _, image := range images {
		pkg, ok := strings.CutPrefix(image, Scheme)
		if !ok {
			return nil, fmt.Errorf("image %q cannot run here: only %sPACKAGE references, which are built from this tree", image, Scheme)
		}
		name := path.Base(pkg)
		if other, ok := owner[name]; ok {
			return nil, fmt.Errorf("%s and %s would both be the binary %s", other, pkg, name)
		}
		owner[name] = pkg
		binaries[image] = filepath.Join(bin, name)
		packages = append(packages, pkg)
	}
	if err := b.run(ctx, bin, packages); err != nil {
		return nil, err
	}
	return binaries, nil
}

func (b *Builder) run(ctx context.Context, bin string, packages []string) error {
	begin := time.Now()
	stale := b.stale(ctx, packages)
	if stale >= coldPackages {
		fmt.Fprintf(b.Progress, "the first build compiles %d packages, nearly all of them dependencies: it takes a few minutes, later ones seconds\n", stale)
	}
	cmd := b.command(ctx, append([]string{"build", "-v", "-ldflags=-s -w", "-o", bin + string(filepath.Separator)}, packages...)...)
	p := &progress{out: b.Progress, packages: packages, stale: stale, begin: begin}
	cmd.Stderr, cmd.Stdout = p, p
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the go command: %w", err)
	}
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.tell()
			case <-done:
				return
			}
		}
	})
	err := cmd.Wait()
	close(done)
	ticking.Wait()
	p.flush()
	if ctx.Err() != nil {
		return fmt.Errorf("build: %w", ctx.Err())
	}
	if err != nil {
		return &Error{Output: p.messages.String(), Err: err}
	}
	fmt.Fprintf(b.Progress, "built %s in %s\n", names(packages), time.Since(begin).Round(100*time.Millisecond))
	return nil
}

func (b *Builder) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Root
	// Interrupted, the go command removes what it has half written.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// stale returns how many packages have to be compiled, or 0 where that cannot be told: it is for people only, and an error in the
// packages shows in the build.
func (b *Builder) stale(ctx context.Context, packages []string) int {
	cmd := b.command(ctx, append([]string{"list", "-deps", "-f", "{{.StaleReason}}"}, packages...)...)
	out, err := cmd.Output()
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if line != "\n" && !strings.HasPrefix(line, "not installed but available in build cache") {
			n++
		}
	}
	return n
}

func names(packages []string) string {
	list := make([]string, len(packages))
	for i, pkg := range packages {
		list[i] = path.Base(pkg)
	}
	return strings.Join(list, ", ")
}

// progress reads what "go build -v" writes: the path of each package as its compilation begins, and the compiler's messages.
type progress struct {
	out      io.Writer
	packages []string
	stale    int
	begin    time.Time

	mu       sync.Mutex
	partial  []byte
	compiled int
	built    int
	messages bytes.Buffer
}

// Write implements io.Writer.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, text...)
	for {
		advance, line, err := bufio.ScanLines(p.partial, false)
		if err != nil || advance == 0 {
			return len(text), err
		}
		p.line(string(line))
		p.partial = p.partial[advance:]
	}
}

func (p *progress) line(line string) {
	if line == "" || strings.ContainsAny(line, " \t:#") {
		p.messages.WriteString(line + "\n")
		return
	}
	p.compiled++
	if slices.Contains(p.packages, line) {
		p.built++
		fmt.Fprintf(p.out, "building %s (%d/%d), %s\n", path.Base(line), p.built, len(p.packages), p.elapsed())
	}
}

func (p *progress) elapsed() time.Duration { return time.Since(p.begin).Round(100 * time.Millisecond) }

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stale > p.compiled {
		fmt.Fprintf(p.out, "compiled %d of %d packages, %s\n", p.compiled, p.stale, p.elapsed())
		return
	}
	fmt.Fprintf(p.out, "linking, %s\n", p.elapsed())
}

func (p *progress) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages.Write(p.partial)
	p.partial = nil
}

// Root returns the directory of the module named module that holds dir, by the go.mod file in it or above it.
func Root(dir, module string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for at := start; ; at = filepath.Dir(at) {
		content, err := os.ReadFile(filepath.Join(at, "go.mod"))
		switch {
		case err == nil && moduleName(content) == module:
			return at, nil
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("find the module: %w", err)
		case at == filepath.Dir(at):
			return "", fmt.Errorf("%s is not within a checkout of the module %s: go there first", start, module)
		}
	}
}

func moduleName(gomod []byte) string {
	for line := range strings.Lines(string(gomod)) {
		if name, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
