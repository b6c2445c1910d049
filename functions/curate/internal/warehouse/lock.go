package warehouse

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// unlockTimeout bounds how long a database that is away can hold up the end of a run.
const unlockTimeout = 10 * time.Second

// Lock keeps other runs out until unlock is called or the process dies. ErrBusy (wrapped): another one is at work. With a REST catalog it locks nothing: commits alone decide.
//
// On Postgres it is an advisory lock of a connection of its own (not through a pooler that gives connections out by the transaction): where that breaks, another run may begin, and commits decide then too. On SQLite it is a lock on a file beside the database.
func (w *Warehouse) Lock(ctx context.Context) (unlock func() error, err error) {
	switch w.kind {
	case "sqlite":
		unlock, err = w.lockFile()
	case "postgres":
		unlock, err = w.lockPostgres(ctx)
	default:
		unlock = func() error { return nil }
	}
	if err != nil {
		return nil, fmt.Errorf("lock the warehouse: %w", w.redact(err))
	}
	return sync.OnceValue(unlock), nil
}

// Exclusive says whether Lock keeps other runs out.
func (w *Warehouse) Exclusive() bool { return w.kind != "rest" }

func (w *Warehouse) lockFile() (func() error, error) {
	name := w.path + "." + w.config.Name + ".lock"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }() // nothing was written
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		holder := ""
		// The holder may be about to write it; then its number is just not known.
		if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
			holder = ", process " + strings.TrimSpace(string(text))
		}
		return nil, fmt.Errorf("%w%s", ErrBusy, holder)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// lockKey is the number of the lock in Postgres: of this catalog and warehouse.
func (w *Warehouse) lockKey() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("millrace.curate\x00" + w.config.Name + "\x00" + w.location)) // it cannot fail
	return int64(h.Sum64())                                                             //nolint:gosec // all 64 bits count
}

func (w *Warehouse) lockPostgres(ctx context.Context) (func() error, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	key := w.lockKey()
	var got bool
	if err := conn.QueryRowContext(ctx, "select pg_try_advisory_lock($1)", key).Scan(&got); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if got {
		// The connection goes back to the pool, so the lock must be given back by itself; if that fails the connection is broken, and the lock gone with it.
		return func() error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
			defer cancel()
			_, err := conn.ExecContext(ctx, "select pg_advisory_unlock($1)", key)
			return errors.Join(err, conn.Close())
		}, nil
	}
	var holder string
	// A courtesy: who it is may be hidden from this role, or it may just have gone.
	err = conn.QueryRowContext(ctx, `select ', process ' || a.pid || coalesce(' from ' || host(a.client_addr), '') || ' since ' || to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
		from pg_locks l join pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = $1 limit 1`, key).Scan(&holder)
	if err != nil {
		holder = ""
	}
	return nil, errors.Join(fmt.Errorf("%w%s", ErrBusy, holder), conn.Close())
}
