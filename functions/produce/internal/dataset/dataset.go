// Package dataset opens what is to be replayed: a file, or a URL's content in a temporary file.
//
// Parquet is read from its end, so a download has to be on disk whole; its size is limited, and a download that ends early is an
// error, not a short data set. The content's SHA-256 is computed before anything is read from it, since ids are made of it. The
// package holds no more of a file in memory than a buffer.
package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// Format is how a data set is written down.
type Format int

// The formats that Open tells apart.
const (
	Text    Format = iota // CSV, TSV and the like
	Parquet               // begins with PAR1
)

// Options say how to open a data set.
type Options struct {
	// Client fetches URLs.
	Client *http.Client
	// TempDir is where downloads are put; empty is the system's.
	TempDir string
	// MaxBytes is the largest download taken, in bytes.
	MaxBytes int64
	// Attempts is how often a download is tried that fails for a reason which may pass (at least once).
	Attempts int
	// Pause is how long to wait before the second attempt; it doubles with each.
	Pause time.Duration
	// Progress, where set, is told the bytes fetched so far and the expected total (-1 where unknown).
	Progress func(got, total int64)
}

// File is an opened data set.
type File struct {
	*os.File
	// Location is what was asked for, for messages; a URL's user information and query are left out.
	Location string
	// Name is the file's name: the last element of the path, decoded.
	Name string
	// Size is in bytes.
	Size int64
	// Hash is the content's SHA-256 in lower-case hex.
	Hash string
	// Format was told from the content.
	Format Format
	// temporary says that the file is ours to remove.
	temporary bool
}

// Close closes the file, and removes it where it was a download.
func (f *File) Close() error {
	err := f.File.Close()
	if f.temporary {
		err = errors.Join(err, os.Remove(f.File.Name()))
	}
	return err
}

// Open opens a path, a file:// or an http(s):// URL, and refuses content that is no data set (empty, an HTML page, an XML or
// JSON error, an archive, a ".parquet" that is none), saying what it looks like.
func Open(ctx context.Context, location string, o Options) (*File, error) {
	f, err := open(ctx, location, o)
	if err != nil {
		return nil, err
	}
	if err := f.identify(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Location, err), f.Close())
	}
	return f, nil
}

