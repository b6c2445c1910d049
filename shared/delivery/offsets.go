package delivery

import (
	"fmt"
	"math/bits"
)

// Offsets follows one partition: which offsets were handed out and which are finished. The position to commit is behind the oldest unfinished one, never past
// it, whatever the order in which events finish. It is not safe for concurrent use.
//
// Its memory is some 150 bytes for each run of 1,024 offsets that holds an unfinished one, and 8 bytes for each other run between the oldest unfinished offset and the newest handed
// out: a hundred million finished offsets behind an unfinished one are 800 KB.
type Offsets struct {
	next       int64      // the position to commit: everything below is finished, and where anything is unfinished, next is
	end        int64      // behind the newest that was handed out
	first      int64      // number of runs[head]
	runs       []*openRun // nil: nothing of it is unfinished
	head       int
	unfinished int
	spare      *openRun // all zero
}

// runBits is how many bits of an offset lie within a run.
const runBits = 10

// openRun has a bit for each unfinished offset.
type openRun struct {
	open [1 << runBits / 64]uint64
	n    int
}

// NewOffsets returns the state of a partition whose next offset is next.
func NewOffsets(next int64) *Offsets { return &Offsets{next: next, end: next} }

// Start says that offset was handed out. Offsets come in growing order; those left out (control records, compacted ones) need no finishing.
// An offset that is not above the last one is an error: it was handed out before.
func (o *Offsets) Start(offset int64) error {
	if offset < o.end {
		return fmt.Errorf("offset %d came after %d", offset, o.end-1)
	}
	if o.unfinished == 0 {
		o.runs, o.head = o.runs[:0], 0
		o.first, o.next = offset>>runBits, offset
	}
	i := o.head + int(offset>>runBits-o.first)
	for len(o.runs) <= i {
		o.runs = append(o.runs, nil)
	}
	r := o.runs[i]
	if r == nil {
		if r, o.spare = o.spare, nil; r == nil {
			r = new(openRun)
		}
		o.runs[i] = r
	}
	word, bit := place(offset)
	r.open[word] |= bit
	r.n++
	o.unfinished++
	o.end = offset + 1
	return nil
}

// place returns where the offset's bit is within its run.
func place(offset int64) (word int, bit uint64) {
	in := offset & (1<<runBits - 1)
	return int(in >> 6), 1 << (in & 63)
}

// Finish says that an offset that was handed out is done. It reports whether the position moved.
func (o *Offsets) Finish(offset int64) (moved bool) {
	if offset < o.next || offset >= o.end || o.unfinished == 0 {
		return false
	}
	i := o.head + int(offset>>runBits-o.first)
	word, bit := place(offset)
	r := o.runs[i]
	if r == nil || r.open[word]&bit == 0 {
		return false
	}
	r.open[word] &^= bit
	o.unfinished--
	if r.n--; r.n == 0 {
		o.runs[i], o.spare = nil, r
	}
	if offset != o.next {
		return false
	}
	if o.unfinished == 0 {
		o.next = o.end
		return true
	}
	for o.runs[o.head] == nil {
		o.head++
		o.first++
	}
	for word, open := range o.runs[o.head].open {
		if open != 0 {
			o.next = o.first<<runBits + int64(word<<6+bits.TrailingZeros64(open))
			break
		}
	}
	if o.head > len(o.runs)/2 { // moving what is left costs less than was gone through since the last time
		left := copy(o.runs, o.runs[o.head:])
		clear(o.runs[left:])
		o.runs, o.head = o.runs[:left], 0
	}
	return true
}

// Next returns the position to commit: the offset of the oldest unfinished event, or the one behind the last finished.
func (o *Offsets) Next() int64 { return o.next }

// Unfinished returns how many events were handed out and are not finished.
func (o *Offsets) Unfinished() int { return o.unfinished }
