package search

import (
	"context"
	"fmt"
	"os"
	"time"

	"millrace/knative/local/internal/search/engine"
)

// Server answers the subset. It is safe for concurrent use.
type Server = engine.Server

// Option changes a Server.
type Option = engine.Option

// WithMaxBody sets the largest request body in bytes, after decompression; the default is 100 MiB, as Elasticsearch's
// http.max_content_length. A larger one is answered 413.
func WithMaxBody(bytes int64) Option { return engine.WithMaxBody(bytes) }

// WithClock sets the clock that date math and creation dates go by; the default is time.Now.
func WithClock(now func() time.Time) Option { return engine.WithClock(now) }

// Open opens the data in dir, which it makes where it is missing. The caller sees to it that no other process has dir open.
// Close it when done; what was acknowledged is there at the next Open even without a Close.
func Open(dir string, opts ...Option) (*Server, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the search directory: %w", err)
	}
	rows, err := openDatabase(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	return engine.New(rows, opts...)
}
