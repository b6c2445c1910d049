// Package plan is the file between `replay plan` and `replay apply`: which events are to be replayed, where each lies, where it enters again and what it is
// expected to do there.
//
// The file is JSON lines: a [Header], then an [Entry] for each event in the order in which they are read. It holds no payloads. Its digest covers all
// of it, so a file that was cut or edited is refused; the replay's id follows from the digest, so the same plan is the same replay however often it is applied, and
// what it writes a second time changes nothing.
package plan

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"millrace/functions/replay/internal/selection"
	"millrace/shared/event"
)

// Version is that of the format.
const Version = 1

// Format is what the first line of a plan calls itself.
const Format = "millrace-replay-plan"

// ErrDamaged is wrapped by the error of a plan that is not as it was written.
var ErrDamaged = errors.New("the plan is not as it was written: make it anew")

// Target is where an event enters again.
type Target string

// The targets.
const (
	Raw      Target = "raw"      // the topic that enrich reads
	Enriched Target = "enriched" // the topic that load-search reads
	Collect  Target = "collect"  // collect's address: what failed there has no event of its own yet
)

// Outcome is what a replay of an event is expected to do.
type Outcome string

// The outcomes.
const (
	Pass      Outcome = "pass"      // it passes, and search does not show it yet
	Overwrite Outcome = "overwrite" // it passes, and replaces what search shows
	Fail      Outcome = "fail"      // it would fail again
	Unknown   Outcome = "unknown"   // only the stage itself can tell
	GivenUp   Outcome = "given up"  // it came back too often
	Settled   Outcome = "settled"   // search shows it from a later replay than the one that failed
)

// Outcomes are all of them, in the order of tables.
var Outcomes = []Outcome{Pass, Overwrite, Unknown, Fail, GivenUp, Settled}

// Header is the first line of a plan.
type Header struct {
	Format    string              `json:"format"`
	Version   int                 `json:"version"`
	ID        string              `json:"id"` // the replayid
	Digest    string              `json:"digest"`
	Created   time.Time           `json:"created"`
	Selection selection.Selection `json:"selection"`
	Origin    Origin              `json:"origin"`
	// Topics are the topics to write to with their ids, by target.
	Topics    map[Target]Topic `json:"topics"`
	Contracts []Contract       `json:"contracts"` // that the outcomes were found with
	Entries   int              `json:"entries"`
	Reasons   []Reason         `json:"reasons"`
}

// Topic is a topic and its id.
type Topic struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Contract is one of the contracts that a plan was made with.
type Contract struct {
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
}

// Origin is where the events lie: a topic, or objects of the landing area.
type Origin struct {
	Topic
	// Partitions are what was read of the topic: the offsets [From, Next).
	Partitions []Partition `json:"partitions,omitempty"`
	Bucket     string      `json:"bucket,omitempty"`
	Objects    []Object    `json:"objects,omitempty"`
}

// Partition is a range of offsets.
type Partition struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	Next      int64 `json:"next"`
}

// Object is an object of the landing area.
type Object struct {
	Key    string `json:"key"`
	SHA256 string `json:"sha256"`
}

// Place is where one event lies: in a partition at an offset, or in an object of [Origin].Objects in a row.
type Place struct {
	Partition int32 `json:"p"` // or the object's index
	Offset    int64 `json:"o"` // or the row, from 0
}

// Reason is why events have an outcome.
type Reason struct {
	Stage   string     `json:"stage,omitempty"`
	Code    event.Code `json:"code,omitempty"`
	Message string     `json:"message"`
}

// Entry is one event of a plan.
type Entry struct {
	Place
	Root     string  `json:"root"`
	Hash     string  `json:"hash"` // the first 16 digits of its datahash
	To       Target  `json:"to"`
	Count    int     `json:"count"`              // its replaycount
	Returned int     `json:"returned,omitempty"` // how often it came back as a dead letter
	Outcome  Outcome `json:"outcome"`
	Reason   int     `json:"reason,omitempty"` // index into Header.Reasons from 1; 0 for none
}

// HashPrefix is how much of a datahash an entry keeps.
func HashPrefix(hash string) string { return hash[:min(16, len(hash))] }

// digest covers all of a plan but its digest, id and time, so that the same look gives the same plan.
func digest(h Header) (hash.Hash, error) {
	h.Digest, h.ID, h.Created = "", "", time.Time{}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("the plan's header: %w", err)
	}
	sum := sha256.New()
	sum.Write(line)
	return sum, nil
}

