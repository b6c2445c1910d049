package functions_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The load of the figures: single events of 1 KB.
const (
	loadRate        = 1000 // events a second
	loadTime        = 30 * time.Second
	loadConnections = 64
	sampleEvery     = 50 // events, of which one is looked for in search
	probeEvery      = 50 * time.Millisecond
)

// today is when all events happened, so that one index holds them.
var today = time.Now().UTC().Format(time.RFC3339)

// kilobyte returns an event of 1 KB that its contract accepts.
func kilobyte(name string, i int) []byte {
	return fmt.Appendf(nil, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","source":"/figures","id":"%s/%d","time":"%s","payload":{`+
		`"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:%02d:%02d","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":%d,`+
		`"trip_distance":%d.%02d,"RatecodeID":1,"store_and_fwd_flag":"N","PULocationID":%d,"DOLocationID":%d,"payment_type":2,"fare_amount":%d.3,`+
		`"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":%d.3,"congestion_surcharge":2.5,"airport_fee":0.0,`+
		`"note":"%0480d"}}`, name, i, today, i/60%30, i%60, i%5, i%30, i%100, 1+i%260, 1+i*7%260, 5+i%50, 9+i%50, i)
}

// probe looks for sampled events in search.
type probe struct {
	mu      sync.Mutex
	waiting map[string]time.Time // by root id: when the receipt came
	took    []time.Duration
	found   []string

	index string // in which the events lie
}

// look asks search for the oldest that wait, and notes when it has them. It reads documents by their ids: the embedded search shows a document to both in the same moment, and a
// query reads the whole index each time, which would be the load to measure.
func (p *probe) look(s *system) error {
	p.mu.Lock()
	ids := slices.SortedFunc(maps.Keys(p.waiting), func(a, b string) int { return p.waiting[a].Compare(p.waiting[b]) })
	p.mu.Unlock()
	for _, id := range ids[:min(len(ids), 40)] {
		res, err := client.Get(s.es + "/" + p.index + "/_doc/" + id + "?_source=false")
		if err != nil {
			return err
		}
		now := time.Now()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		switch res.StatusCode {
		case http.StatusNotFound:
		case http.StatusOK:
			p.mu.Lock()
			p.took = append(p.took, now.Sub(p.waiting[id]))
			delete(p.waiting, id)
			p.found = append(p.found, id)
			p.mu.Unlock()
		default:
			return fmt.Errorf("search answered %s", res.Status)
		}
	}
	return nil
}

// search asks for events by a query, and returns how many there are, and in which index the first lies.
func (s *system) search(rootIDs []string) (n int, index string, err error) {
	body, err := json.Marshal(map[string]any{"size": len(rootIDs), "_source": false, "query": map[string]any{"terms": map[string]any{"root_id": rootIDs}}})
	if err != nil {
		return 0, "", err
	}
	var page struct {
		Hits struct {
			Hits []struct {
				Index string `json:"_index"`
			}
		}
	}
	if err := s.do(http.MethodPost, s.es+"/"+s.names.IndexPrefix+"enriched-*/_search", body, &page); err != nil {
		return 0, "", err
	}
	if len(page.Hits.Hits) > 0 {
		index = page.Hits.Hits[0].Index
	}
	return len(page.Hits.Hits), index, nil
}

func (p *probe) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// drive sends rate events a second for a time, over connections of its own that speak just enough HTTP, and tells the probe of those sampled. It returns how many had their receipts
// and how long that took. The pace does not wait for answers, as long as a connection is free.
func (s *system) drive(name string, rate int, long time.Duration, p *probe) (sent int64, took time.Duration) {
	n := int(long.Seconds() * float64(rate))
	next := make(chan int, n)
	var done atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range loadConnections {
		workers.Go(func() {
			conn, err := net.Dial("tcp", s.listen)
			if err != nil {
				s.t.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for i := range next {
				body := kilobyte(name, i)
				request := append(fmt.Appendf(nil, "POST /api/v1/collect HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", s.listen, len(body)), body...)
				if _, err := conn.Write(request); err != nil {
					s.t.Error(err)
					return
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					s.t.Error(err)
					return
				}
				var answer struct{ Receipts []receipt }
				err = json.NewDecoder(res.Body).Decode(&answer)
				res.Body.Close()
				if err != nil || len(answer.Receipts) != 1 || answer.Receipts[0].Status != "accepted" {
					s.t.Errorf("answered %s, %v, %v", res.Status, answer.Receipts, err)
					return
				}
				done.Add(1)
				if i%sampleEvery == 0 {
					p.mu.Lock()
					p.waiting[answer.Receipts[0].RootID] = time.Now()
					p.mu.Unlock()
				}
			}
		})
	}
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for i := 0; i < n; {
		for due := min(n, int(time.Since(began).Seconds()*float64(rate))); i < due; i++ {
			next <- i
		}
		<-pace.C
	}
	close(next)
	workers.Wait()
	return done.Load(), time.Since(began)
}

// memory is one look at the platform's processes.
type memory struct{ all, collect float64 } // MiB

// processes returns the platform's process and its descendants.
func (s *system) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := statFields(pid); err == nil { // a process may end between
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{s.platform.PID()}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// statFields returns /proc/pid/stat after the command's name: state, parent, and so on.
func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return nil, fmt.Errorf("%q is no /proc/pid/stat", stat)
	}
	return fields, nil
}

