package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
			fmt.Println(r.name)
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
	dir := cfg.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "gameday"); err != nil {
			return err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	st := &stage{cfg: cfg, root: root, dir: dir, out: os.Stdout}
	keep := cfg.keep
	defer func() {
		err = errors.Join(err, st.close(context.WithoutCancel(ctx)))
		if keep || cfg.dir != "" {
			fmt.Println("data and logs are in", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	began := time.Now()
	fmt.Printf("building the platform; starting Kafka, Elasticsearch and MinIO of %s\n", cfg.programs.Dir)
	if err := st.open(ctx); err != nil {
		keep = true
		return err
	}
	fmt.Printf("ready after %s\n", time.Since(began).Round(time.Second))
	var outcomes []*outcome
	failed := 0
	for i := range chosen {
		if ctx.Err() != nil {
			break
		}
		fmt.Printf("%2d/%d %s\n", i+1, len(chosen), chosen[i].name)
		o := st.play(ctx, &chosen[i], i+1)
		if ctx.Err() != nil {
			o.describe(os.Stdout)
			break
		}
		outcomes = append(outcomes, o)
		if !o.ok() {
			failed++
		}
		o.describe(os.Stdout)
	}
	table := report(outcomes, time.Since(began))
	fmt.Println()
	fmt.Print(table)
	if cfg.output != "" {
		if err := os.WriteFile(cfg.output, []byte(table), 0o600); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted after %d of %d rows", len(outcomes), len(chosen))
	case failed > 0:
		keep = true
		return fmt.Errorf("%d of %d rows did not hold", failed, len(outcomes))
	}
	return nil
}

// choose returns the rows to play.
func choose(all []row, short bool, only []string) []row {
	var chosen []row
	for _, r := range all {
		named := len(only) == 0 && (!short || r.short)
		for _, part := range only {
			named = named || strings.Contains(r.name, part)
		}
		if named {
			chosen = append(chosen, r)
		}
	}
	return chosen
}
