package objectstore

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"sync"

	"millrace/shared/certificate"
)

// answer is the last refusal that the store gave within one operation. minio-go forgets it when the time ends between two attempts, and then a full disk reads as a timeout.
type answer struct {
	mu   sync.Mutex
	last string
}

type answerKey struct{}

// heard returns the store's last refusal within the operation; "" where there was none.
func heard(ctx context.Context) string {
	a, ok := ctx.Value(answerKey{}).(*answer)
	if !ok {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// listener notes refusals for the operations whose contexts have an answer.
type listener struct {
	http.RoundTripper
	trusted certificate.Authority
}

// maxRefusal is how much of a refusal is read: S3's are some hundred bytes.
const maxRefusal = 64 << 10

// RoundTrip is http.RoundTripper's.
func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(r)
	if err != nil || res.StatusCode < http.StatusBadRequest {
		return res, l.trusted.Explain(r.URL.Host, err)
	}
	a, ok := r.Context().Value(answerKey{}).(*answer)
	if !ok {
		return res, nil
	}
	var refusal struct{ Code, Message string }
	head, readErr := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	res.Body = body{io.MultiReader(bytes.NewReader(head), failing{readErr}, res.Body), res.Body}
	text := res.Status
	if xml.Unmarshal(head, &refusal) == nil && refusal.Code != "" {
		text = fmt.Sprintf("%d %s: %s", res.StatusCode, refusal.Code, refusal.Message)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = text
	return res, nil
}

// body reads what was read already, and then the rest.
type body struct {
	io.Reader
	io.Closer
}

// failing gives an error that reading met back to the next reader; it is empty where there was none.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}