// cpuSeconds returns the processor time of a process; Linux counts it in hundredths of a second.
func cpuSeconds(pid int) (float64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%v is no /proc/pid/stat", fields)
	}
	return float64(user+system) / 100, nil
}

// rollup returns a line of /proc/pid/smaps_rollup in MiB.
func rollup(pid int, name string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in smaps_rollup", name)
}

// observe returns what the processes hold now; each lists them by name where names is not nil.
func (s *system) observe(names map[string]float64) (memory, error) {
	pids, err := s.processes()
	if err != nil {
		return memory{}, err
	}
	collect := s.child("collect")
	var m memory
	clear(names)
	for _, pid := range pids {
		pss, err := rollup(pid, "Pss")
		if err != nil {
			continue // ended between
		}
		m.all += pss
		if pid == collect {
			if m.collect, err = rollup(pid, "Rss"); err != nil {
				return m, err
			}
		}
		names[s.name(pid)] += pss
	}
	return m, nil
}

// name is a process's program.
func (s *system) name(pid int) string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	switch name := filepath.Base(exe); {
	case err != nil:
		return "ended"
	case name == "local" && pid != s.platform.PID():
		return "object store"
	default:
		return name
	}
}

// processorTimes returns what the living processes have used so far, in seconds, by name, and this test's own.
func (s *system) processorTimes() map[string]float64 {
	times := map[string]float64{}
	pids, err := s.processes()
	if err != nil {
		s.t.Error(err)
	}
	for _, pid := range append(pids, os.Getpid()) {
		if used, err := cpuSeconds(pid); err == nil {
			times[s.name(pid)] += used
		}
	}
	return times
}

// quantile returns the q-th part of sorted times, in seconds.
func quantile(sorted []time.Duration, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Seconds()
}

// The figures of the whole: 1,000 single events of 1 KB a second through the local platform as a newcomer starts it. From receipt to searchable, by a sample that
// is looked for every 50 ms; the memory of all processes together, the most in one look a second (PSS, so that shared pages count once) and collect's own (RSS); the
// processor time of load-lake's processes, start included, for a raw and a typed row of each event.
func BenchmarkPipeline(b *testing.B) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		b.Skip("memory and processor time of processes are read from /proc, which is not here")
	}
	for b.Loop() {
		s := newSystem(b)
		s.flags = append(s.flags, "-tick", "10s")
		s.start()
		p := &probe{waiting: map[string]time.Time{}}
		s.drive("warm", 200, 3*time.Second, p)
		first := slices.Collect(maps.Keys(p.waiting))
		s.eventually("the first events are searchable", func() error {
			n, index, err := s.search(first)
			if err == nil && n < len(first) {
				err = fmt.Errorf("%d of %d are", n, len(first))
			}
			p.index = index
			return err
		})
		clear(p.waiting)

		finish := make(chan struct{})
		var watchers sync.WaitGroup
		watchers.Go(func() {
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for {
				select {
				case <-finish:
					return
				case <-tick.C:
				}
				if err := p.look(s); err != nil {
					b.Error(err)
					return
				}
			}
		})
		var most memory
		var biggest map[string]float64
		lake := map[int]float64{} // processor time by process
		before := s.processorTimes()
		watchers.Go(func() {
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-finish:
					return
				case <-tick.C:
				}
				if pid := s.child("load-lake"); pid != 0 {
					if used, err := cpuSeconds(pid); err == nil {
						lake[pid] = used
					}
				}
				if n%4 != 0 {
					continue
				}
				names := map[string]float64{}
				m, err := s.observe(names)
				if err != nil {
					b.Error(err)
					return
				}
				if m.all > most.all {
					most.all, biggest = m.all, names
				}
				most.collect = max(most.collect, m.collect)
			}
		})
		sent, took := s.drive("load", loadRate, loadTime, p)
		for name, seconds := range s.processorTimes() {
			b.Logf("%6.0f us of processor time per event %s", (seconds-before[name])*1e6/float64(sent), name)
		}
		s.eventually("all samples are searchable", func() error {
			if n := p.left(); n > 0 {
				return fmt.Errorf("%d are not", n)
			}
			return nil
		})
		if n, _, err := s.search(p.found); err != nil || n != len(p.found) {
			b.Fatalf("a query finds %d of the %d samples: %v", n, len(p.found), err)
		}
		var rows int64
		s.eventually("all rows have landed", func() error {
			rows = 0
			for _, topic := range []string{s.names.Raw, s.names.Enriched} {
				n, err := s.landed(topic)
				if err != nil {
					return err
				}
				rows += n
			}
			if want := 2 * (sent + 600); rows != want {
				return fmt.Errorf("%d rows of %d", rows, want)
			}
			return nil
		})
		close(finish)
		watchers.Wait()
		var used float64
		for _, seconds := range lake {
			used += seconds
		}
		b.Logf("load-lake was started %d times", len(lake))
		slices.Sort(p.took)
		b.ReportMetric(float64(sent)/took.Seconds(), "events/s")
		b.ReportMetric(float64(len(p.took)), "samples")
		b.ReportMetric(quantile(p.took, 0.5), "searchable-median-s")
		b.ReportMetric(quantile(p.took, 0.99), "searchable-p99-s")
		b.ReportMetric(most.all, "system-MiB")
		b.ReportMetric(most.collect, "collect-MiB")
		b.ReportMetric(used*1e6/float64(rows/2), "lake-us/event")
		for name, mib := range biggest {
			b.Logf("%6.1f MiB %s", mib, name)
		}
		s.stop(syscall.SIGTERM)
	}
}
