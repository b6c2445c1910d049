package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace/functions/internal/figures/internal/rig"
)

// maxGrowth is how much a function's memory may grow from the second minute of a steady load to its end, by a linear fit, in percent of its mean (or of smallest MiB, where that is less).
const (
	maxGrowth = 10
	smallest  = 40
)

// drainEvery is how often load-lake drains under a sustained load. Five minutes, as knative/ has it, would be one drain or two of what is measured.
const drainEvery = 30 * time.Second

// background runs f until the function that it returns is called, which returns f's error. An error of f's ends the context that it returns.
func background(ctx context.Context, f func(context.Context) error) (outer context.Context, stop func() error) {
	outer, fail := context.WithCancelCause(ctx)
	inner, cancel := context.WithCancel(outer)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() {
		if err = f(inner); inner.Err() != nil && ctx.Err() == nil {
			err = nil // it was told to stop
		}
		if err != nil {
			fail(err)
		}
	})
	return outer, func() error {
		cancel()
		wg.Wait()
		fail(nil)
		return err
	}
}

// every calls f at intervals until ctx ends, the first time after one.
func every(ctx context.Context, interval time.Duration, f func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// drainAll drains every topic once.
func (w *whole) drainAll(ctx context.Context) error {
	for _, topic := range []string{w.raw, w.enriched, w.dead} {
		if err := drain(ctx, w.lake, topic); err != nil {
			return err
		}
	}
	return nil
}

// slope returns the growth per unit of x of the line that fits the points best.
func slope(x, y []float64) float64 {
	n := float64(len(x))
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	if d := n*sxx - sx*sx; d > 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}

func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// machineBusy returns the processor time that all processes of the machine have used, and the kernel for them; 0 where that is not known.
func machineBusy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(first)
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		if i >= len(fields) {
			return 0
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// order is that of tables' rows.
func order(names []string) []string {
	first := []string{selfName, "collect", "enrich", "load-search", "load-lake", "Kafka", "Elasticsearch", "object storage"}
	slices.SortFunc(names, func(a, b string) int { return slices.Index(first, a) - slices.Index(first, b) })
	return names
}

// attempt is one load at one rate.
type attempt struct {
	rate, events int
	took         time.Duration
	holds        bool
	why          string
	used         map[string]time.Duration // by process, while it was measured
	busy         time.Duration            // of the machine meanwhile
	measured     time.Duration
	lag          float64 // at the end
}

// The times of one attempt.
const (
	warming   = 15 * time.Second
	measuring = 30 * time.Second
)

// try sends at a rate and tells whether the pipeline held it: what waits in Kafka grew by no more than a fiftieth of what came, and was at its end no more than comes in two seconds,
// and the sender was never more than a second late.
func (w *whole) try(ctx context.Context, rate int) (a attempt, err error) {
	a.rate, a.events = rate, int((warming+measuring).Seconds())*rate
	var at, lags []float64
	m := meter{pids: w.pids(), self: true}
	var before, after map[string]time.Duration
	var busy time.Duration
	began := time.Now()
	ctx, stop := background(ctx, func(ctx context.Context) error {
		return every(ctx, time.Second, func() error {
			since := time.Since(began)
			if since < warming {
				return nil
			}
			used, err := m.read()
			if err != nil {
				return err
			}
			if before == nil {
				before, busy = used, machineBusy()
				a.measured = since
			}
			after, a.busy = used, machineBusy()-busy
			lag, err := w.lag()
			at, lags = append(at, since.Seconds()), append(lags, float64(lag))
			return err
		})
	})
	sent, err := w.send(ctx, fmt.Sprintf("rate%d-%d", rate, w.sent), rate, a.events, perBatch, nil)
	if err = errors.Join(err, stop()); err != nil {
		return a, err
	}
	if len(at) < 2 {
		return a, fmt.Errorf("%d looks at the lag at %d events a second", len(at), rate)
	}
	a.took = sent.Took
	a.used = map[string]time.Duration{}
	for name := range after {
		a.used[name] = after[name] - before[name]
	}
	a.measured = time.Duration(at[len(at)-1]*float64(time.Second)) - a.measured
	a.lag = mean(lags[len(lags)-min(3, len(lags)):])
	growth := slope(at, lags)
	switch {
	case sent.Late > time.Second:
		a.why = fmt.Sprintf("collect answered up to %s late", sent.Late.Round(100*time.Millisecond))
	case growth > float64(rate)/50:
		a.why = fmt.Sprintf("lag grew by %.0f a second", growth)
	case a.lag > 2*float64(rate):
		a.why = fmt.Sprintf("lag was %.0f", a.lag)
	default:
		a.holds = true
		a.why = fmt.Sprintf("lag stayed near %.0f", a.lag)
	}
	return a, nil
}

// shares is a table of who used the processors during an attempt.
func (a attempt) shares(title string) table {
	t := table{title: title, rows: [][]string{{"process", "cores", "us per event"}}}
	var sum time.Duration
	line := func(name string, d time.Duration) {
		t.rows = append(t.rows, []string{name, fmt.Sprintf("%.2f", d.Seconds()/a.measured.Seconds()), fmt.Sprintf("%.0f", float64(d.Microseconds())/(a.measured.Seconds()*float64(a.rate)))})
	}
	for _, name := range order(slices.Collect(maps.Keys(a.used))) {
		sum += a.used[name]
		line(name, a.used[name])
	}
	if rest := a.busy - sum; rest > 0 {
		line("all else on the machine", rest)
	}
	line("together", max(sum, a.busy))
	return t
}

// steady finds the highest rate that the pipeline holds, and then holds one for minutes: that which is wanted where it can, else nine tenths of the highest.
func steady(ctx context.Context, r *measurement) error {
	w, err := r.startWhole(ctx, "steady", true)
	if err != nil {
		return err
	}
	if err := w.indexed(ctx); err != nil {
		return err
	}
	var drains []float64
	drained, stop := background(ctx, func(ctx context.Context) error {
		return every(ctx, drainEvery, func() error {
			began := time.Now()
			err := w.drainAll(ctx)
			drains = append(drains, time.Since(began).Seconds())
			return err
		})
	})
	err = func() error {
		best, lost, err := r.climb(drained, w)
		if err != nil {
			return err
		}
		r.results.add("Steady", "rate", float64(best.rate))
		if lost.rate > 0 {
			r.tables = append(r.tables, lost.shares(fmt.Sprintf("Processors at %d events/s, which was not held: %s", lost.rate, lost.why)))
		}
		if best.rate == 0 {
			return errors.New("no rate was held")
		}
		r.tables = append(r.tables, best.shares(fmt.Sprintf("Processors at %d events/s, held: %s", best.rate, best.why)))
		held := r.o.rate
		if best.rate < held {
			held = best.rate * 9 / 10 / 100 * 100
		}
		return r.hold(drained, w, held)
	}()
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	if len(drains) > 0 {
		r.note("load-lake drained every %s, in %.1f s on average and %.1f s at most.", drainEvery, mean(drains), slices.Max(drains))
	}
	return w.close(ctx)
}

// step of rates, in events a second.
const step = 500

// climb searches for the highest rate that is held, and returns it with the lowest that was not.
func (r *measurement) climb(ctx context.Context, w *whole) (best, lost attempt, err error) {
	rate := r.o.rate
	for range 6 {
		a, err := w.try(ctx, rate)
		if err != nil {
			return best, lost, err
		}
		verdict := "held"
		if !a.holds {
			verdict = "not held"
		}
		fmt.Printf("%s  %d events/s %s: %s\n", time.Now().Format(time.TimeOnly), rate, verdict, a.why)
		if a.holds {
			best = a
		} else {
			lost = a
		}
		if err := w.settled(ctx); err != nil {
			return best, lost, err
		}
		if lost.rate == 0 {
			rate = best.rate * 3 / 2 / step * step
		} else {
			rate = (best.rate + lost.rate) / 2 / step * step
		}
		if rate <= best.rate || rate < step {
			break
		}
	}
	return best, lost, nil
}

// hold sends at a rate for minutes, and looks at memory and lag.
func (r *measurement) hold(ctx context.Context, w *whole, rate int) error {
	fmt.Printf("%s  %d events/s for %d minutes\n", time.Now().Format(time.TimeOnly), rate, r.o.minutes)
	began := time.Now()
	var at, lags []float64 // minutes, events
	memory := map[string][]float64{}
	pids := w.pids()
	pids[selfName] = os.Getpid()
	watched, stop := background(ctx, func(ctx context.Context) error {
		return every(ctx, 5*time.Second, func() error {
			minute := time.Since(began).Minutes()
			lag, err := w.lag()
			if err != nil {
				return err
			}
			for name, pid := range pids {
				mib, err := rig.Memory(pid)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				memory[name] = append(memory[name], mib)
			}
			if len(at)%12 == 11 {
				fmt.Printf("%s  minute %.0f of %d, %d events wait in Kafka\n", time.Now().Format(time.TimeOnly), minute, r.o.minutes, lag)
			}
			at, lags = append(at, minute), append(lags, float64(lag))
			return nil
		})
	})
	sent, err := w.send(watched, "hold", rate, rate*60*r.o.minutes, perBatch, nil)
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	from := slices.IndexFunc(at, func(minute float64) bool { return minute >= 1 }) // of the second minute
	if from < 0 || len(at)-from < 3 {
		r.note("%d minutes are too short to tell growth of memory.", r.o.minutes)
		from = 0
	}
	minutes := at[len(at)-1] - at[from]
	t := table{title: fmt.Sprintf("Memory at %d events/s for %d minutes (RSS, MiB, the mean of each minute)", rate, r.o.minutes), rows: [][]string{{"process"}}}
	for m := 2; m <= r.o.minutes; m++ {
		t.rows[0] = append(t.rows[0], strconv.Itoa(m))
	}
	t.rows[0] = append(t.rows[0], "growth by fit")
	most := math.Inf(-1)
	for _, name := range order(slices.Collect(maps.Keys(memory))) {
		values := memory[name]
		row := []string{name}
		for m := 2; m <= r.o.minutes; m++ {
			var of []float64
			for i, minute := range at {
				if int(minute) == m-1 {
					of = append(of, values[i])
				}
			}
			row = append(row, fmt.Sprintf("%.0f", mean(of)))
		}
		growth := slope(at[from:], values[from:]) * minutes
		t.rows = append(t.rows, append(row, fmt.Sprintf("%+.1f MiB", growth)))
		if slices.ContainsFunc(w.functions, func(p *rig.Process) bool { return p.Name == name }) {
			most = max(most, 100*growth/max(smallest, mean(values[from:])))
		}
	}
	r.tables = append(r.tables, t)
	end := mean(lags[len(lags)-min(6, len(lags)):])
	r.results.add("Steady", "held", float64(rate))
	r.results.add("Steady", "lag-s", end/float64(rate))
	r.results.add("Steady", "growth-%", max(0, most))
	r.note("At %d events/s for %d minutes: lag between %.0f and %.0f events from minute 2 on, growing by %.1f events a second by a linear fit; requests were sent at most %s late, and %d again after a 503.", rate, r.o.minutes,
		slices.Min(lags[from:]), slices.Max(lags[from:]), slope(at[from:], lags[from:])/60, sent.Late.Round(time.Millisecond), sent.Resent)
	return nil
}

// loads measures what each function takes per event at one, two and four times a base load: processor time of what was sent, its drain to the lake included, and memory at the end.
func loads(ctx context.Context, r *measurement) error {
	const seconds = 30
	base := max(100, r.o.rate/10)
	w, err := r.startWhole(ctx, "loads", true)
	if err != nil {
		return err
	}
	if err := w.indexed(ctx); err != nil {
		return err
	}
	if err := w.drainAll(ctx); err != nil {
		return err
	}
	type cost struct {
		cpu    time.Duration
		memory float64
	}
	costs := map[string][]cost{}
	head := []string{"process"}
	for _, rate := range []int{base, 2 * base, 4 * base} {
		if _, err := w.send(ctx, fmt.Sprintf("warm%d", rate), rate, 5*rate, perBatch, nil); err != nil {
			return err
		}
		if err := errors.Join(w.settled(ctx), w.drainAll(ctx)); err != nil {
			return err
		}
		used, err := meter{pids: w.pids()}.during(func() error {
			if _, err := w.send(ctx, fmt.Sprintf("load%d", rate), rate, rate*seconds, perBatch, nil); err != nil {
				return err
			}
			return errors.Join(w.settled(ctx), w.drainAll(ctx))
		})
		if err != nil {
			return err
		}
		head = append(head, fmt.Sprintf("%d/s: CPU s per million", rate), "MiB")
		for name, pid := range w.pids() {
			mib, err := rig.Memory(pid)
			if err != nil {
				return err
			}
			costs[name] = append(costs[name], cost{time.Duration(float64(used[name]) * 1e6 / float64(rate*seconds)), mib})
		}
	}
	t := table{title: fmt.Sprintf("What a million events take, in requests of %d, at one, two and four times a load (CPU seconds, and resident memory at its end)", perBatch), rows: [][]string{head}}
	var all float64
	for _, name := range order(slices.Collect(maps.Keys(costs))) {
		row := []string{name}
		for _, c := range costs[name] {
			row = append(row, fmt.Sprintf("%.1f", c.cpu.Seconds()), fmt.Sprintf("%.0f", c.memory))
		}
		t.rows = append(t.rows, row)
		if slices.ContainsFunc(w.functions, func(p *rig.Process) bool { return p.Name == name }) {
			all += costs[name][len(costs[name])-1].cpu.Seconds()
		}
	}
	r.tables = append(r.tables, t)
	r.results.add("Loads", "most-us", all)
	return w.close(ctx)
}
