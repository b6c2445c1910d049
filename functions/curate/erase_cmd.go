package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/erase"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

const eraseText = `curate erase finds one person's events, by root ids or by the event attribute subject, and removes them with --apply: documents in search, rows of the warehouse's tables with the
snapshots and reports that still have them, and rows of landing objects.

  curate erase --subject ada@example.com                        # what would go
  curate erase --subject ada@example.com --apply --remember ada.ids --report done.json
  curate erase --ids ids.txt --apply                            # a file of root ids, one a line; # begins a remark
  ko create -f knative/jobs/curate-erase.yaml                   # the same in a cluster; the file says how

An erasure that was broken off says what is done and what is not, and is repeated by the same command. An entry of a landing log that is damaged, or names what is, stops it and is named, unless
INGEST_ACCEPT has it: then the rest is erased, and the report says what could not be looked at. Where its lock is lost, it stops before it commits or deletes anything more. The report says what remains and until when: Kafka keeps events until its topics' retention is over, and what was not
drained yet lands afterwards, for which the command is given again. In enriched rows and in search a subject that a contract calls personal is a pseudonym: its events are found by the
raw objects, as long as there are any; give the pseudonym as a subject too where they are gone.
--apply takes the events from raw objects too: --remember keeps their root ids, by which the same command finds what lands later. Delete that file once Kafka's retention is over.
`

func runErase(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := newFlags("erase", eraseText)
	var person erase.Person
	f.StringArrayVar(&person.Roots, "root-id", nil, "the root id of an `event`; may be given several times")
	f.StringArrayVar(&person.Subjects, "subject", nil, "all events of this `subject`, exactly; may be given several times")
	subjects := f.String("subjects", "", "a `file` of subjects, one a line, as it stands: a command line is seen by others")
	ids := f.String("ids", "", "a `file` of root ids, one a line")
	remember := f.String("remember", "", "a `file` of root ids as for --ids, made where it is missing; --apply adds those it finds before it removes anything")
	apply := f.Bool("apply", false, "remove what is found; else nothing is changed")
	report := f.String("report", "", "a `file` for the report as JSON")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	if *subjects != "" {
		more, err := readSubjects(*subjects)
		if err != nil {
			return err
		}
		person.Subjects = append(person.Subjects, more...)
	}
	if *ids != "" {
		more, err := readIDs(*ids)
		if err != nil {
			return err
		}
		person.Roots = append(person.Roots, more...)
	}
	if *remember != "" {
		more, err := readIDs(*remember)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		person.Roots = append(person.Roots, more...)
	}
	for i, id := range person.Roots {
		parsed, err := uuid.Parse(id)
		if err != nil {
			return fmt.Errorf("%w: root id %q is no UUID", errUsage, id)
		}
		person.Roots[i] = parsed.String()
	}
	if len(person.Roots)+len(person.Subjects) == 0 {
		return fmt.Errorf("%w: whose events? --root-id, --subject, --subjects or --ids", errUsage)
	}
	s, err := f.forPerson(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if *apply {
		unlock, err := s.warehouse.Lock(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	return s.erase(ctx, person, *apply, *remember, *report, stdout)
}

func (s *session) erase(ctx context.Context, person erase.Person, apply bool, remember, file string, stdout io.Writer) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("an id for the erasure: %w", err)
	}
	o := erase.Options{
		Buckets: []*objectstore.Bucket{s.public, s.private}, Warehouse: s.warehouse, DB: func() (*duck.DB, error) { return s.duck(ctx) }, Apply: apply, Shared: !s.warehouse.Exclusive(),
		ID: id.String(), Accept: s.config.Accept, Clock: s.clock, Logger: s.log,
	}
	if remember != "" {
		o.Found = func(roots []string) error { return writeIDs(remember, roots) }
	}
	if s.config.ElasticsearchURL != "" {
		client, err := search.New(search.Options{URL: s.config.ElasticsearchURL, Access: s.config.Access, Prefix: s.config.IndexPrefix, Logger: s.log})
		if err != nil {
			return err
		}
		defer client.Close()
		o.Search = client
	}
	r, err := erase.Run(ctx, person, o)
	return tellErasure(r, err, file, stdout)
}

// tellErasure prints the report, and writes it to the file where one is named: also that of an erasure that an error broke off, since part of it is done.
func tellErasure(r *erase.Report, failed error, file string, stdout io.Writer) error {
	fmt.Fprint(stdout, r)
	if failed != nil && r.Applied {
		failed = fmt.Errorf("%w\nPart of it may be done: give the same command again", failed)
	}
	if file == "" {
		return failed
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o600)
	}
	if err != nil {
		err = fmt.Errorf("the report: %w", err)
	}
	return errors.Join(failed, err)
}

// readSubjects reads subjects, one a line, as they stand: # and spaces may be part of one.
func readSubjects(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("subjects: %w", err)
	}
	var subjects []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			subjects = append(subjects, line)
		}
	}
	return subjects, nil
}

// readIDs reads root ids, one a line; blank lines and what follows a # do not count.
func readIDs(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("root ids: %w", err)
	}
	var ids []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			ids = append(ids, line)
		}
	}
	return ids, nil
}

// writeIDs puts root ids into the file, whole or not at all. What is no UUID is left out, as readIDs' caller refuses it.
func writeIDs(file string, ids []string) error {
	var b strings.Builder
	for _, id := range ids {
		if _, err := uuid.Parse(id); err == nil {
			b.WriteString(id + "\n")
		}
	}
	beside := file + ".new"
	f, err := os.OpenFile(beside, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("--remember: %w", err)
	}
	// On disk before anything is erased: once that is done, no other place knows these ids.
	_, err = f.WriteString(b.String())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("--remember: %w", err)
	}
	if err := os.Rename(beside, file); err != nil {
		return fmt.Errorf("--remember: %w", err)
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("--remember: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("--remember: %w", err)
	}
	return nil
}
