package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Part is an embedded server that was started.
type Part interface {
	// Close stops the server, writes what it holds, and returns when it has ended; the end of ctx cuts that short.
	Close(ctx context.Context) error
}

// PartConfig is what an embedded server is started with.
type PartConfig struct {
	// Dir is the server's own directory, which may not exist yet.
	Dir string
	// Addr is the free address to listen on, host:port.
	Addr string
	// Credentials are those that an object storage must ask for.
	Credentials Credentials
	Log         *slog.Logger
	// Fail tells that the server has ended by itself, which stops the platform. It may be called at any time, by any goroutine.
	Fail func(error)
}

// OpenPart starts an embedded server. It returns when the server answers, or with an error and nothing running. The server runs
// until Close, longer than ctx, which bounds the start alone.
type OpenPart func(ctx context.Context, cfg PartConfig) (Part, error)

// Dispatcher delivers events: those of Triggers, or the ticks of PingSources.
type Dispatcher interface {
	// Run delivers until ctx ends, then finishes what is in flight and returns nil. Any other return stops the platform.
	Run(ctx context.Context) error
}

// OpenDispatcher makes a Dispatcher. It is called once, with the Kafka server running but before the topics are there and before
// functions can be asked; it may call [Platform.Handle].
type OpenDispatcher func(p *Platform) (Dispatcher, error)

// Parts are what the platform is put together from. A server that is nil must be named by its variable instead.
type Parts struct {
	Kafka       OpenPart
	ObjectStore OpenPart
	Search      OpenPart
	// Dispatchers run side by side.
	Dispatchers []OpenDispatcher
}

// HTTPServer is an embedded server that is an HTTP handler with a directory.
type HTTPServer interface {
	http.Handler
	Close() error
}

// HTTP makes a Part of an HTTP handler: it listens on the Part's address, and at Close lets requests finish before it closes the handler.
func HTTP[S HTTPServer](open func(dir string) (S, error)) OpenPart {
	return func(ctx context.Context, cfg PartConfig) (Part, error) {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
		}
		handler, err := open(cfg.Dir)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		part := &httpPart{handler: handler, server: newServer(handler, cfg.Log), done: make(chan struct{})}
		go func() {
			defer close(part.done)
			if err := part.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				cfg.Fail(fmt.Errorf("serve %s: %w", cfg.Addr, err))
			}
		}()
		return part, nil
	}
}

type httpPart struct {
	handler HTTPServer
	server  *http.Server
	done    chan struct{}
}

// Close implements Part.
func (p *httpPart) Close(ctx context.Context) error {
	err := shutdown(ctx, p.server)
	<-p.done
	return errors.Join(err, p.handler.Close())
}

// newServer returns an HTTP server with limits on what idle and slow clients can hold, which takes HTTP/2 without TLS as well.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: readTimeout, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// readTimeout is how long a request may take to arrive, its body included: more than a function allows, whose answer is the better one. It does not bound
// how long the answer takes.
const readTimeout = 45 * time.Second

// drainTime is how long requests may take to finish at the end.
const drainTime = 20 * time.Second

// shutdown lets requests finish for a while, then cuts them: one that its client never finished is no failure of ours.
func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return server.Close()
	}
	if err != nil {
		return fmt.Errorf("finish requests: %w", err)
	}
	return nil
}
