package function

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// Function is a function being put together. Its methods are called once each, from main's goroutine, before the server runs.
type Function struct {
	// Name is the function's, as in functions/<name>: the stage in dead letters, the component in logs and metrics.
	Name     string
	Logger   *slog.Logger
	Registry *prometheus.Registry

	server serve.Config
	ready  []func(context.Context) error
	intake []serve.Hook // before sinks
	sinks  []serve.Hook
}

// New returns a function with its logger, which becomes slog's default, and its metrics.
func New(name string, p Process) *Function {
	f := &Function{Name: name, Logger: telemetry.Logger(os.Stderr, p.Log, name), Registry: telemetry.NewRegistry(name)}
	slog.SetDefault(f.Logger)
	f.server = serve.Config{Listen: p.Listen(), Grace: p.Grace, Metrics: f.Registry, Logger: f.Logger}
	return f
}

// OpenSinks returns the function's sinks, which are closed when it ends, after its intake.
func (f *Function) OpenSinks(o kafka.ProducerOptions) *Sinks {
	if o.ClientID == "" {
		o.ClientID = "millrace-" + f.Name
	}
	o.Logger = f.Logger
	s := NewSinks(o)
	f.ready = append(f.ready, s.Ready)
	f.sinks = append(f.sinks, serve.Hook{Name: "sinks", Do: s.Close})
	return s
}

// AddReady makes the function not ready before ready returned nil once, which is asked after the sinks.
func (f *Function) AddReady(ready func(context.Context) error) { f.ready = append(f.ready, ready) }

// Follow looks at contracts again while the function runs; report is told of changes.
func (f *Function) Follow(contracts *contract.Source, c Contracts, report func(changed bool, err error)) {
	f.server.Components = append(f.server.Components, serve.Component{
		Name: "contracts", Run: func(ctx context.Context) error { return contracts.Follow(ctx, c.Interval, report) },
	})
}

// Intake brings events to h, writes what it gives up to dead, and counts attempts. It returns what answers requests.
func (f *Function) Intake(i Intake, h delivery.Handler, dead delivery.Publisher, options ...deadletter.Option) http.Handler {
	h = deadletter.Handler(delivery.Attempts(h, i.Attempts), dead, f.Name, time.Now, options...)
	in := serve.Events(h, serve.Options{
		MaxBytes: i.InFlight, MaxBatch: i.Events, MaxBatchBytes: i.Bytes, MaxWait: i.Flush, Timeout: i.BatchTimeout,
		Logger: f.Logger, Registerer: f.Registry, OnUndecodable: deadletter.Undecodable(dead, "/millrace/"+f.Name, f.Name, time.Now),
	})
	f.intake = append(f.intake, serve.Hook{Name: "intake", Do: in.Drain})
	return in
}

// Server returns how the function's server is run, with everything opened so far; a function may change it.
func (f *Function) Server() serve.Config {
	s := f.server
	s.Drain = append(append(s.Drain, f.intake...), f.sinks...)
	if len(f.ready) > 0 {
		s.Ready = func(ctx context.Context) error {
			for _, ready := range f.ready {
				if err := ready(ctx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return s
}