// Seal completes h with its format, the number of entries, the digest and the id.
func Seal(h Header, entries []Entry) (Header, error) {
	h.Format, h.Version, h.Entries = Format, Version, len(entries)
	sum, err := digest(h)
	if err != nil {
		return h, err
	}
	for i := range entries {
		line, err := json.Marshal(&entries[i])
		if err != nil {
			return h, fmt.Errorf("the plan's entry %d: %w", i, err)
		}
		sum.Write(line)
	}
	h.Digest = hex.EncodeToString(sum.Sum(nil))
	h.ID = event.Identity("/millrace/replay", h.Digest)
	return h, nil
}

// ErrExists is wrapped by the error of Write where something of the name is there already.
var ErrExists = errors.New("there is a file of this name already")

// Free returns an error that wraps [ErrExists] where something is under the name.
func Free(path string) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for the plan: %w", err)
	}
	return fmt.Errorf("%s: %w", path, ErrExists)
}

// Write writes a sealed plan to the file, whole or not at all: it is durable under its name when Write returns nil. What is there already it replaces only where that is asked for.
func Write(path string, h Header, entries []Entry, replace bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".plan-*")
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	renamed := false
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the plan: %w", err)
			if !renamed {
				_ = f.Close() // which it may be already
				err = errors.Join(err, os.Remove(f.Name()))
			}
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	encoder := json.NewEncoder(w)
	if err := encoder.Encode(h); err != nil {
		return err
	}
	for i := range entries {
		if err := encoder.Encode(&entries[i]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !replace {
		if err := Free(path); err != nil {
			return err
		}
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	renamed = true
	return SyncFolder(path)
}

// SyncFolder makes the name of a new file durable.
func SyncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("the folder of %s: %w", path, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("the folder of %s: %w", path, err)
	}
	return nil
}

// Read reads a plan whole and checks its digest, so that nothing is done with one that is damaged further down. Memory: about 200 bytes an entry.
func Read(path string) (Header, []Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, nil, fmt.Errorf("read the plan: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return read(f)
}

func read(from io.Reader) (h Header, entries []Entry, err error) {
	r := bufio.NewReaderSize(from, 1<<20)
	next := func() ([]byte, error) {
		line, err := r.ReadBytes('\n')
		return bytes.TrimSpace(line), err
	}
	line, err := next()
	if err != nil && !errors.Is(err, io.EOF) {
		return h, nil, fmt.Errorf("read the plan: %w", err)
	}
	if err := json.Unmarshal(line, &h); err != nil || h.Format != Format {
		return h, nil, errors.New("the file is no plan of replay's")
	}
	if h.Version != Version {
		return h, nil, fmt.Errorf("the plan has version %d; this replay knows %d", h.Version, Version)
	}
	sum, err := digest(h)
	if err != nil {
		return h, nil, err
	}
	for {
		line, err := next()
		if len(line) > 0 {
			sum.Write(line)
			var e Entry
			if json.Unmarshal(line, &e) != nil {
				return h, nil, fmt.Errorf("%w: line %d", ErrDamaged, len(entries)+2)
			}
			entries = append(entries, e)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return h, nil, fmt.Errorf("read the plan: %w", err)
		}
	}
	if len(entries) != h.Entries {
		return h, nil, fmt.Errorf("%w: it has %d of %d events", ErrDamaged, len(entries), h.Entries)
	}
	if hex.EncodeToString(sum.Sum(nil)) != h.Digest {
		return h, nil, fmt.Errorf("%w: its digest does not fit", ErrDamaged)
	}
	return h, entries, nil
}

// Event returns e as a replay sends it: without the marks of its failure, with the replay's id and its count. The data is e's own. e is not changed.
func Event(e *event.Event, id string, count int) (*event.Event, error) {
	out := &event.Event{Context: e.Context.Clone(), DataEncoded: e.DataEncoded, DataBase64: e.DataBase64}
	var errs []error
	for _, name := range event.FailureAttributes(e) {
		errs = append(errs, out.Context.SetExtension(name, nil))
	}
	errs = append(errs, out.Context.SetExtension(event.ReplayID, id), out.Context.SetExtension(event.ReplayCount, strconv.Itoa(count)))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("attributes of a replayed event: %w", err)
	}
	return out, nil
}
