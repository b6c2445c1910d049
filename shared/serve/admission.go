package serve

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"
)

// Errors of [Admission.Read]; [ReadStatus] turns them into HTTP status codes.
var (
	// ErrNoRoom says that the memory for bodies is taken; the same request may succeed later.
	ErrNoRoom = errors.New("too many bytes in flight")
	// ErrBodyTooLarge says that the body, decompressed, is over the limit given.
	ErrBodyTooLarge = errors.New("body over the limit")
	// ErrEncoding says that the body's Content-Encoding is not one of identity, gzip and zstd.
	ErrEncoding = errors.New("content encoding not supported")
	// ErrCorrupt says that the body does not decompress.
	ErrCorrupt = errors.New("body does not decompress")
)

// ReadStatus returns the HTTP status for an error of [Admission.Read]: 503, 413, 415, 408 where the body took too long to come, or 400 where it was
// corrupt or broke off.
func ReadStatus(err error) int {
	switch {
	case errors.Is(err, ErrNoRoom):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrEncoding):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	default:
		return http.StatusBadRequest
	}
}

// Admission bounds the bytes of request bodies that are held at one time, decompressed. It is safe for concurrent use.
type Admission struct {
	sem      *semaphore.Weighted
	capacity int64
	held     atomic.Int64
	window   int64     // the largest zstd window taken; what a stream's decoder may hold beside the body
	streams  sync.Pool // of *zstd.Decoder, for frames that do not state their size
}

// NewAdmission returns an Admission for capacity bytes.
func NewAdmission(capacity int64) *Admission {
	// RFC 9659 allows 8 MiB; zstd's own limits begin at 1 KiB.
	return &Admission{sem: semaphore.NewWeighted(capacity), capacity: capacity, window: max(1<<10, min(8<<20, capacity/4))}
}

// Held returns how many bytes are admitted now.
func (a *Admission) Held() int64 { return a.held.Load() }

func (a *Admission) take(n int64) bool {
	if n == 0 {
		return true
	}
	if !a.sem.TryAcquire(n) {
		return false
	}
	a.held.Add(n)
	return true
}

func (a *Admission) give(n int64) {
	if n > 0 {
		a.held.Add(-n)
		a.sem.Release(n)
	}
}

// Body is a request's body, decompressed.
type Body struct {
	// Bytes belongs to the caller, also after Release: no buffer is used twice.
	Bytes []byte

	admission *Admission
	weight    int64
	once      sync.Once
}

// Release gives the body's room back. It must be called once the bytes are no longer referred to; calling it again does nothing.
func (b *Body) Release() {
	b.once.Do(func() { b.admission.give(b.weight) })
}

// grow makes sure that n bytes are admitted for b.
func (b *Body) grow(n int64) error {
	if n <= b.weight {
		return nil
	}
	if !b.admission.take(n - b.weight) {
		return ErrNoRoom
	}
	b.weight = n
	return nil
}

// shrink gives back what is admitted beyond n bytes.
func (b *Body) shrink(n int64) {
	if n < b.weight {
		b.admission.give(b.weight - n)
		b.weight = n
	}
}

