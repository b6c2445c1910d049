package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"millrace/functions/replay/internal/plan"
)

// begin is a journal's first line: what it is the journal of. With other answers to these, other events would be sent, and positions mean others.
type begin struct {
	Digest  string `json:"plan"`
	Unknown bool   `json:"unknown"`
	Collect bool   `json:"collect"`
}

// state is each further line: everything that is settled so far.
type state struct {
	Next    int              `json:"next"` // events settled, of those to be sent
	Sent    map[string]int64 `json:"sent"`
	Dead    int64            `json:"dead,omitempty"`
	Refused []string         `json:"refused,omitempty"`
}

// journal is a file to which a line is added for each batch, durable before the next one is sent.
type journal struct {
	file  *os.File // nil in a dry run
	state state
}

// openJournal opens the journal or makes it. Half a line at its end, which a crash leaves, is cut off.
func openJournal(path string, b begin, dryRun bool) (*journal, error) {
	fail := func(err error) (*journal, error) { return nil, fmt.Errorf("journal %s: %w", path, err) }
	body, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	body = body[:bytes.LastIndexByte(body, '\n')+1]
	j := new(journal)
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	if len(body) > 0 {
		var was begin
		if err := json.Unmarshal(lines[0], &was); err != nil {
			return fail(errors.New("it is no journal of replay's"))
		}
		if was.Digest != b.Digest {
			return fail(errors.New("it is that of another plan; name another with --journal"))
		}
		if was != b {
			return fail(errors.New("it was begun with other values of --include-unknown or --collect; name another with --journal, and all is sent once more, which changes nothing"))
		}
		if len(lines) > 1 {
			if err := json.Unmarshal(lines[len(lines)-1], &j.state); err != nil || j.state.Next < 0 {
				return fail(errors.New("its last line cannot be read"))
			}
		}
	}
	if dryRun {
		return j, nil
	}
	// Two runs at once are harmless so: each line is whole, and one of them is the last.
	if j.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return fail(err)
	}
	if err := j.file.Truncate(int64(len(body))); err != nil {
		return fail(errors.Join(err, j.file.Close()))
	}
	if len(body) == 0 {
		if err := errors.Join(j.write(b), plan.SyncFolder(path)); err != nil {
			return nil, errors.Join(err, j.file.Close())
		}
	}
	return j, nil
}

// note makes a state durable.
func (j *journal) note(s state) error { return j.write(s) }

func (j *journal) write(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.file.Name(), err)
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
