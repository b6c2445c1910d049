package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"millrace/functions/internal/pipeline"
)

// run plays the rows and prints the table. The error says that one did not hold, or that none could be played.
func run(ctx context.Context, args []string) (err error) {
	cfg, err := readConfig(args)
	if err != nil {
		return err
	}
	chosen := choose(rows, cfg.short, cfg.only)
	if cfg.list {
		for _, r := range chosen {
			fmt.Println(&r)
		}
		return nil
	}
	if len(chosen) == 0 {
		return fmt.Errorf("%w: no row has such a name", errUsage)
	}
	if err := cfg.programs.Missing(); err != nil {
		return fmt.Errorf("the servers' programs are not here; ../shared/services/services up kafka elasticsearch minio fetches them: %w", err)
	}
	root, err := pipeline.Root()
	if err != nil {
		return err
	}
	dir, err := workspace(cfg.dir)
	if err != nil {
		return err
	}
	st := &stage{cfg: cfg, root: root, dir: dir}
	defer func() {
		err = errors.Join(err, st.close(context.WithoutCancel(ctx)))
		if cfg.keep || cfg.dir != "" {
			fmt.Println("data and logs are in", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.limit, fmt.Errorf("the limit of %s is over", cfg.limit))
	defer cancel()
	context.AfterFunc(ctx, func() {
		// What does not heed its context must not hold a build up for ever. Servers and functions end with this process.
		time.AfterFunc(ending, func() { panic(fmt.Sprintf("still not ended after another %s: %v", ending, context.Cause(ctx))) })
	})
	fmt.Printf("%d rows, about %s on a quiet machine, ended after %s; starting servers\n", len(chosen), short(total(plan(chosen, cfg))), short(cfg.limit))
	if err := st.open(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%w before the first row: %w", context.Cause(ctx), err)
		}
		return fmt.Errorf("before the first row: %w", err)
	}
	fmt.Printf("ready after %s\n", time.Since(began).Round(time.Second))
	outcomes, playing := st.playAll(ctx, chosen)
	fmt.Println()
	if playing != nil {
		// A table that is not whole is nobody's proof.
		return fmt.Errorf("%w: %d of %d rows played, %d held", playing, len(outcomes), len(chosen), kept(outcomes))
	}
	table := report(outcomes, st.circumstances(began))
	fmt.Print(table)
	if cfg.output != "" {
		if err := os.WriteFile(cfg.output, []byte(table), 0o600); err != nil {
			return err
		}
	}
	line, err := verdict(outcomes, time.Since(began))
	fmt.Println("\n" + line)
	return err
}

// workspace makes a directory that Elasticsearch's user can enter: the one that is named, or a temporary one.
func workspace(named string) (dir string, err error) {
	if dir = named; dir == "" {
		if dir, err = os.MkdirTemp("", "gameday"); err != nil {
			return "", err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// ending is how long the end may take: of the row under way, of the servers, and of the directory.
const ending = 2 * time.Minute

// playAll plays rows, tells how far it is, and how each went. The error says why it broke off, and in which row.
func (st *stage) playAll(ctx context.Context, chosen []row) (outcomes []*outcome, err error) {
	p := &progress{planned: plan(chosen, st.cfg), now: time.Now}
	p.begin(0)
	telling, quiet := context.WithCancel(ctx)
	var teller sync.WaitGroup
	teller.Go(func() {
		for wait(telling, 10*time.Second) {
			fmt.Println("    " + p.line(st.load.Load()))
		}
	})
	defer teller.Wait()
	defer quiet()
	for i := range chosen {
		p.begin(i)
		fmt.Printf("%2d/%d %s\n", i+1, len(chosen), &chosen[i])
		logged, err := st.log.Seek(0, io.SeekEnd)
		if err != nil {
			return outcomes, err
		}
		o := st.play(ctx, &chosen[i], i+1)
		o.describe(os.Stdout)
		if !o.ok() && !errors.Is(ctx.Err(), context.Canceled) {
			if err := st.tail(os.Stdout, logged); err != nil {
				return outcomes, err
			}
		}
		if ctx.Err() != nil {
			return outcomes, fmt.Errorf("%w in row %d, %s", context.Cause(ctx), i+1, &chosen[i])
		}
		outcomes = append(outcomes, o)
		p.count(o)
	}
	return outcomes, nil
}

// shownLog is how many bytes of the platform's log are shown of a row that did not hold: the directory will be gone.
const shownLog = 8 << 10

// tail shows the end of the platform's log, from that offset on at the earliest.
func (st *stage) tail(w io.Writer, from int64) error {
	b, err := os.ReadFile(st.log.Name())
	if err != nil {
		return err
	}
	b = b[min(from, int64(len(b))):]
	fmt.Fprintf(w, "    the platform's last words (-keep keeps all of them):\n%s\n", b[max(0, len(b)-shownLog):])
	return nil
}

// choose returns the rows to play.
func choose(all []row, short bool, only []string) []row {
	var chosen []row
	for _, r := range all {
		named := len(only) == 0 && (!short || r.short)
		for _, part := range only {
			named = named || strings.Contains(r.String(), part)
		}
		if named {
			chosen = append(chosen, r)
		}
	}
	return chosen
}
