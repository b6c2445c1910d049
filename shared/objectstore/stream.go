package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// GetRange returns length bytes of the object from offset on, and what the object is. ErrNotFound (wrapped) where there is no object; a range that the object does not have whole is another error.
func (b *Bucket) GetRange(ctx context.Context, key string, offset, length int64) ([]byte, Info, error) {
	buf := make([]byte, max(length, 0))
	info, err := b.DownloadRange(ctx, key, section{buf}, offset, length)
	if err != nil {
		return nil, Info{}, err
	}
	return buf, info, nil
}

// section is memory that is written from its own beginning.
type section struct{ buf []byte }

// WriteAt is io.WriterAt's.
func (s section) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(s.buf)) {
		return 0, io.ErrShortWrite
	}
	return copy(s.buf[at:], p), nil
}

// Download writes the whole object to w, from offset 0 on, and returns what it is. A body that is cut short is read on where it ended, from the same version of the object; memory is bounded
// whatever the object's size. ErrNotFound (wrapped) where there is none. After an error part of the object may have been written.
func (b *Bucket) Download(ctx context.Context, key string, w io.WriterAt) (Info, error) {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	return b.download(ctx, key, w, 0, -1)
}

// DownloadRange writes length bytes, at least one, of the object from offset on to w, from w's offset 0 on, and returns what the object is; otherwise it is as GetRange and Download.
func (b *Bucket) DownloadRange(ctx context.Context, key string, w io.WriterAt, offset, length int64) (Info, error) {
	if offset < 0 || length <= 0 {
		return Info{}, fmt.Errorf("get %s/%s: %d bytes from %d on are no range", b.name, key, length, offset)
	}
	ctx, cancel := b.begin(ctx)
	defer cancel()
	return b.download(ctx, key, w, offset, length)
}

// download writes length bytes of the object from offset on (-1: all that there are) to w, from w's offset 0 on.
func (b *Bucket) download(ctx context.Context, key string, w io.WriterAt, offset, length int64) (Info, error) {
	var info Info
	var etag string
	var done int64
	for attempt := 1; ; attempt++ {
		var opts minio.GetObjectOptions
		switch {
		case length >= 0:
			opts.Set("Range", fmt.Sprintf("bytes=%d-%d", offset+done, offset+length-1))
		case done > 0:
			opts.Set("Range", fmt.Sprintf("bytes=%d-", done))
		}
		if etag != "" {
			if err := opts.SetMatchETag(etag); err != nil {
				return info, b.wrap(ctx, "get", key, err)
			}
		}
		r, o, header, err := b.core.GetObject(ctx, b.name, key, opts)
		if err != nil {
			// minio-go has repeated what could be repeated.
			return info, b.wrap(ctx, "get", key, err)
		}
		size := done + o.Size
		if etag == "" {
			etag = o.ETag
			info = Info{Key: key, Size: size, Modified: o.LastModified}
			if length >= 0 {
				if info.Size, err = total(header.Get("Content-Range")); err != nil {
					return info, b.wrap(ctx, "get", key, errors.Join(err, r.Close()))
				}
			}
		}
		want := length
		if want < 0 {
			want = info.Size
		}
		if size != want {
			return info, b.wrap(ctx, "get", key, errors.Join(fmt.Errorf("%d bytes where %d were asked for", size, want), r.Close()))
		}
		out := &tally{w: io.NewOffsetWriter(w, done)}
		_, err = io.Copy(out, io.LimitReader(r, want-done))
		_ = r.Close() // a body cut short is seen by its length
		done += out.n
		if done == want {
			return info, nil
		}
		if out.err != nil {
			return info, fmt.Errorf("get %s/%s: write what was read: %w", b.name, key, out.err)
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if attempt == b.attempts || ctx.Err() != nil {
			return info, b.wrap(ctx, "get", key, fmt.Errorf("%d bytes of %d: %w", done, want, err))
		}
		if !pause(ctx, attempt) {
			return info, b.wrap(ctx, "get", key, fmt.Errorf("%d bytes of %d: %w", done, want, err))
		}
	}
}

// total returns the object's size of a Content-Range: bytes 0-9/100.
func total(contentRange string) (int64, error) {
	_, size, _ := strings.Cut(contentRange, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the store answered a range with the Content-Range %q", contentRange)
	}
	return n, nil
}

// tally counts what was written, and keeps the writer's error apart from the reader's.
type tally struct {
	w   io.Writer
	n   int64
	err error
}

// Write is io.Writer's.
func (t *tally) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.n += int64(n)
	t.err = err
	return n, err
}

// pause waits before the next attempt, and reports whether there is to be one.
func pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(time.Duration(attempt) * 200 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// PutFile writes the file's bytes under key, replacing what was there: one PUT, of at most 5 GiB. The file is read twice and must not change; memory is bounded whatever its size. After an error
// the object may still have been written.
func (b *Bucket) PutFile(ctx context.Context, key, path string) error {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("put %s/%s: %w", b.name, key, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return fmt.Errorf("put %s/%s: read %s: %w", b.name, key, path, err)
	}
	return b.send(ctx, key, func() io.Reader { return io.NewSectionReader(f, 0, size) }, size, hex.EncodeToString(hash.Sum(nil)), false)
}
