package warehouse

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// away is the error of a Postgres that cannot be reached, or whose connection broke: the driver's words alone ("unexpected EOF", "bad connection") do not say of what.
type away struct{ err error }

func (a away) Error() string { return "the catalog does not answer: " + a.err.Error() }

func (a away) Unwrap() error { return a.err }

// outage names the catalog in an error that comes of its connection, once, and leaves all others as they are. Those of the object store are *url.Error.
func outage(err error) error {
	var named away
	var store *url.Error
	if err == nil || errors.As(err, &named) || errors.As(err, &store) {
		return err
	}
	var connect *pgconn.ConnectError
	var network *net.OpError
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasSuffix(err.Error(), "conn closed") {
		return away{err}
	}
	return err
}
