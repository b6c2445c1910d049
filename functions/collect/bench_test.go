package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// object is an event of about 1 KB in the JSON form.
func object(i int) string {
	return fmt.Sprintf(`{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","payload":{"VendorID":%d,"note":"%s",`+
		`"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1,"trip_distance":0.97,"RatecodeID":1,`+
		`"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,"payment_type":2,"fare_amount":9.30,"extra":1.00,"mta_tax":0.50,"tip_amount":0.00,`+
		`"tolls_amount":0.00,"improvement_surcharge":1.00,"total_amount":14.30,"congestion_surcharge":2.50,"airport_fee":0.00}}`, i, strings.Repeat("x", 480))
}

// encoding is a topic that does what comes before the network: records.
type encoding struct{}

func (encoding) Durability() string { return kafka.DurabilityReplicated }

func (encoding) Publish(_ context.Context, events []*event.Event) []error {
	errs := make([]error, len(events))
	for i, e := range events {
		_, errs[i] = kafka.Encode("events.raw", e)
	}
	return errs
}

// discard is a ResponseWriter that costs next to nothing.
type discard struct {
	h    http.Header
	code int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(code int)        { d.code = code }

func benchmark(b *testing.B, h http.Handler, path string, body []byte, events int) {
	b.Helper()
	req := httptest.NewRequest(http.MethodPost, path, nil)
	req.ContentLength = int64(len(body))
	w := &discard{h: http.Header{}}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		req.Body = io.NopCloser(bytes.NewReader(body))
		w.code = 200
		clear(w.h)
		h.ServeHTTP(w, req)
		if w.code != 200 {
			b.Fatalf("answered %d", w.code)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(events), "us/event")
}

func benchRig(b *testing.B) http.Handler {
	b.Helper()
	r := newRig(b, nil)
	r.collector.raw = encoding{}
	return r.h
}

// What collect adds to the HTTP server for one event a request, records for Kafka included, the network not.
func BenchmarkCollectSingle(b *testing.B) {
	benchmark(b, benchRig(b), "/api/v1/collect", []byte(object(1)), 1)
}

// The same for a hundred events a request.
func BenchmarkCollectBatch100(b *testing.B) {
	objects := make([]string, 100)
	for i := range objects {
		objects[i] = object(i)
	}
	benchmark(b, benchRig(b), "/api/v1/collect", []byte("["+strings.Join(objects, ",")+"]"), 100)
}

// What the two above are to be compared with: a handler that reads the body and answers.
func BenchmarkBareHandler(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusOK)
	})
	benchmark(b, h, "/", []byte(object(1)), 1)
}
