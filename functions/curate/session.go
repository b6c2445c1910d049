package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/maintain"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/trino"
	"millrace/functions/curate/internal/warehouse"
	"millrace/functions/curate/models"
	"millrace/shared/contract"
	"millrace/shared/objectstore"
)

// session is what a command works with: the warehouse, the buckets, contracts and models; an engine once it is asked for.
type session struct {
	config          *config
	log             *slog.Logger
	clock           func() time.Time
	public, private *objectstore.Bucket
	warehouse       *warehouse.Warehouse
	contracts       *contract.Set
	models          *model.Set

	db    *duck.DB      // nil until it is needed
	trino *trino.Engine // likewise
}

// open reads the environment and connects. The caller closes.
func open(ctx context.Context, stderr io.Writer, person bool) (_ *session, err error) {
	c, err := readConfig()
	if err != nil {
		return nil, err
	}
	s := &session{config: c, log: c.logger(stderr, person), clock: time.Now}
	if s.models, err = c.models(); err != nil {
		return nil, err
	}
	source, err := contract.Open(ctx, c.Contracts)
	if err != nil {
		return nil, err
	}
	s.contracts = source.Set()
	for _, bad := range s.contracts.Invalid() {
		s.log.Error("contract file is not used", "contract", bad)
	}
	if s.public, err = c.bucket(false); err != nil {
		return nil, err
	}
	if s.private, err = c.bucket(true); err != nil {
		return nil, err
	}
	if s.warehouse, err = warehouse.Open(ctx, c.warehouse(s.public, s.log)); err != nil {
		return nil, err
	}
	return s, nil
}

// models reads the models that ship and those of MODELS.
func (c *config) models() (*model.Set, error) {
	from := []fs.FS{models.Files}
	if c.Models != "" {
		if _, err := os.Stat(c.Models); err != nil {
			return nil, fmt.Errorf("MODELS: %w", err)
		}
		from = append(from, os.DirFS(c.Models))
	}
	return model.Load(from...)
}

// close lets go of everything.
func (s *session) close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.trino != nil {
		errs = append(errs, s.trino.Close())
	}
	return errors.Join(append(errs, s.warehouse.Close())...)
}

// duck starts DuckDB where it is not there yet.
func (s *session) duck(ctx context.Context) (*duck.DB, error) {
	if s.db != nil {
		return s.db, nil
	}
	db, err := duck.Open(ctx, duck.Options{Memory: s.config.Memory, Threads: s.config.Threads, Scratch: filepath.Join(s.warehouse.Scratch(), "duckdb")})
	if err != nil {
		return nil, err
	}
	s.db = db
	return db, nil
}

// engine is what runs the models.
func (s *session) engine(ctx context.Context) (model.Engine, error) {
	if s.config.Engine == engineTrino {
		if s.trino == nil {
			t, err := trino.Open(ctx, trino.Config{
				URL: s.config.TrinoURL, PasswordFile: s.config.TrinoPasswordFile, TokenFile: s.config.TrinoTokenFile, CAFile: s.config.TrinoCA,
				Catalog: s.config.TrinoCatalog, Warehouse: s.warehouse, Logger: s.log,
			})
			if err != nil {
				return nil, err
			}
			s.trino = t
		}
		return s.trino, nil
	}
	db, err := s.duck(ctx)
	if err != nil {
		return nil, err
	}
	return model.NewDuck(db, s.warehouse), nil
}

func (s *session) ingest(ctx context.Context) ingest.Options {
	return ingest.Options{
		Warehouse: s.warehouse, DB: func() (*duck.DB, error) { return s.duck(ctx) }, Public: s.public, Private: s.private,
		Contracts: s.contracts, Logger: s.log, Clock: s.clock, Scratch: s.warehouse.Scratch(), Accept: s.config.Accept,
	}
}

func (s *session) upkeep(ctx context.Context, dry bool) maintain.Options {
	return maintain.Options{
		Warehouse: s.warehouse, DB: func() (*duck.DB, error) { return s.duck(ctx) }, Contracts: s.contracts, Models: s.models, OpsKeep: s.config.OpsRetention,
		Logger: s.log, Clock: s.clock, DryRun: dry,
	}
}
