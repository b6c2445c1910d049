package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
	"millrace/shared/event"
)

// row is one fault.
type row struct {
	name  string
	short bool // in the short form, too

	// inject begins the fault; where it does not stay, it is over when inject returns. lasts is how long it takes, at least: the load goes on through it.
	inject func(ctx context.Context, s *scene) error
	stays  bool
	lasts  time.Duration
	// end undoes it.
	end func(ctx context.Context, s *scene) error

	events  func(source string, i int) load.Event // nil: trips, of which every 50th violates its contract
	abandon bool                                  // clients break off
	retries int                                   // of Triggers, in place of the manifests'; 0 as they are

	// check is what must hold beyond a clean account: above all that the fault did what it should.
	check func(s *scene, a *ledger.Account) error
}

// rows are the table.
var rows = []row{
	{name: "nothing fails"},
	{name: "enrich killed, 5 times", short: true, inject: signalled(syscall.SIGKILL, 5, "enrich"), lasts: 5 * pace},
}

// pace is the time between two signals.
const pace = 1500 * time.Millisecond

// trip is an event that only its id tells apart; every 50th goes too far for its contract.
func trip(source string, i int) load.Event {
	distance := "2.5"
	if i%50 == 49 {
		distance = "62359"
	}
	return tripOf(source, i, distance)
}

func tripOf(source string, i int, distance string) load.Event {
	id := fmt.Sprintf("trip/%d", i)
	return load.Event{RootID: event.Identity(source, id), Body: fmt.Appendf(nil, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","source":%q,"id":%q,"payload":{`+
		`"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:%02d:%02d","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1,`+
		`"trip_distance":%s,"RatecodeID":1,"store_and_fwd_flag":"N","PULocationID":%d,"DOLocationID":%d,"payment_type":2,"fare_amount":9.3,`+
		`"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}}`,
		source, id, i/60%30, i%60, distance, 1+i%260, 1+i*7%260)}
}

// signalled sends a signal to the processes of functions, in turn, n times each, while events flow.
func signalled(signal syscall.Signal, n int, functions ...string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		last := map[string]int{}
		var sent []string
		for range n {
			for _, name := range functions {
				limit := time.Now().Add(time.Minute)
				for {
					pid, err := s.platform.Child(name)
					if err != nil {
						return err
					}
					if pid != 0 && pid != last[name] {
						last[name] = pid
						if err := syscall.Kill(pid, signal); err != nil {
							continue // it had ended by itself
						}
						sent = append(sent, name)
						break
					}
					if time.Now().After(limit) {
						return fmt.Errorf("no new process of %s within a minute", name)
					}
					if !wait(ctx, 20*time.Millisecond) {
						return context.Cause(ctx)
					}
				}
				// Long enough for a process to be in the midst of work, and never in step with it.
				if !wait(ctx, pace/2+time.Duration(s.random.Int64N(int64(pace/2)))) {
					return context.Cause(ctx)
				}
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("%s to %s", signal, strings.Join(sent, ", ")))
		return nil
	}
}
