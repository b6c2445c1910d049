package process

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// JobSpec is a process that runs to its end.
type JobSpec struct {
	Name string
	// Path, Dir, Args and Env are as in Spec.
	Path string
	Dir  string
	Args []string
	Env  []string
	// BackoffLimit is how often a failed process is run again.
	BackoffLimit int
	// Deadline bounds all runs together; 0 is without bound.
	Deadline time.Duration
	// Grace is how long the process may take to end after SIGTERM, at the end of the context or Deadline.
	Grace time.Duration
	// Kill is closed where there is no time for Grace any more; nil means never.
	Kill <-chan struct{}
}

// RunJob runs the process until it ends with status 0, again where it fails, BackoffLimit times, after 1 s and then double the time, at
// most 30 s (on a cluster it is 10 s and 6 min). It returns how the last run ended, or why it was given up: the context's error at
// the end of ctx, after SIGTERM and the grace period.
func RunJob(ctx context.Context, spec JobSpec, out *Lines, log *slog.Logger) error {
	return runJob(ctx, spec, out, log, func(ctx context.Context, d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func runJob(ctx context.Context, spec JobSpec, out *Lines, log *slog.Logger, wait func(context.Context, time.Duration) error) error {
	if spec.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spec.Deadline)
		defer cancel()
	}
	backoff := time.Second
	for attempt := 0; ; attempt++ {
		err := runOnce(ctx, spec, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || attempt >= spec.BackoffLimit {
			return fmt.Errorf("job %s: %w", spec.Name, err)
		}
		log.Warn("job failed and runs again", "job", spec.Name, "error", err, "after", backoff, "retries_left", spec.BackoffLimit-attempt)
		if err := wait(ctx, backoff); err != nil {
			return fmt.Errorf("job %s: wait to run again: %w", spec.Name, err)
		}
		backoff = min(2*backoff, 30*time.Second)
	}
}

func runOnce(ctx context.Context, spec JobSpec, out *Lines) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := startChild(spec.Path, spec.Args, spec.Env, spec.Dir, out)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		c.stop(spec.Kill, spec.Grace)
		return ctx.Err()
	}
}
