//go:build !race

// One goroutine reads the trips: the race detector has nothing to find here, and would take a minute.

package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/shared/event"
)

const realTrips = "../../../shared/data/nyc_taxi/yellow_tripdata_2023-01_first100k.parquet"

// Guards the taxi contract against the data that it describes: of 100,000 real trips exactly one is refused, the one of 62,359
// miles. Negative fares, no passengers and pickups in other months are curation's business.
func TestRealTrips(t *testing.T) {
	file, err := os.Open(realTrips)
	if err != nil {
		t.Skip("the trips are not here: " + realTrips)
	}
	defer file.Close()
	reader := parquet.NewReader(file)
	defer reader.Close()
	columns := reader.Schema().Columns()
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink), dead)
	rows := make([]parquet.Row, 500)
	total := 0
	for {
		n, err := reader.ReadRows(rows)
		batch := make([]*event.Event, n)
		for i := range batch {
			batch[i] = raw(t, strconv.Itoa(total+i), taxi, "0-0-1", tripJSON(columns, rows[i]))
		}
		total += n
		out := h.Handle(t.Context(), batch)
		for i := range batch {
			if o := out.Of(i); o.Err != nil {
				t.Fatalf("trip %s: %v", batch[i].ID(), o.Err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if total != 100_000 || len(sink.written) != 99_999 || len(dead.written) != 1 {
		t.Fatalf("%d trips: %d enriched, %d dead", total, len(sink.written), len(dead.written))
	}
	letter := dead.written[0]
	if message := event.Attr(letter, event.FailureMessage); message != "/trip_distance is above 1000" || !strings.Contains(string(letter.Data()), `"trip_distance":62359.52`) {
		t.Errorf("%s: %s", message, letter.Data())
	}
	notes := 0
	for _, e := range sink.written {
		if strings.Contains(string(e.Data()), `"notes":`) {
			notes++
		}
	}
	if notes != 0 {
		t.Errorf("%d trips with a zone that is not among the 265", notes)
	}
}

func tripJSON(columns [][]string, row parquet.Row) string {
	b := []byte{'{'}
	for i, v := range row {
		if i > 0 {
			b = append(b, ',')
		}
		name := columns[v.Column()][0]
		b = append(strconv.AppendQuote(b, name), ':')
		switch {
		case v.IsNull():
			b = append(b, "null"...)
		case strings.HasSuffix(name, "datetime"):
			b = append(time.Unix(0, v.Int64()).UTC().AppendFormat(append(b, '"'), "2006-01-02T15:04:05"), '"')
		case v.Kind() == parquet.Int64:
			b = strconv.AppendInt(b, v.Int64(), 10)
		case v.Kind() == parquet.Double:
			b = strconv.AppendFloat(b, v.Double(), 'f', -1, 64)
		default:
			b = strconv.AppendQuote(b, string(v.ByteArray()))
		}
	}
	return string(append(b, '}'))
}
