package trino

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	client "github.com/trinodb/trino-go-client/trino"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
)

// stageNamespace is where rows are on their way. Package warehouse does not list it.
const stageNamespace = "stage"

// partitionsAtOnce is how many partitions one statement writes: Trino's limit is 100 for each writer, and the partition of NULLs may come on top.
const partitionsAtOnce = 90

// Config says where Trino is.
type Config struct {
	URL          string        // http(s)://user@host:port, without a password
	PasswordFile string        // holds the user's password; needs https
	TokenFile    string        // holds a JWT in place of a password; needs https
	CAFile       string        // PEM certificates to trust in place of the system's
	Catalog      string        // Trino's name of the warehouse's catalog; "": lake
	Timeout      time.Duration // of one statement; 0: an hour
	Patience     time.Duration // for how long a Trino that does not answer is asked again; 0: half a minute
	Warehouse    *warehouse.Warehouse
	Logger       *slog.Logger // nil: none
}

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https": // the error of Parse may quote a password
		return errors.New("the URL of Trino: want http(s)://user@host:port")
	case u.User.Username() == "":
		errs = append(errs, errors.New("the URL of Trino names no user: want http(s)://user@host:port"))
	}
	if _, has := u.User.Password(); has {
		errs = append(errs, errors.New("the URL of Trino holds a password: put it into a file"))
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("the URL of Trino has more than a host and a port"))
	}
	if c.PasswordFile != "" && c.TokenFile != "" {
		errs = append(errs, errors.New("a password and a token for Trino: give one of them"))
	}
	if u.Scheme == "http" && c.PasswordFile+c.TokenFile+c.CAFile != "" {
		errs = append(errs, errors.New("a password, token or certificate for Trino needs https"))
	}
	if c.Warehouse == nil {
		errs = append(errs, errors.New("the Trino engine has no warehouse"))
	}
	return errors.Join(errs...)
}

// connector returns the driver's connector. Passwords are read here and kept nowhere else.
func (c Config) connector() (*client.Connector, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the URL of Trino cannot be parsed")
	}
	secret := func(file string) (string, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		s := strings.TrimSpace(string(b))
		if s == "" {
			return "", fmt.Errorf("%s is empty", file)
		}
		return s, nil
	}
	timeout, patience, attempts := cmp.Or(c.Timeout, time.Hour), cmp.Or(c.Patience, 30*time.Second), 20
	catalog := cmp.Or(c.Catalog, "lake")
	conf := &client.Config{
		Source: "millrace-curate", Catalog: catalog, TimeZone: "UTC", SSLCertPath: c.CAFile, QueryTimeout: &timeout, RequestRetryTimeout: &patience, RequestRetryMaxAttempts: &attempts,
		SessionProperties: map[string]string{catalog + ".collect_extended_statistics_on_write": "false"}, // tables of the stage live for seconds
	}
	switch {
	case c.PasswordFile != "":
		password, err := secret(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading Trino's password: %w", err)
		}
		u.User = url.UserPassword(u.User.Username(), password)
	case c.TokenFile != "":
		if conf.AccessToken, err = secret(c.TokenFile); err != nil {
			return nil, fmt.Errorf("reading Trino's token: %w", err)
		}
	}
	conf.ServerURI = strings.TrimSuffix(u.String(), "/")
	return client.NewConnector(conf)
}

// Engine is a model.Engine on Trino.
type Engine struct {
	db      *sql.DB
	w       *warehouse.Warehouse
	catalog string
	log     *slog.Logger
}

