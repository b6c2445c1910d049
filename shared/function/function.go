package function

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
	"millrace/shared/tracing"
)

// Function is a function being put together. Its methods are called once each, from main's goroutine, before the server runs.
type Function struct {
	// Name is the function's, as in functions/<name>: the stage in dead letters, the component in logs and metrics.
	Name     string
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// Tracer makes spans; nil where none are asked for.
	Tracer *tracing.Tracer

	server serve.Config
	ready  []func(context.Context) error
	intake []serve.Hook // before sinks
	sinks  []serve.Hook
}

// New returns a function with its logger, which becomes slog's default, and its metrics.
//
// Garbage is collected when there is some, not whenever the little that lives has doubled: an event is garbage after milliseconds. memory, in bytes, is the
// limit that holds it where batches come fast, below the container's. GOGC and GOMEMLIMIT go before both, which Go itself sees to.
func New(name string, p Process, memory int64) *Function {
	if p.GOGC == "" {
		debug.SetGCPercent(400)
	}
	if p.MemLimit == "" {
		debug.SetMemoryLimit(memory)
	}
	f := &Function{Name: name, Logger: telemetry.Logger(os.Stderr, p.Log, name), Registry: telemetry.NewRegistry(name)}
	slog.SetDefault(f.Logger)
	f.Tracer = tracing.New(p.Spans, name, f.Logger, f.Registry)
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
	s.tracer = f.Tracer
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

// In says how events come to a handler.
type In struct {
	Intake
	From kafka.Subscription // no topics: HTTP
	// Ordered keeps order within a Kafka record's key; over HTTP there is none.
	Ordered bool
	// Dead is where what the handler gives up is written, and what is no event.
	Dead delivery.Publisher
	// ReadsDead says that events.dead is among what is read: see [deadletter.HandlerOfDead].
	ReadsDead bool
}

// Intake brings events to h, writes what it gives up to in.Dead, and counts attempts. It returns what answers requests on the function's port, which is nothing
// but not found where events come from Kafka.
func (f *Function) Intake(in In, h delivery.Handler) http.Handler {
	withDeadLetters := deadletter.Handler
	if in.ReadsDead {
		withDeadLetters = deadletter.HandlerOfDead
	}
	attempts := delivery.Attempts(h, in.Attempts)
	h = f.traced(in.From, attempts, func(h delivery.Handler) delivery.Handler { return withDeadLetters(h, in.Dead, f.Name, time.Now) })
	undecodable := deadletter.Undecodable(in.Dead, "/millrace/"+f.Name, f.Name, time.Now)
	if len(in.From.Topics) == 0 {
		over := serve.Events(h, serve.Options{
			MaxBytes: in.InFlight, MaxBatch: in.Events, MaxBatchBytes: in.Bytes, MaxWait: in.Flush, Timeout: in.BatchTimeout,
			Logger: f.Logger, Registerer: f.Registry, OnUndecodable: undecodable, Trace: f.Tracer != nil,
		})
		f.intake = append(f.intake, serve.Hook{Name: "intake", Do: over.Drain})
		return over
	}
	from := kafka.NewIntake(in.From.Brokers, in.From.Topics, in.From.Group, h, kafka.IntakeOptions{
		ClientID: "millrace-" + f.Name, Instance: in.Instance(in.From), MaxBytes: in.InFlight, MaxWaiting: in.Waiting, MaxBatch: in.Events, MaxBatchBytes: in.Bytes, MaxWait: in.Flush, Timeout: in.BatchTimeout,
		Drain: f.server.Grace / 3, Start: in.From.Start, Ordered: in.Ordered, Attempts: attempts, OnUndecodable: undecodable,
		Logger: f.Logger, Registerer: f.Registry, Config: in.From.Security.Apply, Trace: f.Tracer != nil,
	})
	f.server.Components = append(f.server.Components, serve.Component{Name: "intake", Run: from.Run})
	f.ready = append(f.ready, from.Ready)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
}

// traced puts spans around a handler and what makes dead letters of what it gives up, where spans are made.
func (f *Function) traced(from kafka.Subscription, h delivery.Handler, withDeadLetters func(delivery.Handler) delivery.Handler) delivery.Handler {
	if f.Tracer == nil {
		return withDeadLetters(h)
	}
	place := tracing.Place{System: "http", Destination: f.Name}
	if len(from.Topics) > 0 {
		place = tracing.Place{System: "kafka", Destination: strings.Join(from.Topics, ",")}
	}
	return f.Tracer.Handler(withDeadLetters(tracing.Failures(h)), place)
}

// readyTimeout bounds one look at what a function needs to be ready.
const readyTimeout = 10 * time.Second

// Server returns how the function's server is run, with everything opened so far; a function may change it.
func (f *Function) Server() serve.Config {
	s := f.server
	s.Drain = append(append(s.Drain, f.intake...), f.sinks...)
	if f.Tracer != nil {
		s.Drain = append(s.Drain, serve.Hook{Name: "spans", Do: f.Tracer.Close})
	}
	if len(f.ready) > 0 {
		s.Ready = func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, readyTimeout) // it is asked again, and meanwhile tells what is missing
			defer cancel()
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
