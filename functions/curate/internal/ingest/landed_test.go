package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/functions/curate/internal/warehouse"
	"millrace/functions/internal/pipeline"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// loader is load-lake as it is deployed, on a Kafka in the process and the lake's store.
type loader struct {
	*lake
	client   sarama.Client
	producer sarama.SyncProducer
	base     string
}

func newLoader(t *testing.T, contracts ...string) *loader {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, raw, enriched, deadOnes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l := &loader{lake: newLake(t)}
	if l.client, err = sarama.NewClient(cluster.ListenAddrs(), kafka.NewConfig("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.client.Close() })
	if l.producer, err = sarama.NewSyncProducerFromClient(l.client); err != nil {
		t.Fatal(err)
	}
	root, err := pipeline.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pipeline.Build(t.Context(), root, dir, "./functions/load-lake"); err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(dir, "contracts")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, c := range contracts {
		if err := os.WriteFile(filepath.Join(files, fmt.Sprint(i, ".odcs.yaml")), []byte(c), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, err := pipeline.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.base = "http://" + address
	_, port, _ := strings.Cut(address, ":")
	command := exec.CommandContext(t.Context(), filepath.Join(dir, "load-lake"))
	var said bytes.Buffer
	command.Stdout, command.Stderr, command.SysProcAttr = &said, &said, pipeline.Dependent()
	command.Env = []string{
		"PORT=" + port, "KAFKA_BROKERS=" + cluster.ListenAddrs()[0], "S3_ENDPOINT=" + l.s3.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "S3_BUCKET=public",
		"S3_BUCKET_PRIVATE=private", "CONTRACTS=" + files, "CONTRACTS_WAIT=0s", "LOG_LEVEL=error", "MASK_KEY=0123456789abcdef0123456789abcdef",
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = command.Wait() // it was killed
		if t.Failed() {
			t.Log(said.String())
		}
	})
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-ticker.C {
		if resp, err := http.Get(l.base + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return l
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("load-lake is not ready: %s", said.String())
		}
	}
}

// message is an event as enrich would write it.
func (l *loader) message(topic, eventType, version, id string, payload []byte) *sarama.ProducerMessage {
	l.t.Helper()
	e := &event.Event{}
	e.SetSpecVersion("1.0")
	e.SetID(id)
	e.SetSource("/test")
	e.SetType(eventType)
	e.SetDataContentType("application/json")
	e.SetExtension(event.SchemaVersion, version)
	e.DataEncoded = payload
	if topic == enriched {
		e.DataEncoded = event.EnrichedData(payload, []byte(`{"pickup_zone": "JFK", "notes": ["a", "b"]}`))
		e.SetExtension(event.Stage, event.StageEnriched)
	}
	m, err := kafka.Encode(topic, e)
	if err != nil {
		l.t.Fatal(err)
	}
	m.Timestamp = *stamp(today)
	return m
}

func (l *loader) send(messages ...*sarama.ProducerMessage) {
	l.t.Helper()
	for len(messages) > 0 {
		n := min(len(messages), 2000)
		if err := l.producer.SendMessages(messages[:n]); err != nil {
			l.t.Fatal(err)
		}
		messages = messages[n:]
	}
}

func (l *loader) drain(topics ...string) {
	l.t.Helper()
	for _, topic := range topics {
		req, err := http.NewRequest(http.MethodPost, l.base+"/", strings.NewReader(`{"topic": "`+topic+`"}`))
		if err != nil {
			l.t.Fatal(err)
		}
		for k, v := range map[string]string{"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "1", "ce-type": "dev.knative.sources.ping", "ce-source": "/ping"} {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			l.t.Fatalf("drain of %s: %d %s", topic, resp.StatusCode, body)
		}
	}
}

const everyType = `apiVersion: v3.1.0
kind: DataContract
id: every-type
version: 0.0.1
status: active
customProperties: [{property: eventType, value: Every.Type}]
schema:
  - name: p
    logicalType: object
    properties:
      - {name: Text, logicalType: string}
      - {name: whole, logicalType: integer}
      - {name: real, logicalType: number}
      - {name: d5, logicalType: number, physicalType: "decimal(5,2)"}
      - {name: d18, logicalType: number, physicalType: "decimal(18,4)"}
      - {name: d38, logicalType: number, physicalType: "decimal(38,10)"}
      - {name: yes, logicalType: boolean}
      - {name: day, logicalType: date}
      - {name: wall, logicalType: timestamp, logicalTypeOptions: {timezone: false}}
      - {name: instant, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
      - {name: walltime, logicalType: time, logicalTypeOptions: {timezone: false}}
      - {name: time, logicalType: time, logicalTypeOptions: {timezone: true}}
      - {name: any}
      - {name: shapeless, logicalType: object}
      - {name: things, logicalType: array}
      - {name: matrix, logicalType: array, items: {name: row, logicalType: array, items: {name: cell, logicalType: integer}}}
      - {name: "odd name's \"so\"", logicalType: string}
      - name: nested
        logicalType: object
        properties:
          - {name: at, logicalType: time, logicalTypeOptions: {timezone: true}}
          - name: list
            logicalType: array
            items: {name: item, logicalType: object, properties: [{name: d, logicalType: number, physicalType: "decimal(38,0)"}, {name: t, logicalType: time, logicalTypeOptions: {timezone: true}}]}
`

const everyValue = `{"Text": "ü'x", "whole": -7, "real": 1.5, "d5": -123.45, "d18": 12345678901234.5678, "d38": 1234567890123456789012345678.0123456789, "yes": true, "day": "1969-12-31",
"wall": "2026-11-21T10:00:00.123456", "instant": "2026-11-21T10:00:00+02:00", "walltime": "10:11:12.5", "time": "10:11:12+02:00", "any": [1, "x"], "shapeless": {"a": 1}, "things": [1, null],
"matrix": [[1, 2], [], null, [3]], "odd name's \"so\"": "odd", "nested": {"at": "23:59:59.999999Z", "list": [{"d": 99999999999999999999999999999999999999, "t": "00:00:00Z"}, {}]}}`

// Guards what two functions agree on: objects as the deployed load-lake writes them pass every check, the columns that come from the contract have the types that the objects have, and each type's values come out as
// they went in, null where there was none.
func TestLanded(t *testing.T) {
	l := newLoader(t, everyType)
	c, err := contract.Parse("every", []byte(everyType))
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if l.contracts, err = contract.NewSet(append(embedded.All(), c)...); err != nil {
		t.Fatal(err)
	}
	l.send(
		l.message(enriched, "Every.Type", "0-0-1", "1", []byte(everyValue)), l.message(enriched, "Every.Type", "0-0-1", "2", []byte(`{}`)),
		l.message(enriched, "YellowTaxiTripRecords", "0-0-1", "1", []byte(`{"VendorID": 2, "tpep_pickup_datetime": "2023-01-01T00:32:10", "fare_amount": 9.3}`)),
		l.message(enriched, "PageView", "0-0-1", "1", []byte(`{}`)), l.message(enriched, "AirQualitySensor", "0-0-1", "1", []byte(`{}`)),
		l.message(enriched, "Nobody", "0-0-1", "1", []byte(`{"a": 1}`)),
		&sarama.ProducerMessage{Topic: enriched, Value: sarama.StringEncoder("no event"), Timestamp: *stamp(today)},
		l.message(raw, "PageView", "0-0-1", "1", []byte(`{}`)), l.message(deadOnes, "PageView", "0-0-1", "1", []byte(`{"secret": 1}`)),
	)
	l.drain(raw, enriched, deadOnes)
	res := l.must()
	if len(res.Alarms) > 0 || res.Rows() != 8 {
		t.Errorf("%+v", res)
	}
	for table, want := range map[string]string{"every_type_0": "2", "yellowtaxitriprecords_0": "1", "pageview_0": "1", "airqualitysensor_0": "1", "nobody_0": "1", "___": "1"} {
		if got := l.query("select count(*) from events.enriched_" + table); got != want {
			t.Errorf("%s: %s rows", table, got)
		}
	}
	got := l.query(`select p.text, p.whole, p.real, cast(p.d5 as varchar), cast(p.d18 as varchar), cast(p.d38 as varchar), p.yes, p.day, p.wall, p.instant, cast(p.walltime as varchar), cast(p.time as varchar), p.any, p.shapeless,
		p.things, cast(p.matrix as varchar), p."odd name's ""so""", cast(p.nested.at as varchar), cast(p.nested.list as varchar) from (select payload as p from events.enriched_every_type_0 where id = '1')`)
	want := `ü'x -7 1.5 -123.45 12345678901234.5678 1234567890123456789012345678.0123456789 true 1969-12-31T00:00:00 2026-11-21T10:00:00.123456 2026-11-21T08:00:00 10:11:12.5 08:11:12 ` +
		`[1,"x"] {"a":1} [1,null] [[1, 2], [], NULL, [3]] odd 23:59:59.999999 [{'d': 99999999999999999999999999999999999999, 't': '00:00:00'}, {'d': NULL, 't': NULL}]`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := l.query(`select count(*) from (select unnest(payload) from events.enriched_every_type_0 where id = '2') x where coalesce(columns(*)::varchar) is null`); got != "1" {
		t.Errorf("nulls: %s", got)
	}
	if got := l.query(`select event_type, root_id, payload_bytes from events.dead`); got != "PageView "+event.Identity("/test", "1")+" 13" {
		t.Errorf("dead: %s", got)
	}
	// The table of dead letters is made before the first one, too: with these very columns.
	l.with(func(o Options) {
		made, err := o.Warehouse.Load(t.Context(), Dead)
		if err != nil {
			t.Fatal(err)
		}
		names := func(list []warehouse.Column) (all []string) {
			for _, c := range list {
				all = append(all, c.Name+" "+typeName(c.Type))
			}
			return all
		}
		if got, want := names(tableOf(deadColumns())), names(columnsOf(made.Schema())); !slices.Equal(got, want) {
			t.Errorf("events.dead would be made with\n%q\nwhere load-lake lands\n%q", got, want)
		}
	})
	// The types: what contracts say, and what objects have.
	for key, body := range l.s3.Objects("public") {
		if !strings.HasPrefix(key, "landing/enriched/") || strings.Contains(key, "/_/") || strings.Contains(key, "/Nobody/") {
			continue
		}
		f, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		columns, err := stored(f.Schema())
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.contracts.Model(strings.Split(key, "/")[2], 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := contracted(m); !covers(columns, want) || !covers(want, columns[indexOf(columns, "payload"):indexOf(columns, "payload")+1]) {
			t.Errorf("%s has %v, its contract says %v", key, columns, want)
		}
	}
}