// Open connects to Trino, checks that its catalog is the warehouse, and clears the stage of what killed runs left. A Trino that is away is an error, after Config.Patience. The caller holds the warehouse's lock.
func Open(ctx context.Context, c Config) (_ *Engine, err error) {
	connector, err := c.connector()
	if err != nil {
		return nil, err
	}
	e := &Engine{db: sql.OpenDB(connector), w: c.Warehouse, catalog: cmp.Or(c.Catalog, "lake"), log: c.Logger}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	star, _ := e.w.Identifier(warehouse.Name{Namespace: model.Namespace})
	stage, _ := e.w.Identifier(warehouse.Name{Namespace: stageNamespace})
	var found bool
	err = e.query(ctx, "show schemas from "+quote(e.catalog), func(_ []string, row []any) error {
		found = found || row[0] == star
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking Trino for the schemas of its catalog %s: %w", e.catalog, err)
	}
	if !found {
		return nil, fmt.Errorf("the catalog %s of Trino has no schema %s: it is not over the catalog that the warehouse uses", e.catalog, star)
	}
	if _, err := e.exec(ctx, "create schema if not exists "+quote(e.catalog)+"."+quote(stage)); err != nil {
		return nil, fmt.Errorf("making the schema %s: %w", stage, err)
	}
	var left []string
	err = e.query(ctx, "show tables from "+quote(e.catalog)+"."+quote(stage), func(_ []string, row []any) error {
		left = append(left, fmt.Sprint(row[0]))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for what an earlier run left in the schema %s: %w", stage, err)
	}
	for _, name := range left {
		// Forgotten, not dropped: its objects may have become another table's.
		if err := e.w.Drop(ctx, warehouse.Name{Namespace: stageNamespace, Table: name}); err != nil {
			return nil, fmt.Errorf("clearing the stage: %w", err)
		}
	}
	return e, nil
}

// Close lets go of the connections.
func (e *Engine) Close() error { return e.db.Close() }

// exec runs a statement and returns the rows it wrote.
func (e *Engine) exec(ctx context.Context, statement string) (int64, error) {
	defer e.told(ctx, statement, time.Now())
	res, err := e.db.ExecContext(ctx, statement)
	if err != nil {
		return 0, explained(ctx, err)
	}
	return res.RowsAffected()
}

// query calls f with each row. Values are as database/sql has them.
func (e *Engine) query(ctx context.Context, query string, f func(columns []string, row []any) error) (err error) {
	defer e.told(ctx, query, time.Now())
	rows, err := e.db.QueryContext(ctx, query)
	if err != nil {
		return explained(ctx, err)
	}
	defer func() {
		if c := rows.Close(); err == nil && c != nil {
			err = c
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		to[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		if err := f(columns, row); err != nil {
			return err
		}
	}
	return explained(ctx, rows.Err())
}

// told logs a statement that has ended, for whoever asks where the time went.
func (e *Engine) told(ctx context.Context, statement string, since time.Time) {
	if e.log.Enabled(ctx, slog.LevelDebug) {
		e.log.DebugContext(ctx, "statement", "took", time.Since(since), "sql", statement)
	}
}

// explained says of an error whether Trino answered at all.
func explained(ctx context.Context, err error) error {
	var answer *client.ErrTrino
	var failed *client.ErrQueryFailed
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.As(err, &answer):
		return fmt.Errorf("Trino refused (%s): %w", answer.ErrorName, err) //nolint:staticcheck // a name
	case errors.As(err, &failed) && failed.StatusCode >= 400 && failed.StatusCode < 500:
		return fmt.Errorf("Trino refused: %w", err) //nolint:staticcheck // a name
	}
	return fmt.Errorf("Trino is away or does not answer: %w", err) //nolint:staticcheck // a name
}

// table is a table as Trino's SQL has it.
func (e *Engine) table(n warehouse.Name) string {
	schema, name := e.w.Identifier(n)
	return quote(e.catalog) + "." + quote(schema) + "." + quote(name)
}

// dialect is how Trino wants the runner's statements.
func (e *Engine) dialect() model.Dialect {
	return model.Dialect{Types: map[string]string{"timestamp": "timestamp(6)", "timestamptz": "timestamp(6) with time zone"}, Table: e.table}
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
