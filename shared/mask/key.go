package mask

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// ErrNoKey says that there is no key, or none that can be used now: what must be masked waits for it.
var ErrNoKey = errors.New("there is no key to mask personal data with (MASK_KEY_FILE, MASK_KEY)")

// MinKey is how many bytes a key must have, once it is decoded where it is hexadecimal or base64.
const MinKey = 16

// prefix of every pseudonym; digits are the hexadecimal ones behind it.
const (
	prefix = "p_"
	digits = 32
)

// domain keeps pseudonyms apart from whatever else somebody makes of the same key.
const domain = "millrace/mask/1\x00"

// Key makes pseudonyms. It is safe for concurrent use and cannot be printed.
type Key struct {
	macs sync.Pool // of *mac
}

type mac struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	text []byte
}

// NewKey returns the key that text is, without white space around it. Its bytes are the key, whether or not they are hexadecimal or base64; its length is that of what they
// decode to, and must be at least [MinKey]. The error does not quote it.
func NewKey(text []byte) (*Key, error) {
	text = bytes.Clone(bytes.TrimSpace(text))
	n := len(text)
	if _, err := hex.DecodeString(string(text)); err == nil {
		n /= 2
	} else if b, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		n = len(b)
	}
	if n < MinKey {
		return nil, fmt.Errorf("the key to mask with has %d bytes; at least %d are wanted, as of openssl rand -hex 32", n, MinKey)
	}
	return &Key{macs: sync.Pool{New: func() any {
		return &mac{hash: hmac.New(sha256.New, text)}
	}}}, nil
}

// Format implements fmt.Formatter: no verb shows the key.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(secret)") } // fmt reports what its own writer cannot take

// Append appends the pseudonym of a text: p_ and 32 hexadecimal digits, the first half of the HMAC-SHA-256 of the text. It is the same for the same text under the same key, wherever
// the text stands.
func (k *Key) Append(dst []byte, text string) []byte {
	m, _ := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.text = append(append(m.text[:0], domain...), text...)
	m.hash.Reset()
	_, _ = m.hash.Write(m.text) // a hash takes everything
	dst = append(dst, prefix...)
	dst = hex.AppendEncode(dst, m.hash.Sum(m.sum[:0])[:digits/2])
	clear(m.text)
	return dst
}

func (k *Key) appendQuoted(dst []byte, text string) []byte {
	return append(k.Append(append(dst, '"'), text), '"')
}

// Secret is a text that is never printed: formatting, logging and encoding it show that there is one, not what it is.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// Format implements fmt.Formatter, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Settings say where the key is. Its tags are those of the functions' settings. There may be none: then what must be masked waits.
type Settings struct {
	File string `envconfig:"MASK_KEY_FILE" desc:"a file that holds the key to mask personal data with, read again when it changed; at least 16 bytes, as of openssl rand -hex 32"`
	Text Secret `envconfig:"MASK_KEY" desc:"in place of the file; secret. Without a key, events of types whose contracts classify fields as personal wait"`
}

// Validate says what cannot be, without the key. A file that is not there yet is no error: it is looked for when it is needed.
func (s Settings) Validate() error {
	if s.Text == "" {
		return nil
	}
	if s.File != "" {
		return errors.New("MASK_KEY and MASK_KEY_FILE exclude each other")
	}
	if _, err := NewKey([]byte(s.Text)); err != nil {
		return fmt.Errorf("MASK_KEY: %w", err)
	}
	return nil
}

// Keyring gives the key as it is now. It is safe for concurrent use.
type Keyring struct {
	s Settings

	mu   sync.Mutex
	text []byte // that key was made of
	key  *Key
}

// Open returns the keyring of the settings. It reads nothing yet.
func (s Settings) Open() *Keyring { return &Keyring{s: s} }

// Key returns the key, which is read again from its file at each call: a batch asks once. Its error wraps [ErrNoKey] and says why, without the key.
func (r *Keyring) Key() (*Key, error) {
	text := []byte(r.s.Text)
	if r.s.File != "" {
		var err error
		if text, err = os.ReadFile(r.s.File); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
		}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, ErrNoKey
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key != nil && bytes.Equal(text, r.text) {
		return r.key, nil
	}
	key, err := NewKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	r.text, r.key = text, key
	return key, nil
}
