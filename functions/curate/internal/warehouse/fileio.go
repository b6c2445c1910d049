package warehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"

	"millrace/shared/objectstore"
)

// warehouseKey is the catalog's property by which the file system finds its warehouse.
const warehouseKey = "millrace.warehouse"

// warehouses are the open ones by their ids.
var warehouses sync.Map

func init() {
	for _, scheme := range []string{"s3", "s3a", "s3n"} {
		icebergio.Register(scheme, func(ctx context.Context, _ *url.URL, props map[string]string) (icebergio.IO, error) {
			w, ok := warehouses.Load(props[warehouseKey])
			if !ok {
				return nil, errors.New("the warehouse is closed")
			}
			return w.(*Warehouse).fileIO(ctx), nil
		})
	}
}

// fileIO is iceberg-go's view of the bucket during one operation, whose context it keeps because the interface has none.
type fileIO struct {
	ctx context.Context
	w   *Warehouse
}

func (w *Warehouse) fileIO(ctx context.Context) *fileIO { return &fileIO{ctx, w} }

var (
	_ icebergio.WriteFileIO = (*fileIO)(nil)
	_ icebergio.ReadFileIO  = (*fileIO)(nil)
)

// ReadFile is icebergio.ReadFileIO's.
func (f *fileIO) ReadFile(name string) ([]byte, error) {
	key, err := f.w.Key(name)
	if err != nil {
		return nil, err
	}
	keep := constant(key)
	if keep {
		if body, ok := f.w.objects.get(key); ok {
			return bytes.Clone(body), nil
		}
	}
	body, err := f.w.config.Store.Get(f.ctx, key)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if keep {
		f.w.objects.put(key, bytes.Clone(body))
	}
	return body, nil
}

// constant reports whether the object with this key never changes and is worth keeping: metadata, whose names hold a random part.
func constant(key string) bool {
	return strings.HasSuffix(key, ".avro") || strings.HasSuffix(key, ".metadata.json")
}

// Open is icebergio.IO's. Data files that this process wrote or fetched whole are read from local disk.
func (f *fileIO) Open(name string) (icebergio.File, error) {
	if p, ok := f.w.localWhole(name); ok {
		return os.Open(p)
	}
	body, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &memoryFile{bytes.NewReader(body), path.Base(name)}, nil
}

// Remove is icebergio.IO's.
func (f *fileIO) Remove(name string) error {
	key, err := f.w.Key(name)
	if err != nil {
		return err
	}
	if err := f.w.config.Store.Delete(f.ctx, key); err != nil {
		return pathError("remove", name, err)
	}
	return nil
}

// WriteFile is icebergio.WriteFileIO's.
func (f *fileIO) WriteFile(name string, body []byte) error {
	key, err := f.w.Key(name)
	if err != nil {
		return err
	}
	if err := f.w.config.Store.Put(f.ctx, key, body); err != nil {
		return pathError("write", name, err)
	}
	if constant(key) {
		f.w.objects.put(key, bytes.Clone(body))
	}
	return nil
}

// Create is icebergio.WriteFileIO's: the object is written by Close, whole.
func (f *fileIO) Create(name string) (icebergio.FileWriter, error) {
	if _, err := f.w.Key(name); err != nil {
		return nil, err
	}
	return &writer{io: f, name: name}, nil
}

// pathError is what fs.ErrNotExist's askers expect.
func pathError(op, name string, err error) error {
	if errors.Is(err, objectstore.ErrNotFound) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

type writer struct {
	bytes.Buffer
	io     *fileIO
	name   string
	closed bool
}

// Close writes the object.
func (w *writer) Close() error {
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	return w.io.WriteFile(w.name, w.Bytes())
}

// memoryFile is an object that was read.
type memoryFile struct {
	*bytes.Reader
	name string
}

// Close is io.Closer's.
func (m *memoryFile) Close() error { return nil }

// Stat is fs.File's.
func (m *memoryFile) Stat() (fs.FileInfo, error) { return m, nil }

// Name, Mode, ModTime, IsDir and Sys are fs.FileInfo's; Size is the Reader's.
func (m *memoryFile) Name() string     { return m.name }
func (*memoryFile) Mode() fs.FileMode  { return 0o400 }
func (*memoryFile) ModTime() time.Time { return time.Time{} }
func (*memoryFile) IsDir() bool        { return false }
func (*memoryFile) Sys() any           { return nil }

var _ io.ReaderAt = (*memoryFile)(nil)

// objectCacheBytes bounds what is kept of metadata.
const objectCacheBytes = 64 << 20

// objectCache keeps objects that never change.
type objectCache struct {
	mu    sync.Mutex
	bytes int
	body  map[string][]byte
}

func newObjectCache() *objectCache { return &objectCache{body: map[string][]byte{}} }

func (c *objectCache) get(key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, ok := c.body[key]
	return body, ok
}

func (c *objectCache) put(key string, body []byte) {
	if len(body) > objectCacheBytes/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += len(body) - len(c.body[key])
	c.body[key] = body
	for k, b := range c.body {
		if c.bytes <= objectCacheBytes {
			break
		}
		if k != key {
			c.bytes -= len(b)
			delete(c.body, k)
		}
	}
}
