package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"millrace/shared/landing"
)

// erasures are what erasures of persons made of a log's objects, asked for once an object is not what its entry says.
type erasures struct {
	mu    sync.Mutex
	known landing.Versions
}

// erased gives the piece its object as an erasure left it, where the bytes are those that an erasure published. Else the verdict on the bytes stands, or the outage is the error.
func (b *batch) erased(ctx context.Context, p *piece, body io.ReadSeeker, cause error) error {
	var v *verdict
	if !errors.As(cause, &v) {
		return cause
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	e := &b.source.erasures
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		var err error
		if e.known, err = b.source.log.Versions(ctx); err != nil {
			return err
		}
	}
	left, ok := e.known.Find(p.object.Key, hex.EncodeToString(h.Sum(nil)))
	if !ok {
		return cause
	}
	p.object.Rows, p.object.Bytes, p.object.SHA256 = left.Rows, left.Bytes, left.SHA256
	return nil
}