func open(ctx context.Context, location string, o Options) (*File, error) {
	if !strings.Contains(location, "://") {
		return openPath(location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("the data set's URL cannot be parsed") // the error would quote it, signature and all
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return download(ctx, u, o)
	case "file":
		return openPath(u.Path)
	default:
		return nil, fmt.Errorf("%s: produce reads a path, file://, http:// or https://, not %s://", u.Redacted(), u.Scheme)
	}
}

func openPath(name string) (*File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open data set: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: is not a regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &File{File: file, Location: name, Name: filepath.Base(name)}, nil
}

// errPassing marks a failed download that another attempt may mend.
type errPassing struct{ error }

func (e errPassing) Unwrap() error { return e.error }

func download(ctx context.Context, u *url.URL, o Options) (*File, error) {
	shown := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		name = u.Hostname()
	}
	pause := o.Pause
	for attempt := 1; ; attempt++ {
		file, err := fetch(ctx, u, o)
		if err == nil {
			return &File{File: file, Location: shown.String(), Name: name, temporary: true}, nil
		}
		var passing errPassing
		if !errors.As(err, &passing) || attempt >= o.Attempts || ctx.Err() != nil {
			return nil, fmt.Errorf("download %s: %w", shown, withoutURL(err))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause *= 2
	}
}

// withoutURL drops the URL that net/http puts into its errors: it may carry a signature.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func fetch(ctx context.Context, u *url.URL, o Options) (*os.File, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "millrace-produce")
	// Without this the transport asks for gzip and hides the length, which is how a cut-off download is told.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := o.Client.Do(req)
	if err != nil {
		return nil, errPassing{err}
	}
	defer func() { _ = resp.Body.Close() }() // only read from: nothing is lost with its error
	if resp.StatusCode != http.StatusOK {
		head, _ := io.ReadAll(io.LimitReader(resp.Body, sniffBytes)) // what came is only described, so a failed read may shorten it
		err := fmt.Errorf("the server answered %s", resp.Status)
		if looks := looksLike(head); looks != "" {
			err = fmt.Errorf("%w, with %s", err, looks)
		}
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return nil, errPassing{err}
		}
		return nil, err
	}
	if resp.ContentLength > o.MaxBytes {
		return nil, fmt.Errorf("it has %d bytes, more than the limit of %d", resp.ContentLength, o.MaxBytes)
	}
	file, err := os.CreateTemp(o.TempDir, "produce-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	n, err := io.Copy(file, &counted{r: io.LimitReader(resp.Body, o.MaxBytes+1), total: resp.ContentLength, tell: o.Progress})
	switch {
	case err != nil:
		err = errPassing{fmt.Errorf("after %d bytes: %w", n, err)}
	case n > o.MaxBytes:
		err = fmt.Errorf("it is larger than the limit of %d bytes", o.MaxBytes)
	case resp.ContentLength >= 0 && n != resp.ContentLength:
		err = errPassing{fmt.Errorf("it ended after %d of %d bytes", n, resp.ContentLength)}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

type counted struct {
	r          io.Reader
	got, total int64
	tell       func(got, total int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.got += int64(n)
	if c.tell != nil {
		c.tell(c.got, c.total)
	}
	return n, err
}

const sniffBytes = 1024

// identify hashes the content, finds its size and format, and leaves the file at its start.
func (f *File) identify() error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, f.File)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	f.Size, f.Hash = n, hex.EncodeToString(h.Sum(nil))
	head := make([]byte, min(sniffBytes, n))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	isParquet := bytes.HasPrefix(head, []byte("PAR1"))
	named := strings.HasSuffix(strings.ToLower(f.Name), ".parquet")
	looks := looksLike(head)
	switch {
	case isParquet:
		f.Format = Parquet
	case looks != "" && named:
		return fmt.Errorf("is no Parquet file: it looks like %s", looks)
	case looks != "":
		return fmt.Errorf("is no data set: it looks like %s", looks)
	case named:
		return errors.New("is no Parquet file: it does not begin with PAR1, and looks like plain text or an unknown format")
	}
	return nil
}

// looksLike names what a file is that begins with head and that produce does not read, or returns "".
func looksLike(head []byte) string {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	lower := strings.ToLower(string(text[:min(len(text), 512)]))
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(lower, p) {
				return true
			}
		}
		return false
	}
	switch {
	case len(head) == 0:
		return "nothing: it is empty"
	case len(text) == 0:
		return "nothing: it is blank"
	case has("<!doctype html", "<html"):
		return "an HTML page" + between(string(text), "<title>", "</title>") + ", as a server sends in place of a file"
	case has("<?xml", "<error"):
		if strings.Contains(lower, "<html") {
			return "an HTML page" + between(string(text), "<title>", "</title>") + ", as a server sends in place of a file"
		}
		return "an XML document" + between(string(text), "<Code>", "</Code>") + ", as object storage sends for an error"
	case has("<"):
		return "markup (HTML or XML)"
	case has("{", "["):
		return "JSON"
	case has("version https://git-lfs"):
		return "a Git LFS pointer, not the file it stands for"
	case bytes.HasPrefix(head, []byte("PARE")):
		return "an encrypted Parquet file"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip: decompress it first"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "a ZIP archive: unpack it first"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd: decompress it first"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzip2: decompress it first"
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return "UTF-16 text: convert it to UTF-8"
	case bytes.IndexByte(head, 0) >= 0 && !bytes.HasPrefix(head, []byte("PAR1")):
		return "binary data"
	}
	return ""
}

// between returns ` ("...")` with the text between two marks, letter case aside, or "" where they are not both there.
func between(s, from, to string) string {
	lower := strings.ToLower(s)
	i := strings.Index(lower, strings.ToLower(from))
	if i < 0 || len(lower) != len(s) {
		return ""
	}
	i += len(from)
	n := strings.Index(lower[i:], strings.ToLower(to))
	if n < 0 || !utf8.ValidString(s[i:i+n]) {
		return ""
	}
	return fmt.Sprintf(" (%q)", strings.TrimSpace(s[i:i+n]))
}
