package lint

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/knative/local/internal/manifest"
)

// ErrFound is the error of a run that found something and has written it.
var ErrFound = errors.New("lint: traps found")

// ErrUsage is an error in the arguments, which was written with the usage.
var ErrUsage = errors.New("lint: usage")

// Environment is what a command runs in.
type Environment struct {
	// Root is the checkout, whose manifests are linted where no paths are given, and which files are shown relative to.
	Root string
	// In is read for the path "-"; Out gets findings and help, Err what is wrong with arguments.
	In       io.Reader
	Out, Err io.Writer
}

const help = `lint finds traps in manifests of Knative that no other tool reports: they are valid, are applied without a word, and lose, repeat or hold up events later.

  go run ./knative/local lint                                 # knative, triggers and knative/jobs; each overlay by itself, and with KEDA
  go run ./knative/local lint knative triggers my-overlay     # all paths together are one set, as kubectl apply -f takes them: a directory is its *.yaml
  kubectl kustomize my-dir | go run ./knative/local lint -    # standard input
  go run ./knative/local lint -outage 8h                      # would the retries outlast eight hours?
  go run ./knative/local lint -format github                  # annotations in a pull request; or json

It ends with 0 where there is nothing, 1 where there is, or a file cannot be read, and 2 for wrong arguments. Each finding names file, line, object, what is wrong, why it matters and what to write.

What is meant is said on the object, with the reason; an exception that hides nothing is a finding itself:

  metadata:
    annotations:
      lint.millrace/dead-letter-loop: "nowhere else could it wait; its root id stays the same"

Two more say what manifests cannot:

  lint.millrace/outage: PT4H       on a Trigger, KafkaSource, Broker or Namespace (the nearest counts): what its retries are to outlast. The n-th wait
                                   is delay x n (linear) or delay x 2^n (exponential: after hours of outage the next try is hours away); the time that attempts take is not counted
  lint.millrace/replies: "type=trip.rated stage=rated; type=trip.refused -fare"
                                   on a function or its Trigger: what its replies, or what it sends to SINK, set or take away; all else stays as in the event. none: it never replies

The codes:

`

// Run is the command: args are those after its name. It returns nil where nothing was found, ErrFound, ErrUsage, or what could not be read.
func Run(args []string, env Environment) error {
	flags := flag.NewFlagSet("lint", flag.ContinueOnError)
	flags.SetOutput(env.Err)
	format := flags.String("format", "text", "`form` of findings: text, json or github")
	var options Options
	flags.Func("outage", "`duration` that retries must outlast, 4h or PT4H, in place of what annotations say", func(text string) error {
		var err error
		if options.Outage, err = manifest.ParseDuration(text); err != nil {
			options.Outage, err = time.ParseDuration(text)
		}
		if err == nil && options.Outage <= 0 {
			err = errors.New("it must be above zero")
		}
		return err
	})
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "Usage: go run ./knative/local lint [flags] [paths]; lint --help explains every code\n")
		flags.PrintDefaults()
	}
	if slices.ContainsFunc(args, func(a string) bool { return slices.Contains([]string{"-h", "-help", "--help"}, a) }) {
		teach(env.Out, flags)
		return nil
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	write, ok := map[string]func(io.Writer, []Finding) error{"text": text, "json": asJSON, "github": github}[*format]
	if !ok {
		fmt.Fprintf(env.Err, "-format must be text, json or github, not %q\n", *format)
		return ErrUsage
	}
	groups := []Group{{Name: strings.Join(flags.Args(), " "), Paths: flags.Args()}}
	if flags.NArg() == 0 {
		var err error
		if groups, err = Groups(env.Root, env.Err); err != nil {
			return err
		}
	}
	findings, err := Check(env.Root, env.In, groups, options)
	if err != nil {
		return err
	}
	if err := write(env.Out, findings); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	if len(findings) > 0 {
		return ErrFound
	}
	return nil
}

func teach(out io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(out, help)
	for _, r := range Rules() {
		fmt.Fprintf(out, "  %s\n    %s\n    %s\n", r.Code, r.Trap, r.Why)
	}
	fmt.Fprint(out, "\nFlags:\n")
	flags.SetOutput(out)
	flags.PrintDefaults()
}

// Group is what is applied together.
type Group struct {
	Name  string
	Paths []string
}