// Read reads r's body, at most limit bytes decompressed, after admitting it: at once where it is said to be small, else piece by
// piece, so that room is taken by what came and not by what was announced. It never waits for room. The caller must call Release on the body returned. Errors wrap [ErrNoRoom], [ErrBodyTooLarge],
// [ErrEncoding] or [ErrCorrupt], or are those of the connection.
func (a *Admission) Read(r *http.Request, limit int64) (*Body, error) {
	b := &Body{admission: a}
	if err := b.read(r, min(limit, a.capacity)); err != nil {
		b.Release()
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	b.shrink(int64(len(b.Bytes)))
	return b, nil
}

func (b *Body) read(r *http.Request, limit int64) error {
	encoding, err := contentEncoding(r.Header)
	if err != nil {
		return err
	}
	if r.ContentLength > limit {
		return fmt.Errorf("%w of %d bytes", ErrBodyTooLarge, limit)
	}
	switch encoding {
	case "gzip":
		z, _ := gzipReaders.Get().(*gzip.Reader)
		if z == nil {
			z = new(gzip.Reader)
		}
		defer gzipReaders.Put(z)
		if err := z.Reset(r.Body); err != nil {
			return corrupt(err)
		}
		if err := b.readAll(z, -1, limit); err != nil {
			return corrupt(err)
		}
		return nil
	case "zstd":
		if err := b.readAll(r.Body, r.ContentLength, limit); err != nil {
			return err
		}
		return b.unzstd(limit)
	default:
		return b.readAll(r.Body, r.ContentLength, limit)
	}
}

// corrupt marks an error of a decompressor, but leaves our own as they are.
func corrupt(err error) error {
	if errors.Is(err, ErrNoRoom) || errors.Is(err, ErrBodyTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// firstPiece is what is admitted first for a body of unknown length; wholeBody is the most that is admitted on an announcement alone.
const (
	firstPiece = 16 << 10
	wholeBody  = 32 << 10
)

// readAll reads src to its end into b.Bytes; size is its length, or negative where that is not known. What was read is copied into each larger piece, so
// for that moment up to half as much again is held as is admitted.
func (b *Body) readAll(src io.Reader, size, limit int64) error {
	if size >= 0 {
		return b.readKnown(src, size)
	}
	// One byte beyond the limit tells a body of exactly the limit from a larger one.
	room := min(firstPiece, limit+1)
	if err := b.grow(min(room, limit)); err != nil {
		return err
	}
	b.Bytes = make([]byte, 0, room)
	for {
		n, err := src.Read(b.Bytes[len(b.Bytes):cap(b.Bytes)])
		b.Bytes = b.Bytes[:len(b.Bytes)+n]
		if int64(len(b.Bytes)) > limit {
			return fmt.Errorf("%w of %d bytes", ErrBodyTooLarge, limit)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b.Bytes) == cap(b.Bytes) {
			room = min(2*room, limit+1)
			if err := b.grow(min(room, limit)); err != nil {
				return err
			}
			b.Bytes = append(make([]byte, 0, room), b.Bytes...)
		}
	}
}

// outgrown are the pools of the first pieces of larger bodies, of wholeBody and twice that many bytes; they hold a *[]byte.
var outgrown [2]sync.Pool

// readKnown reads size bytes. The pieces double, up to exactly the size: a small body is one piece. Those that were outgrown are used again; the last
// one, which is the caller's, is not.
func (b *Body) readKnown(src io.Reader, size int64) error {
	if size > b.admission.capacity-b.admission.Held() {
		return ErrNoRoom // later pieces would find no room; the sender can be told before it sends
	}
	for step := 0; ; step++ {
		room := min(wholeBody<<step, size)
		if err := b.grow(room); err != nil {
			return err
		}
		var piece []byte
		if room < size && step < len(outgrown) {
			if p, ok := outgrown[step].Get().(*[]byte); ok {
				piece = *p
			}
		}
		if piece == nil {
			piece = make([]byte, room)
		}
		n := copy(piece, b.Bytes)
		if step > 0 && step <= len(outgrown) {
			old := b.Bytes
			outgrown[step-1].Put(&old)
		}
		b.Bytes = piece
		if _, err := io.ReadFull(src, piece[n:]); err != nil {
			return err
		}
		if room == size {
			return nil
		}
	}
}

// unzstd replaces b.Bytes by what they decompress to. A frame that states its size, as most do, is decoded in one go into
// exactly so much room; any other, and what does not fit, as a stream, whose window is admitted too.
func (b *Body) unzstd(limit int64) error {
	packed := b.Bytes
	held := int64(len(packed))
	var h zstd.Header
	if err := h.Decode(packed); err == nil && h.HasFCS {
		if h.FrameContentSize > uint64(limit) {
			return fmt.Errorf("%w of %d bytes", ErrBodyTooLarge, limit)
		}
		size := int64(h.FrameContentSize)
		if err := b.grow(held + size); err != nil {
			return err
		}
		d, err := zstdWhole()
		if err != nil {
			return err
		}
		if out, err := d.DecodeAll(packed, make([]byte, 0, size)); err == nil {
			b.Bytes = out
			return nil
		}
	}
	a := b.admission
	extra := held + a.window
	if !a.take(extra) {
		return ErrNoRoom
	}
	defer a.give(extra)
	d, _ := a.streams.Get().(*zstd.Decoder)
	if d == nil {
		var err error
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(a.window))); err != nil {
			return err
		}
	}
	defer a.streams.Put(d)
	if err := d.Reset(onlyReader{bytes.NewReader(packed)}); err != nil {
		return corrupt(err)
	}
	err := b.readAll(d, -1, limit)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return fmt.Errorf("%w: %w", ErrBodyTooLarge, err)
	}
	if err != nil {
		return corrupt(err)
	}
	return nil
}

// onlyReader hides everything but Read, so that the decoder does not take a shortcut that needs the whole result at once.
type onlyReader struct{ io.Reader }

var gzipReaders sync.Pool

// zstdWhole decodes whole frames, without goroutines, never beyond the room it is given.
var zstdWhole = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
})

func contentEncoding(h http.Header) (string, error) {
	switch v := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ","))); v {
	case "", "identity":
		return "", nil
	case "gzip", "x-gzip":
		return "gzip", nil
	case "zstd":
		return "zstd", nil
	default:
		return "", fmt.Errorf("%w: %.40q", ErrEncoding, v)
	}
}
