package serve

import (
	"container/list"
	"errors"
	"net/http"
	"sync"
	"time"
)

// How fast an answer must be read: one that nobody reads holds its memory.
const (
	answerStart = 10 * time.Second // and a second more for each paceBytes that were written
	answerPiece = 64 << 10         // written in one go
	freeAnswer  = 16 << 10         // up to here an answer holds no more than its connection does
)

// errBrokenOff is the error of a write that had to make room.
var errBrokenOff = errors.New("the answer was broken off: it was not read, and others needed its room")

// answers bounds the bytes of answers that are being written. It does not refuse, since what was asked for is done: where room is missing, the answer that has been
// waiting for its reader the longest is broken off.
type answers struct {
	room int64

	mu      sync.Mutex
	held    int64
	waiting list.List // of *answer, the oldest first
}

// enter notes that a writes size bytes from now on.
func (all *answers) enter(a *answer, size int64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	a.size, a.place = size, all.waiting.PushBack(a)
	all.held += size
	for first := all.waiting.Front(); all.held > all.room && first != a.place; first = all.waiting.Front() {
		oldest, _ := first.Value.(*answer)
		all.remove(oldest)
		oldest.broken = true
		oldest.deadline(time.Unix(1, 0)) // its write returns
	}
}

// leave notes that a's write has returned.
func (all *answers) leave(a *answer) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if a.place != nil {
		all.remove(a)
	}
}

// remove takes a out; all.mu is held.
func (all *answers) remove(a *answer) {
	all.waiting.Remove(a.place)
	all.held -= a.size
	a.place = nil
}

// answer is a ResponseWriter whose client must read.
type answer struct {
	http.ResponseWriter
	all   *answers
	began time.Time // of the first write; zero before
	n     int64     // bytes written
	moved int64     // seconds by which the deadline was moved for them

	// Of the write under way, guarded by all.mu.
	place  *list.Element
	size   int64
	broken bool
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush implements http.Flusher.
func (a *answer) Flush() {
	a.begin()
	// A connection that cannot, or is no more, will say so on writing.
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	a.begin()
	a.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (n int, err error) {
	a.begin()
	if len(b) <= freeAnswer {
		return a.write(b)
	}
	a.all.enter(a, int64(len(b)))
	defer a.all.leave(a)
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), answerPiece)]
		b = b[len(piece):]
		var m int
		m, err = a.write(piece)
		n += m
	}
	return n, err
}

func (a *answer) write(b []byte) (int, error) {
	if seconds := (a.n + int64(len(b))) / paceBytes; seconds > a.moved {
		a.moved = seconds
		if !a.move(a.began.Add(answerStart + time.Duration(seconds)*time.Second)) {
			return 0, errBrokenOff
		}
	}
	n, err := a.ResponseWriter.Write(b)
	a.n += int64(n)
	return n, err
}

// begin starts the time in which the answer must be read.
func (a *answer) begin() {
	if a.began.IsZero() {
		a.began = time.Now()
		a.deadline(a.began.Add(answerStart))
	}
}

// move sets the deadline, unless the answer was broken off.
func (a *answer) move(to time.Time) bool {
	a.all.mu.Lock()
	defer a.all.mu.Unlock()
	if !a.broken {
		a.deadline(to)
	}
	return !a.broken
}

func (a *answer) deadline(to time.Time) {
	// Only a connection that is none of net/http's has no deadlines, and that is none of Run's; one that is no more says so on writing.
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(to)
}