// Groups returns what of a checkout is applied together: knative, triggers and knative/jobs; each overlay (a directory in knative with manifests) with its jobs; and that again with each further
// directory of manifests in it. A kustomization, which has to be rendered first, is left out with a line to notes.
func Groups(root string, notes io.Writer) ([]Group, error) {
	base := filepath.Join(root, "knative")
	groups := []Group{{Name: "knative, triggers", Paths: []string{base, filepath.Join(root, "triggers"), filepath.Join(base, "jobs")}}}
	overlays, err := directories(base)
	if err != nil {
		return nil, err
	}
	for _, overlay := range overlays {
		name := filepath.Base(overlay)
		if name == "jobs" || name == "local" {
			continue
		}
		inner, err := within(overlay)
		if err != nil {
			return nil, err
		}
		if kustomized(overlay) {
			fmt.Fprintf(notes, "knative/%s is a kustomization, left out: kubectl kustomize --load-restrictor LoadRestrictionsNone knative/%s | go run ./knative/local lint -\n", name, name)
			continue
		}
		if !slices.Contains(inner, overlay) {
			continue
		}
		paths := []string{overlay}
		if jobs := filepath.Join(overlay, "jobs"); slices.Contains(inner, jobs) {
			paths = append(paths, jobs)
		}
		groups = append(groups, Group{Name: "knative/" + name, Paths: paths})
		for _, dir := range inner {
			if slices.Contains(paths, dir) {
				continue
			}
			rel, err := filepath.Rel(root, dir)
			if err != nil {
				return nil, fmt.Errorf("name %s: %w", dir, err)
			}
			groups = append(groups, Group{Name: "knative/" + name + ", " + filepath.ToSlash(rel), Paths: append(slices.Clone(paths), dir)})
		}
	}
	return groups, nil
}

// directories returns the directories directly in dir.
func directories(dir string) ([]string, error) {
	entries, err := filepath.Glob(filepath.Join(dir, "*", "."))
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	all := make([]string, len(entries))
	for i, entry := range entries {
		all[i] = filepath.Clean(entry)
	}
	return all, nil
}

// within returns dir and the directories below it that have manifests.
func within(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == "testdata" {
			return filepath.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(path, "*.y*ml"))
		if len(files) > 0 {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	return all, nil
}

// Check lints each group by itself and returns what was found, by file and line, each fault once. in is read for the path "-".
func Check(root string, in io.Reader, groups []Group, options Options) ([]Finding, error) {
	var findings []Finding
	var errs []error
	used, stale := map[place]bool{}, map[place]Finding{}
	for _, g := range groups {
		objects, err := load(root, in, g.Paths)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(objects) == 0 {
			errs = append(errs, fmt.Errorf("there are no manifests in %s", strings.Join(g.Paths, ", ")))
			continue
		}
		s := newSet(g.Name, objects, options)
		for _, f := range s.check() {
			// What to write may name the objects of a set.
			if !slices.ContainsFunc(findings, func(o Finding) bool { o.Set, o.Write = f.Set, f.Write; return o == f }) {
				findings = append(findings, f)
			}
		}
		maps.Copy(used, s.used)
		maps.Copy(stale, s.stale)
	}
	for at, f := range stale {
		if !used[at] { // in no set
			findings = append(findings, f)
		}
	}
	slices.SortStableFunc(findings, compare)
	return findings, errors.Join(errs...)
}

func text(out io.Writer, findings []Finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "%s:%d: %s: %s\n    what:  %s\n    why:   %s\n    write: %s\n    set:   %s\n\n", f.File, f.Line, f.Code, f.Object, f.What, f.Why, f.Write, f.Set); err != nil {
			return err
		}
	}
	if len(findings) > 0 {
		_, err := fmt.Fprintf(out, "%d found; what is meant: annotation %sCODE with the reason on the object (lint --help)\n", len(findings), prefix)
		return err
	}
	return nil
}

func asJSON(out io.Writer, findings []Finding) error {
	if findings == nil {
		findings = []Finding{}
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(findings)
}

// github writes workflow commands, which become annotations of a pull request.
func github(out io.Writer, findings []Finding) error {
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "::error file=%s,line=%d,title=%s::%s\n", property.Replace(f.File), f.Line, property.Replace(string(f.Code)+": "+f.Object),
			message.Replace(f.What+"\nWhy: "+f.Why+"\nWrite: "+f.Write)); err != nil {
			return err
		}
	}
	return nil
}
