package warehouse

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// unlockTimeout bounds how long a database that is away can hold up the end of a run.
const unlockTimeout = 10 * time.Second

// heldTimeout bounds how long a database that does not answer is waited for before the lock counts as lost.
const heldTimeout = 15 * time.Second

// lock is one that is held.
type lock struct {
	check func(ctx context.Context) error // why it is not held any more; nil where it is
	free  func() error
}

// Busy is the error of Lock where another process holds it.
type Busy struct {
	Holder string        // "process 12 on host"; "" where that is not known
	Since  time.Time     // when that process began, or took it; zero where that is not known
	For    time.Duration // how long ago that is, by the clock that Since is of
}

// Error says who is at work, and since when.
func (b *Busy) Error() string {
	text := ErrBusy.Error()
	if b.Holder != "" {
		text += ", " + b.Holder
	}
	if !b.Since.IsZero() {
		text += fmt.Sprintf(", since %s (%s)", b.Since.UTC().Format(time.RFC3339), b.For.Round(time.Second))
	}
	return text
}

// Unwrap makes it ErrBusy.
func (b *Busy) Unwrap() error { return ErrBusy }

// Lock keeps other runs out until unlock is called or the process dies. A *Busy (wrapped), which is ErrBusy: another one is at work. With a REST catalog it locks nothing: commits alone decide.
//
// On Postgres it is an advisory lock of a connection of its own (not through a pooler that gives connections out by the transaction). Where that breaks the lock is lost and another run may begin: each
// commit finds that out before it is made (ErrLockLost), and commits decide about what happens in the moment between. On SQLite it is a lock on a file beside the database.
func (w *Warehouse) Lock(ctx context.Context) (unlock func() error, err error) {
	var l *lock
	switch w.kind {
	case "sqlite":
		l, err = w.lockFile()
	case "postgres":
		l, err = w.lockPostgres(ctx)
	default:
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock the warehouse: %w", w.redact(err))
	}
	w.held.Store(l)
	return sync.OnceValue(func() error {
		w.held.CompareAndSwap(l, nil)
		if err := l.free(); err != nil {
			return fmt.Errorf("give back the lock of the warehouse: %w", w.redact(err))
		}
		return nil
	}), nil
}

// Held returns ErrLockLost (wrapped) where Lock was called and another run may be at work all the same: its connection is gone, or its file was removed. It is nil where the lock is held, where it was
// not asked for, and with a catalog that has none. Every commit asks; whoever deletes because nobody else can be at work asks before.
func (w *Warehouse) Held(ctx context.Context) error {
	l := w.held.Load()
	if l == nil {
		return nil
	}
	// The end of a run does not end the question: a connection whose query is given up is closed, and the lock with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heldTimeout)
	defer cancel()
	if err := l.check(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrLockLost, w.redact(err))
	}
	return nil
}

// Exclusive says whether Lock keeps other runs out.
func (w *Warehouse) Exclusive() bool { return w.kind != "rest" }

// process names this one for those who find the lock taken.
func process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

func (w *Warehouse) lockFile() (*lock, error) {
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
		busy := &Busy{}
		// The holder may be about to write it; then who it is is just not known.
		if text, err := os.ReadFile(name); err == nil {
			who, since, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
			busy.Holder = who
			if at, err := time.Parse(time.RFC3339, since); err == nil {
				busy.Since, busy.For = at, time.Since(at)
			}
		}
		return nil, busy
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(process()+"\n"+time.Now().UTC().Format(time.RFC3339)+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lock{free: f.Close, check: func(context.Context) error {
		mine, err := f.Stat()
		if err != nil {
			return err
		}
		there, err := os.Stat(name)
		if err == nil && !os.SameFile(mine, there) {
			err = fmt.Errorf("%s was made anew", name)
		}
		return err
	}}, nil
}

// lockKey is the number of the lock in Postgres: of this catalog and warehouse.
func (w *Warehouse) lockKey() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("millrace.curate\x00" + w.config.Name + "\x00" + w.location)) // it cannot fail
	return int64(h.Sum64())                                                             //nolint:gosec // all 64 bits count
}

// locks are the advisory locks of the database with the number $1.
const locks = `pg_locks l where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = $1`

func (w *Warehouse) lockPostgres(ctx context.Context) (*lock, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	key := w.lockKey()
	var got bool
	if err := conn.QueryRowContext(ctx, "select pg_try_advisory_lock($1)", key).Scan(&got); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if !got {
		busy := &Busy{}
		var seconds float64
		// A courtesy: who it is may be hidden from this role, or it may just have gone.
		if err := conn.QueryRowContext(ctx, `select case when application_name like 'process %' then application_name else 'process ' || pid || ' of the database' end || coalesce(' from ' || host(client_addr), ''),
			backend_start, extract(epoch from clock_timestamp() - backend_start)::float8 from pg_stat_activity where pid = (select l.pid from `+locks+` limit 1)`, key).Scan(&busy.Holder, &busy.Since, &seconds); err == nil {
			busy.For = time.Duration(seconds * float64(time.Second))
		}
		return nil, errors.Join(busy, conn.Close())
	}
	held := func(ctx context.Context) error {
		var held bool
		// The session may be another one than that which took the lock, behind a pooler.
		if err := conn.QueryRowContext(ctx, "select exists (select from "+locks+" and l.pid = pg_backend_pid())", key).Scan(&held); err != nil {
			return fmt.Errorf("the connection that held it: %w", err)
		}
		if !held {
			return errors.New("the connection does not hold it: is there a pooler that gives connections out by the transaction?")
		}
		return nil
	}
	_, err = conn.ExecContext(ctx, "select set_config('application_name', $1, false)", process())
	if err = errors.Join(err, held(ctx)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &lock{check: held, free: func() error {
		// The connection goes back to the pool, so the lock must be given back by itself; if that fails the connection is broken, and the lock gone with it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, err := conn.ExecContext(ctx, "select pg_advisory_unlock($1)", key)
		return errors.Join(err, conn.Close())
	}}, nil
}
