package platform

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"millrace/knative/local/internal/manifest"
)

// catalogURL is the Iceberg catalog of the directory: a file of SQLite.
func catalogURL(dir string) (string, error) {
	file, err := filepath.Abs(filepath.Join(dir, "catalog.db"))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	return (&url.URL{Scheme: "sqlite", Path: file}).String(), nil
}

// leaveOut forgets the CronJobs that cannot or are not to run here: the suspended ones, all where no time between runs is set, and those that need a C compiler where there is none, which is said. A JobSink
// goes with the CronJob of its image for want of a compiler; its events are then answered with 404.
func (p *Platform) leaveOut(ctx context.Context) error {
	maps.DeleteFunc(p.set.CronJobs, func(_ manifest.Key, c *manifest.CronJob) bool { return p.cfg.Cron == 0 || c.Spec.Suspend })
	if len(p.set.CronJobs)+len(p.set.JobSinks) == 0 {
		return nil
	}
	builder := p.builder()
	needy, err := builder.NeedC()
	if err != nil {
		return err
	}
	maps.DeleteFunc(needy, func(image string, _ bool) bool {
		for _, c := range p.set.CronJobs {
			if c.Container().Image == image {
				return false
			}
		}
		for _, s := range p.set.JobSinks {
			if s.Container().Image == image {
				return false
			}
		}
		return true
	})
	if len(needy) == 0 {
		return nil
	}
	why, err := builder.Compiler(ctx)
	if err != nil || why == "" {
		return err
	}
	for _, c := range manifest.Sorted(p.set.CronJobs) {
		if needy[c.Container().Image] {
			p.log.Warn("left out: it needs a C compiler; all else runs", "cronjob", c.Metadata.Name, "why", why)
			delete(p.set.CronJobs, c.Key())
		}
	}
	for _, s := range manifest.Sorted(p.set.JobSinks) {
		if needy[s.Container().Image] {
			p.log.Warn("left out: it needs a C compiler; all else runs", "jobsink", s.Metadata.Name, "why", why)
			delete(p.set.JobSinks, s.Key())
		}
	}
	return nil
}

// runCronJobs runs each CronJob's Job again and again, until ctx ends, which ends a run at work by SIGTERM; the platform's stop waits for that.
func (p *Platform) runCronJobs(ctx, force context.Context) {
	var running sync.WaitGroup
	for _, c := range manifest.Sorted(p.set.CronJobs) {
		log := p.log.With("cronjob", c.Metadata.Name)
		running.Go(func() {
			ticker := time.NewTicker(p.cfg.Cron)
			defer ticker.Stop()
			recur(ctx, ticker.C, log, func() error { return p.RunJob(ctx, force, c.Job()) })
		})
	}
	if len(p.set.CronJobs) > 0 {
		p.onStop(func(context.Context) error {
			running.Wait()
			return nil
		})
	}
}

// recur calls run at each tick until ctx ends. A tick that comes while run is at work is left out, as under the concurrencyPolicy Forbid; a run that failed is told, and the next tick runs again. It returns
// when no run is at work any more.
func recur(ctx context.Context, ticks <-chan time.Time, log *slog.Logger, run func() error) {
	ended := make(chan error, 1)
	working := false
	for {
		select {
		case <-ctx.Done():
			if working {
				log.Debug("the run was stopped", "how", <-ended)
			}
			return
		case err := <-ended:
			working = false
			if err != nil && ctx.Err() == nil {
				log.Warn("the run failed; the next tick runs again", "error", err)
			}
		case <-ticks:
			if working {
				log.Debug("tick left out: the last run is at work")
				continue
			}
			working = true
			go func() { ended <- run() }()
		}
	}
}
