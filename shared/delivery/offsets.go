package delivery

import "fmt"

// Offsets follows one partition: which offsets were handed out and which are finished. The position to commit is behind the oldest unfinished one, never past
// it, whatever the order in which events finish. It is not safe for concurrent use.
//
// Its memory is proportional to the distance between the oldest unfinished offset and the newest handed out; whoever hands out bounds that.
type Offsets struct {
	next   int64 // the position to commit: everything below is finished
	start  int64 // offset of window[0]
	window []offsetState
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
	end := o.start + int64(len(o.window))
	if offset < end {
		return fmt.Errorf("offset %d came after %d", offset, end-1)
	}
	if len(o.window) == 0 {
		o.start, o.next = offset, offset
	}
	for o.start+int64(len(o.window)) < offset {
		o.window = append(o.window, offsetFinished)
	}
	o.window = append(o.window, offsetOpen)
	return nil
}

// Finish says that an offset that was handed out is done. It reports whether the position moved.
func (o *Offsets) Finish(offset int64) (moved bool) {
	i := offset - o.start
	if i < 0 || i >= int64(len(o.window)) {
		return false
	}
	o.window[i] = offsetFinished
	n := 0
	for n < len(o.window) && o.window[n] == offsetFinished {
		n++
	}
	if n == 0 {
		return false
	}
	o.window = append(o.window[:0], o.window[n:]...)
	o.start += int64(n)
	o.next = o.start
	return true
}

// Next returns the position to commit: the offset of the oldest unfinished event, or the one behind the last finished.
func (o *Offsets) Next() int64 { return o.next }

// Unfinished returns how many events were handed out and are not finished.
func (o *Offsets) Unfinished() int {
	n := 0
	for _, s := range o.window {
		if s == offsetOpen {
			n++
		}
	}
	return n
}
