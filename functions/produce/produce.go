package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/functions/produce/internal/dataset"
	"millrace/functions/produce/internal/generator"
	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/sender"
	"millrace/functions/produce/internal/table"
	"millrace/functions/produce/internal/tally"
	"millrace/functions/produce/internal/trip"
	"millrace/shared/progress"
)

// producer runs one data set, or one generation, from its configuration to its table.
type producer struct {
	config         Config
	stdout, stderr io.Writer
	client         *http.Client
	// backoffMin and backoffMax bound the pause before a resend for which the answer names none.
	backoffMin, backoffMax time.Duration
	// grace is how long what is in flight may take after an interrupt; shorter than a pod's 30 s.
	grace time.Duration
}

func newProducer(c Config, stdout, stderr io.Writer) *producer {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = c.Concurrency
	return &producer{
		config: c, stdout: stdout, stderr: stderr,
		client: &http.Client{
			Transport: transport,
			// A redirect that turns the POST into a GET would lose the events and still answer 200.
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if req.Method != via[0].Method || len(via) > 5 {
					return http.ErrUseLastResponse
				}
				return nil
			},
		},
		backoffMin: 200 * time.Millisecond, backoffMax: 10 * time.Second, grace: 15 * time.Second,
	}
}

// input is an opened source of records.
type input struct {
	record.Reader
	name  string
	rows  int64 // -1 where it is not known before the end
	close func() error
	// generator is set where the records are made, for the count of what was made.
	generator *generator.Reader
}

// produce does the whole run. Its error says why the exit code is not 0; the table is written either way.
func (p *producer) produce(ctx context.Context) (err error) {
	in, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if p.config.DryRun {
		return p.dryRun(ctx, in)
	}
	return p.send(ctx, in)
}

func (p *producer) open(ctx context.Context) (*input, error) {
	if p.config.Generate {
		return p.openGenerator()
	}
	return p.openFile(ctx)
}

func (p *producer) openGenerator() (*input, error) {
	c := p.config
	kinds, err := generator.ParseKinds(c.BadKinds)
	if err != nil {
		return nil, err
	}
	start, err := time.Parse(startLayout, c.Start)
	if err != nil {
		return nil, fmt.Errorf("read --start: %w", err)
	}
	source := c.Source
	if source == "" {
		source = record.SourceOf("generate")
	}
	g := generator.New(generator.Settings{Seed: c.Seed, BadShare: c.BadShare, Kinds: kinds, Start: start, Source: source}, c.Skip)
	return &input{Reader: g, name: "generate", rows: -1, generator: g, close: func() error { return nil }}, nil
}

func (p *producer) openFile(ctx context.Context) (*input, error) {
	c := p.config
	file, err := dataset.Open(ctx, c.DataURL, dataset.Options{
		Client: p.client, TempDir: c.TempDir, MaxBytes: c.MaxDownloadMiB << 20, Attempts: 5, Pause: time.Second, Progress: p.downloading(),
	})
	if err != nil {
		return nil, err
	}
	id := record.Identity{Source: record.SourceOf(file.Name), Prefix: file.Hash[:16]}
	if c.Source != "" {
		id.Source = c.Source
	}
	read := p.openTable
	if file.Format == dataset.Parquet {
		read = p.openTrips
	}
	in, err := read(ctx, file, id)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return in, nil
}

// downloading tells every few seconds how much of a download is there.
func (p *producer) downloading() func(got, total int64) {
	told := time.Now()
	return func(got, total int64) {
		if now := time.Now(); now.Sub(told) >= progress.TellEvery {
			told = now
			of := ""
			if total >= 0 {
				of = fmt.Sprintf(" of %.1f", float64(total)/1e6)
			}
			fmt.Fprintf(p.stderr, "downloading: %.1f%s MB\n", float64(got)/1e6, of)
		}
	}
}

func (p *producer) openTrips(ctx context.Context, file *dataset.File, id record.Identity) (*input, error) {
	if p.config.Mapping != "" {
		return nil, fmt.Errorf("%s: is Parquet, and --mapping is for CSV and TSV", file.Location)
	}
	trips, err := trip.Open(ctx, file, file.Size, file.Location, id)
	if err != nil {
		return nil, err
	}
	if u := trips.Unknown(); len(u) > 0 {
		fmt.Fprintf(p.stderr, "%s: columns that %s %s does not have are left out: %s\n", file.Location, trip.EventType, trip.SchemaVersion, strings.Join(u, ", "))
	}
	if m := trips.Missing(); len(m) > 0 {
		fmt.Fprintf(p.stderr, "%s: has no column for %s; the events go without\n", file.Location, strings.Join(m, ", "))
	}
	if err := trips.Skip(p.config.Skip); err != nil {
		return nil, errors.Join(err, trips.Close())
	}
	return &input{
		Reader: trips, name: file.Name, rows: max(0, trips.Rows()-p.config.Skip),
		close: func() error { return errors.Join(trips.Close(), file.Close()) },
	}, nil
}

