package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// settings is what is read of ko's.
type settings struct {
	Builds []struct {
		ID   string   `yaml:"id"`
		Dir  string   `yaml:"dir"`
		Main string   `yaml:"main"`
		Env  []string `yaml:"env"`
	} `yaml:"builds"`
}

// NeedC returns the images whose packages need a C compiler: those that the file .ko.yaml of the module has built with CGO_ENABLED=1. A module without the file has none.
func (b *Builder) NeedC() (map[string]bool, error) {
	name := filepath.Join(b.Root, ".ko.yaml")
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ko's settings: %w", err)
	}
	var s settings
	if err := yaml.NewDecoder(bytes.NewReader(content)).Decode(&s); err != nil {
		return nil, fmt.Errorf("read ko's settings in %s: %w", name, err)
	}
	gomod, err := os.ReadFile(filepath.Join(b.Root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("read the module's name: %w", err)
	}
	images := map[string]bool{}
	for _, one := range s.Builds {
		if slices.Contains(one.Env, "CGO_ENABLED=1") {
			images[Scheme+path.Join(moduleName(gomod), one.Dir, one.Main)] = true
		}
	}
	return images, nil
}

// Compiler returns why packages in C and C++ cannot be compiled here: "" where they can.
func (b *Builder) Compiler(ctx context.Context) (string, error) {
	out, err := b.command(ctx, "env", "CGO_ENABLED", "CC", "CXX").Output()
	if err != nil {
		return "", fmt.Errorf("ask the go command for the C compiler: %w", err)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) < 3 {
		return "", fmt.Errorf("ask the go command for the C compiler: it answered %q", out)
	}
	for _, compiler := range lines[1:3] {
		words := strings.Fields(compiler) // with flags, perhaps
		if len(words) == 0 {
			continue
		}
		if _, err := exec.LookPath(words[0]); err != nil {
			return words[0] + " is not found", nil //nolint:nilerr // that it is not found is the answer
		}
	}
	if lines[0] != "1" {
		return "CGO_ENABLED is " + lines[0], nil
	}
	return "", nil
}
