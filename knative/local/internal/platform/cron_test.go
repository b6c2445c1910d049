package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// cronJob is a CronJob of the tests' program.
const cronJob = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: curate, namespace: millrace}
spec:
  schedule: "*/5 * * * *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - image: ko://millrace/functions/program
              args: [%q]
              envFrom: [{configMapRef: {name: millrace}}, {secretRef: {name: millrace-catalog}}, {secretRef: {name: millrace-s3}}]
`

// A CronJob's process must run again and again with the variables of its manifest, the catalog of this directory among them; one that fails must be told and run again.
func TestCronJob(t *testing.T) {
	b := newBench(t)
	b.cfg.Cron = 20 * time.Millisecond
	dir := filepath.Join(b.cfg.Dir, "..", "runs")
	file := filepath.Join(dir, "ran")
	if err := write(filepath.Join(b.cfg.Manifests[0], "cron.yaml"), fmt.Sprintf(cronJob, file)); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	b.out.expect("the run failed; the next tick runs again") // its directory is not there yet
	<-b.out.seen
	b.out.expect("the job is done")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	<-b.out.seen
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"S3_BUCKET=millrace", "CATALOG_URL=sqlite://" + filepath.Join(b.cfg.Dir, "catalog.db"), "TMPDIR=" + filepath.Join(b.cfg.Dir, "tmp", "curate"), "AWS_ACCESS_KEY_ID="} {
		if !strings.Contains("\n"+string(content), "\n"+want) {
			t.Errorf("%s is not in\n%s", want, content)
		}
	}
	if got := sourced(t, b.cfg.Dir)["CATALOG_URL"]; got != "sqlite://"+filepath.Join(b.cfg.Dir, "catalog.db") {
		t.Errorf("in a shell: %q", got)
	}
	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
}

// jobSink makes a Job of the tests' program of each event.
const jobSink = `
apiVersion: sinks.knative.dev/v1alpha1
kind: JobSink
metadata: {name: curate, namespace: millrace}
spec:
  job:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - image: ko://millrace/functions/program
              args: [%q]
              envFrom: [{secretRef: {name: millrace-catalog}}]
`

// An event must start a run under the address that it has in a cluster, the same event not twice, and what is no event none.
func TestJobSink(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.cfg.Dir, "..", "ran")
	if err := write(filepath.Join(b.cfg.Manifests[0], "sink.yaml"), fmt.Sprintf(jobSink, file)); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	send := func(path, id string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://job-sink.knative-eventing.svc.cluster.local"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"ce-specversion": "1.0", "ce-type": "millrace.curate.requested", "ce-source": "/me", "ce-id": id} {
			if id != "" {
				req.Header.Set(name, value)
			}
		}
		resp, err := b.platform.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := []int{send("/millrace/other", "1"), send("/millrace/curate", "")}; got[0] != http.StatusNotFound || got[1] != http.StatusBadRequest {
		t.Errorf("no JobSink, no event: %v", got)
	}
	b.out.expect("the job is done")
	if got := []int{send("/millrace/curate", "1"), send("/millrace/curate", "1")}; got[0] != http.StatusAccepted || got[1] != http.StatusAccepted {
		t.Errorf("answers %v", got)
	}
	<-b.out.seen
	b.out.expect("the job is done")
	send("/millrace/curate", "2")
	<-b.out.seen
	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(b.out.String(), "the job is done") - 1; n != 2 { // one is provision's
		t.Errorf("%d runs, want 2", n)
	}
	if content, err := os.ReadFile(file); err != nil || !strings.Contains(string(content), "\nCATALOG_URL=sqlite://") {
		t.Errorf("%s, %v", content, err)
	}
}

// Without a C compiler all else must run, and one line must say what does not and why; a CronJob that needs none runs.
func TestCronJobWithoutACompiler(t *testing.T) {
	b := newBench(t)
	b.cfg.Cron = time.Hour
	if err := write(filepath.Join(b.cfg.Manifests[0], "cron.yaml"), fmt.Sprintf(cronJob, "x")+"---"+strings.Replace(strings.Replace(fmt.Sprintf(cronJob, "x"), "name: curate", "name: other", 1), "functions/program", "functions/produce", 1)); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(b.cfg.Root, ".ko.yaml")
	if err := write(settings, "builds:\n  - {id: program, dir: ., main: ./functions/program, env: [CGO_ENABLED=1]}\n"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(settings) })
	t.Setenv("CGO_ENABLED", "0")
	b.start(t)
	if out := b.out.String(); strings.Count(out, "left out: it needs a C compiler; all else runs") != 1 || !strings.Contains(out, `cronjob=curate why="CGO_ENABLED is 0"`) {
		t.Error(out)
	}
	if len(b.platform.set.CronJobs) != 1 {
		t.Errorf("%d CronJobs run", len(b.platform.set.CronJobs))
	}
	b.stop()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
}

// Two runs must never be at work at once; a failure must not end the schedule, and the end must wait for the run that is at work.
func TestRecur(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ticks, began, answers := make(chan time.Time), make(chan struct{}), make(chan error)
		var text strings.Builder
		done := make(chan struct{})
		go func() {
			defer close(done)
			recur(ctx, ticks, slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})), func() error {
				began <- struct{}{}
				return <-answers
			})
		}()
		ticks <- time.Now()
		<-began
		ticks <- time.Now() // left out
		synctest.Wait()
		select {
		case <-began:
			t.Error("two runs at once")
		default:
		}
		answers <- errors.New("the store is away")
		synctest.Wait()
		ticks <- time.Now()
		<-began
		cancel()
		synctest.Wait()
		select {
		case <-done:
			t.Error("it ended before the run that is at work")
		default:
		}
		answers <- errors.New("stopped")
		<-done
		if got := text.String(); strings.Count(got, "tick left out") != 1 || strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, `the run failed; the next tick runs again" error="the store is away"`) {
			t.Error(got)
		}
	})
}