func (p *producer) openTable(ctx context.Context, file *dataset.File, id record.Identity) (*input, error) {
	var mapping *table.Mapping
	if p.config.Mapping != "" {
		m, err := table.LoadMapping(p.config.Mapping)
		if err != nil {
			return nil, err
		}
		mapping = m
	}
	rows, err := table.Open(file, mapping, file.Location, id)
	if err != nil {
		return nil, err
	}
	if err := rows.Skip(ctx, p.config.Skip); err != nil {
		return nil, err
	}
	return &input{Reader: rows, name: file.Name, rows: -1, close: file.Close}, nil
}

// dryRun prints events, one a line.
func (p *producer) dryRun(ctx context.Context, in *input) error {
	most := p.config.MaxRecordCount
	if !p.config.countGiven() {
		most = 10
	}
	w := bufio.NewWriter(p.stdout)
	bad := &badRows{w: p.stderr}
	n := int64(0)
reading:
	for most == 0 || n < most {
		rec, err := in.Next(ctx)
		var row *record.RowError
		switch {
		case errors.As(err, &row):
			bad.report(row)
			continue
		case errors.Is(err, io.EOF):
			break reading
		case err != nil:
			return errors.Join(err, w.Flush())
		}
		n++
		if _, err := w.Write(append(rec.Body, '\n')); err != nil {
			return fmt.Errorf("print the events: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the events: %w", err)
	}
	if in.generator != nil {
		return writeKinds(p.stderr, in.generator.Count(p.config.Skip+1, n))
	}
	return nil
}

// writeKinds writes how many events of each kind were made, and who makes the bad ones dead letters.
func writeKinds(w io.Writer, counts map[generator.Kind]int64) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "made\tevents\tdead letter of\n%s\t%d\t-\n", generator.Good, counts[generator.Good])
	for _, k := range generator.Kinds {
		if counts[k] > 0 {
			fmt.Fprintf(tw, "%s\t%d\t%s\n", k, counts[k], k.FoundBy())
		}
	}
	return tw.Flush()
}

func (p *producer) send(ctx context.Context, in *input) error {
	c, counts, begin := p.config, tally.New(), time.Now()
	client := *p.client
	client.Timeout = c.Timeout
	bad := &badRows{w: p.stderr}
	waits := startOutage(p.stderr)
	bar := startProgress(p.stderr, in, c, counts, waits)
	result, err := sender.Run(ctx, in, counts, sender.Options{
		URL: c.endpoint(), Client: &client, Batch: c.Batch, Concurrency: c.Concurrency, Interval: c.interval(), RetryFor: c.RetryFor,
		BackoffMin: p.backoffMin, BackoffMax: p.backoffMax, Grace: p.grace, Max: c.MaxRecordCount, OnBadRow: bad.report, OnWait: waits.waiting,
	})
	waits.stop()
	bar.Stop()
	elapsed := time.Since(begin)
	if werr := counts.Write(p.stdout, elapsed); werr != nil {
		err = errors.Join(err, fmt.Errorf("write the table: %w", werr))
	}
	if in.generator != nil {
		if werr := writeKinds(p.stdout, in.generator.Count(c.Skip+1, result.Taken)); werr != nil {
			err = errors.Join(err, fmt.Errorf("write the kinds: %w", werr))
		}
	}
	return errors.Join(err, p.conclude(result, counts))
}

// conclude says what of the run is not as it should be, and how to go on; nil is a run whose every event is durable.
func (p *producer) conclude(r sender.Result, counts *tally.Tally) error {
	var errs []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fail(r.Stopped != nil, "%w", r.Stopped)
	fail(r.GaveUp != nil, "gave up: %w", r.GaveUp)
	open := counts.Count(tally.Busy) + counts.Count(tally.Unconfirmed)
	fail(open > 0, "%d events have no final receipt (%d busy: not written; %d unconfirmed: may be written)",
		open, counts.Count(tally.Busy), counts.Count(tally.Unconfirmed))
	fail(counts.Count(tally.Refused) > 0, "%d events were refused", counts.Count(tally.Refused))
	fail(r.Interrupted, "interrupted")
	fail(r.Taken != counts.Total(), "%d events were read but have no outcome: this is a defect of produce", r.Taken-counts.Total())
	if r.BadRows > 0 && !p.config.SkipBadRows {
		fail(true, "%d rows could not be split into columns and were not sent (--skip-bad-rows accepts that)", r.BadRows)
	}
	if r.Interrupted || r.GaveUp != nil || r.Stopped != nil || open > 0 {
		fmt.Fprintln(p.stderr, p.resume(r))
	}
	return errors.Join(errs...)
}

// resume tells how to go on after a run that ended early.
func (p *producer) resume(r sender.Result) string {
	c := p.config
	through := max(c.Skip, r.Through)
	flags := fmt.Sprintf("--skip %d", through)
	if c.MaxRecordCount > 0 {
		flags += fmt.Sprintf(" -m %d", max(1, c.MaxRecordCount-r.Done))
	}
	return "To go on, run the same command again: each event keeps its identity, so what is there already is not taken for another one. " +
		"To send only the rest, run it with " + flags + "."
}
