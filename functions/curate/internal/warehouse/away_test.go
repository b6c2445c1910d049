package warehouse

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
)

// Guards whoever reads the errors of a night: an outage of Postgres is told as the catalog's, once and without its password, and what else goes wrong is not laid at its door.
func TestOutage(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, c := range []struct {
		err  error
		away bool
	}{
		{fmt.Errorf("failed to create table: %w", driver.ErrBadConn), true},
		{fmt.Errorf("error encountered loading table: %w", io.ErrUnexpectedEOF), true},
		{errors.New("conn closed"), true},
		{refused, true},
		{&url.Error{Op: "Put", URL: "http://store/lake/key", Err: refused}, false},
		{ErrConflict, false},
		{errors.New(`ERROR: permission denied for table iceberg_tables (SQLSTATE 42501)`), false},
	} {
		got := outage(outage(c.err))
		if n := strings.Count(got.Error(), "the catalog does not answer"); (n == 1) != c.away || n > 1 || !errors.Is(got, c.err) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// Guards the first thing that a run does, of which nobody else tells: a Postgres that is not there, or that hangs up at once.
func TestOpenWithoutPostgres(t *testing.T) {
	l := newLake(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	l.catalog = "postgres://curate:s3cr3t@" + listener.Addr().String() + "/lake?sslmode=disable"
	for range 2 {
		_, err := Open(t.Context(), l.config(t))
		if err == nil || !strings.HasPrefix(err.Error(), "open the catalog: the catalog does not answer: ") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("got %v", err)
		}
		_ = listener.Close() // from now on connections are refused
	}
}
