package ingress

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// Guards the trace on its way over HTTP: the extension as an attribute, and in the request's own header what sends it, else the event's own context.
func TestTrace(t *testing.T) {
	const (
		own    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		sender = "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01"
	)
	var header http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	s := open(t, srv.URL, Options{})
	f := func(ctx context.Context, extension, attribute, plain string) {
		t.Helper()
		e := newEvent(t, "1")
		if extension != "" {
			e.SetExtension("traceparent", extension)
		}
		if err := only(t, s.Publish(ctx, []*event.Event{e})); err != nil {
			t.Fatal(err)
		}
		if header.Get("Ce-Traceparent") != attribute || header.Get("Traceparent") != plain {
			t.Errorf("%s: attribute %q, header %q", extension, header.Get("Ce-Traceparent"), header.Get("Traceparent"))
		}
	}
	f(t.Context(), "", "", "")
	f(t.Context(), own, own, own)
	f(t.Context(), "wrong", "wrong", "")
	f(tracecontext.WithHop(t.Context(), tracecontext.New(sender, "")), own, own, sender)
}
