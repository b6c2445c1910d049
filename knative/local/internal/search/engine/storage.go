package engine

import (
	"context"
)

// Storage keeps what the engine must not lose: the rows of indices, templates, fields and documents. It knows nothing of what they mean.
//
// What Write's f wrote is there, all of it, at the next Read once Write returned nil, and after a SIGKILL; nothing of it is where f or Write failed. The engine
// calls Write from one goroutine at a time, and Read from any number, also during a Write.
type Storage interface {
	// Read calls f with what is stored at this moment; a concurrent Write changes nothing of it. r is dead once f returned.
	Read(ctx context.Context, f func(r Reader) error) error
	// Write calls f and keeps what it wrote where it returned nil. The end of ctx does not stop it half way.
	Write(ctx context.Context, f func(w Writer) error) error
	Close() error
}

// Reader reads rows of one moment. Bytes that it hands out are the reader's, and valid only until its next call.
type Reader interface {
	// Load calls for every row but documents.
	Load(ctx context.Context, field func(id uint32, name string), template func(name, body string) error, index func(IndexRow) error) error
	// Scan calls f with the values of the documents of an index that are not deleted, by sequence, limit of them at most where it is not negative.
	Scan(ctx context.Context, index int64, limit int, f func(pk int64, values []byte) error) error
	// Values returns the values of one document by its primary key; nil where it has none.
	Values(ctx context.Context, pk int64) ([]byte, error)
	// Find returns a document by its id, deleted or not; nil where it is not known. It costs the same however many there are.
	Find(ctx context.Context, index int64, id string) (*DocRow, error)
	// Document returns a document by its primary key.
	Document(ctx context.Context, pk int64) (*DocRow, error)
	// Size is the sum of an index's sources in bytes.
	Size(ctx context.Context, index int64) (int64, error)
}

// Writer writes rows in one transaction, and sees what it wrote.
type Writer interface {
	// Find is Reader's, without the source.
	Find(ctx context.Context, index int64, id string) (*DocRow, error)
	// Put writes a document, known or new, and its values; a deleted one has neither source nor values.
	Put(ctx context.Context, d *DocRow, known bool, values []byte) error
	// Reap forgets documents that were deleted before the time, in Unix milliseconds.
	Reap(ctx context.Context, before int64) error
	// AddField numbers a field's name, from 1.
	AddField(ctx context.Context, name string) (uint32, error)
	// AddIndex writes an index and returns its number, which no index had before.
	AddIndex(ctx context.Context, row IndexRow) (int64, error)
	// UpdateIndex writes an index's counts, and its mapping where it is not empty.
	UpdateIndex(ctx context.Context, number, docs, seq int64, mapping string) error
	// DropIndex removes an index with its documents.
	DropIndex(ctx context.Context, number int64) error
	// PutTemplate writes a template, or removes it where body is empty.
	PutTemplate(ctx context.Context, name, body string) error
}

// IndexRow is an index as stored: mapping and settings are JSON.
type IndexRow struct {
	Number            int64
	Name, UUID        string
	Created           int64 // Unix milliseconds
	Mapping, Settings string
	Docs, Seq         int64
}

// DocRow is a document as stored. PK's upper bits are its index's number ([FirstPK]), the lower ones the sequence number of its first write.
type DocRow struct {
	PK, Index    int64
	ID           string
	Version, Seq int64
	Deleted      int64 // when, in Unix milliseconds; 0 where it is not
	Source       []byte
}

// FirstPK is the lowest primary key that documents of the index of a number can have; the next number's is behind the highest.
func FirstPK(number int64) int64 { return number << pkShift }
