package delivery

import "fmt"

// Offsets follows one partition: which offsets were handed out and which are finished. The position to commit is behind the oldest unfinished one, never past
// it, whatever the order in which events finish. It is not safe for concurrent use.
//
// Its memory is proportional to the distance between the oldest unfinished offset and the newest handed out; whoever hands out bounds that.
type Offsets struct {
	next       int64 // the position to commit: everything below is finished
	start      int64 // offset of window[head]
	window     []offsetState
	head       int
	unfinished int
}

type offsetState uint8

const (
	offsetOpen offsetState = iota
	offsetFinished
)

// NewOffsets returns the state of a partition whose next offset is next.
func NewOffsets(next int64) *Offsets { return &Offsets{next: next, start: next} }

// Start says that offset was handed out. Offsets come in growing order; those left out (control records, compacted ones) need no finishing.
// An offset that is not above the last one is an error: it was handed out before.
func (o *Offsets) Start(offset int64) error {
	end := o.start + int64(len(o.window)-o.head)
	if offset < end {
		return fmt.Errorf("offset %d came after %d", offset, end-1)
	}
	if len(o.window) == o.head {
		o.window, o.head = o.window[:0], 0
		o.start, o.next, end = offset, offset, offset
	}
	for ; end < offset; end++ {
		o.window = append(o.window, offsetFinished)
	}
	o.window = append(o.window, offsetOpen)
	o.unfinished++
	return nil
}

// Finish says that an offset that was handed out is done. It reports whether the position moved.
func (o *Offsets) Finish(offset int64) (moved bool) {
	i := offset - o.start
	if i < 0 || i >= int64(len(o.window)-o.head) {
		return false
	}
	if at := o.head + int(i); o.window[at] == offsetOpen {
		o.window[at] = offsetFinished
		o.unfinished--
	}
	first := o.head
	for o.head < len(o.window) && o.window[o.head] == offsetFinished {
		o.head++
	}
	if o.head == first {
		return false
	}
	o.start += int64(o.head - first)
	o.next = o.start
	if o.head > len(o.window)/2 { // moving what is left costs less than was gone through since the last time
		o.window = append(o.window[:0], o.window[o.head:]...)
		o.head = 0
	}
	return true
}

// Next returns the position to commit: the offset of the oldest unfinished event, or the one behind the last finished.
func (o *Offsets) Next() int64 { return o.next }

// Unfinished returns how many events were handed out and are not finished.
func (o *Offsets) Unfinished() int { return o.unfinished }
