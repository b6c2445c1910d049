//go:build integration

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
	"millrace/functions/internal/gameday/internal/server"
	"millrace/functions/internal/pipeline"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// What is taken out of real stores behind the pipeline's back must be told, each by itself, and the row must be red: else the table of the game day would show what it was not able to see.
func TestSabotageOfServers(t *testing.T) {
	cfg, err := readConfig([]string{"-events", "400", "-only", "nothing fails"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.programs.Missing(); err != nil {
		t.Skip("the servers' programs are not here: ", err)
	}
	root, err := pipeline.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := workspace("")
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{cfg: cfg, root: root, dir: dir}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := errors.Join(st.close(ctx), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := st.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	st.tamper = func(ctx context.Context, s *scene, items []load.Item) error {
		// A load-lake that runs would write the entry again that is taken from its log.
		if err := s.platform.Stop(syscall.SIGTERM, time.Minute); err != nil {
			return err
		}
		take := func(want string) error {
			a, err := ledger.Take(ctx, s.stores, s.stores.Names, items)
			if err != nil {
				return err
			}
			told := strings.Join(a.Wrong, "\n")
			for _, m := range a.Lost {
				told += "\n" + m.RootID + " " + m.Where
			}
			if a.Clean() != (want == "") || !strings.Contains(told, want) {
				t.Errorf("%q is not in what is told:\n%s", want, told)
			}
			return nil
		}
		for _, step := range []struct {
			take func(context.Context, *scene) error
			want string
		}{
			{func(context.Context, *scene) error { return nil }, ""},
			{takeDocument, " not in search"},
			{takeEntry, "the lake's rows of events.raw are not its records"},
			{takeDeadLetter, " not in events.enriched and events.dead"},
		} {
			if err := errors.Join(step.take(ctx, s), take(step.want)); err != nil {
				return err
			}
		}
		return nil
	}
	o := st.play(t.Context(), &rows[0], 1)
	var told strings.Builder
	o.describe(&told)
	t.Log(told.String())
	if o.err != nil || o.ok() || len(o.Lost) == 0 {
		t.Errorf("the row held: %v", o.err)
	}
	if line, err := verdict([]*outcome{o}, time.Minute); err == nil {
		t.Errorf("the verdict: %s", line)
	}
}

// takeDocument removes one document from search.
func takeDocument(ctx context.Context, s *scene) error {
	var found struct {
		Hits struct {
			Hits []struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			}
		}
	}
	at := s.stores.Search + "/"
	if err := pipeline.Do(ctx, http.MethodPost, at+s.stores.Names.IndexPrefix+"enriched-*/_search", json.RawMessage(`{"size":1}`), &found); err != nil {
		return err
	}
	if len(found.Hits.Hits) == 0 {
		return errors.New("no document in search")
	}
	one := found.Hits.Hits[0]
	return pipeline.Do(ctx, http.MethodDelete, at+one.Index+"/_doc/"+one.ID+"?refresh=true", nil, nil)
}

// takeEntry removes the last entry of a landing log: one from the middle would make it unreadable.
func takeEntry(ctx context.Context, s *scene) error {
	bucket, err := objectstore.Open(objectstore.Config{Endpoint: s.stores.S3, Region: "us-east-1", AccessKey: server.S3User, SecretKey: server.S3Password, Bucket: s.stores.Names.Private})
	if err != nil {
		return err
	}
	ids, err := landing.TopicIDs(ctx, bucket, s.stores.Names.Raw)
	if err != nil || len(ids) != 1 {
		return fmt.Errorf("%d logs: %w", len(ids), err)
	}
	last, err := landing.Open(bucket, s.stores.Names.Raw, ids[0]).Tail(ctx)
	if err != nil {
		return err
	}
	return bucket.Delete(ctx, landing.Key(s.stores.Names.Raw, ids[0], last.Sequence))
}

// takeDeadLetter removes the first dead letter of a partition that has any.
func takeDeadLetter(ctx context.Context, s *scene) error {
	ends, err := s.stores.Ends(ctx, s.stores.Names.Dead)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdmin(s.stores.Brokers, kafka.NewConfig("gameday-test"))
	if err != nil {
		return err
	}
	for p, end := range ends {
		if end > 0 {
			return errors.Join(admin.DeleteRecords(s.stores.Names.Dead, map[int32]int64{p: 1}), admin.Close())
		}
	}
	return errors.Join(errors.New("no dead letter"), admin.Close())
}
