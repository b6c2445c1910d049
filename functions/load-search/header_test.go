package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/shared/deadletter"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/serve"
)

// Guards against the loop of a dead letter through its Trigger's own dead letter sink: no record that a topic takes may be answered by a status that Knative
// takes for final, however much of it is attributes and whatever its content type says.
func TestNoRecordIsRefused(t *testing.T) {
	s := start(t)
	clock := func() time.Time { return s.now }
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Config{Listener: l, Logger: logger}, serve.Events(s.handler, serve.Options{
			OnUndecodable: deadletter.Undecodable(s.dead, "/millrace/load-search", stage, clock), Clock: clock, Logger: logger,
		}))
	}()
	f := func(name string, header http.Header, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String(), bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err != nil || len(text) != 0 || res.StatusCode != http.StatusAccepted {
			t.Errorf("%s: answered %d %q, %v", name, res.StatusCode, text, err)
		}
	}
	headers := func(attributes ...string) http.Header {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"T"}}
		for i := 0; i < len(attributes); i += 2 {
			h.Set(attributes[i], attributes[i+1])
		}
		return h
	}
	f("one attribute of a record's size", headers("Ce-Large", event.EncodeHeader(strings.Repeat(" ", kafka.TopicMaxMessageBytes))), "{}")
	many := headers()
	for i := range kafka.TopicMaxMessageBytes / len("ce_aaaax") {
		name := []byte("aaaa")
		for k := range name {
			name[k] += byte(i % 26)
			i /= 26
		}
		many["Ce-"+strings.ToUpper(string(name[:1]))+string(name[1:])] = []string{"x"}
	}
	f("many attributes", many, "{}")
	f("data of a record's size", headers("Content-Type", "text/plain"), strings.Repeat("x", kafka.TopicMaxMessageBytes))
	for _, contentType := range []string{event.MediaBatch, event.MediaStructured, "application/cloudevents+avro", "/", "no media type"} {
		f("content type "+contentType, headers("Content-Type", contentType), "[]")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
