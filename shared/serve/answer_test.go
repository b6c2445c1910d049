package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answering runs a server on pipes that answers every request with as many bytes as its query says. connect sends requests, each with the head given.
func answering(t *testing.T, room int64) (connect func(heads ...string) net.Conn, returned chan error, stop func()) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	returned = make(chan error, 100)
	ctx, signal := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		c := Config{Listener: l, Logger: slog.New(slog.DiscardHandler), MaxAnswerBytes: room}
		done <- Run(ctx, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			size := 0
			if _, err := fmt.Sscan(r.URL.RawQuery, &size); err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Length", r.URL.RawQuery)
			_, err := w.Write(make([]byte, size))
			returned <- err
		}))
	}()
	connect = func(heads ...string) net.Conn {
		client, server := net.Pipe()
		l.conns <- server
		go func() {
			for _, head := range heads {
				if _, err := io.WriteString(client, head+"\r\nHost: x\r\n\r\n"); err != nil {
					return // the server gave up
				}
			}
		}()
		return client
	}
	return connect, returned, func() {
		signal()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Guards memory against who asks and does not read, or reads too slowly, and leaves those alone that read as fast as must be.
func TestAnswersMustBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect, returned, stop := answering(t, 0)
		f := func(name string, size, piece int, whole bool, after time.Duration) {
			t.Helper()
			client := connect(fmt.Sprintf("GET /?%d HTTP/1.1", size))
			defer func() { _ = client.Close() }()
			began := time.Now()
			ended := make(chan time.Duration, 1)
			go func() {
				err := <-returned
				if (err == nil) != whole {
					t.Errorf("%s: writing returned %v", name, err)
				}
				ended <- time.Since(began)
			}()
			got := 0
			if piece > 0 {
				answer, err := http.ReadResponse(bufio.NewReaderSize(client, 16), nil)
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					time.Sleep(time.Second)
					var n int64
					n, err = io.CopyN(io.Discard, answer.Body, int64(piece))
					got += int(n)
				}
			}
			if took := <-ended; (got == size) != whole || took < after || took > after+3*time.Second {
				t.Errorf("%s: %d bytes, and the write took %s, want %s", name, got, took, after)
			}
		}
		f("nothing read", 1<<20, 0, false, 10*time.Second)
		f("nothing read of little", 8<<10, 0, false, 10*time.Second)
		f("half as fast as must be", 1<<20, 16<<10, false, 20*time.Second)
		f("fast enough", 1<<20, 32<<10, true, 32*time.Second)
		stop()
	})
}

// Guards the requests that follow on a connection: the time for one answer is not what is left of that for the one before.
func TestAnswersHaveTheirOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect, _, stop := answering(t, 0)
		client := connect()
		r := bufio.NewReader(client)
		for range 2 {
			if _, err := io.WriteString(client, "POST /?100000 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{100, 200} {
				answer, err := http.ReadResponse(r, nil)
				if err != nil || answer.StatusCode != want {
					t.Fatalf("answered %v, %v, want %d", answer, err, want)
				}
				if want == 100 {
					if _, err := io.WriteString(client, "x"); err != nil {
						t.Fatal(err)
					}
				}
				if n, err := io.Copy(io.Discard, answer.Body); err != nil || want == 200 && n != 100_000 {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			time.Sleep(time.Minute)
		}
		_ = client.Close()
		stop()
	})
}

// Guards the bound: where unread answers take all the room, the one that has waited the longest goes, at once, and the newest is written.
func TestUnreadAnswersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect, returned, stop := answering(t, 1<<20)
		began := time.Now()
		var mute []net.Conn
		for range 3 {
			mute = append(mute, connect("GET /?400000 HTTP/1.1"))
			synctest.Wait()
		}
		if err := <-returned; err == nil || time.Since(began) != 0 {
			t.Errorf("the first write returned %v after %s, want an error at once", err, time.Since(began))
		}
		if n, err := io.Copy(io.Discard, mute[0]); err != nil || n > 128<<10 {
			t.Errorf("the first has %d bytes, %v", n, err)
		}
		for _, c := range mute[1:] {
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, answer.Body); n != 400_000 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := <-returned; err != nil {
				t.Error(err)
			}
		}
		for _, c := range mute {
			_ = c.Close()
		}
		// One alone may be larger than the room.
		client := connect("GET /?3000000 HTTP/1.1")
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, answer.Body); n != 3_000_000 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		_ = client.Close()
		stop()
	})
}

// Guards the same over HTTP/2, where a stream stands still although its connection does not.
func TestUnreadStreamsMakeRoom(t *testing.T) {
	returned := make(chan error, 2)
	ctx, signal := context.WithCancel(t.Context())
	url, done := start(t, ctx, Config{MaxAnswerBytes: 20 << 20, Grace: 500 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, strings.Repeat("x", 16<<20))
		returned <- err
	}))
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: p}
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r) // not read
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
	}
	select {
	case err := <-returned:
		if err == nil {
			t.Error("a write of 16 MiB came to its end unread")
		}
	case <-time.After(answerStart / 2):
		t.Error("no write made room")
	}
	transport.CloseIdleConnections()
	signal()
	<-done // one stream is still unread
}
