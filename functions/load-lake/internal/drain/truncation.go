package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
	"millrace/shared/landing"
)

// Acceptance is an operator's word on a partition that lost its end: where to go on.
type Acceptance struct {
	Topic     string
	Partition int32
	// Offset is where the partition is read on: what lies from there on is landed as it is now. It lies neither behind the log's next nor behind the partition's end.
	Offset int64
	// Entry is the sequence of the log's newest entry, which says what broke: an acceptance that was left in the configuration accepts nothing later.
	Entry int64
}

// ParseAcceptance reads an Acceptance as String writes it.
func ParseAcceptance(s string) (Acceptance, error) {
	bad := fmt.Errorf("%q is not <topic>/<partition>@<offset>:<entry>", s)
	topic, rest, ok := strings.Cut(s, "/")
	partition, rest, ok2 := strings.Cut(rest, "@")
	offset, entry, ok3 := strings.Cut(rest, ":")
	if topic == "" || !ok || !ok2 || !ok3 {
		return Acceptance{}, bad
	}
	p, err := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	e, err3 := strconv.ParseInt(entry, 10, 64)
	if errors.Join(err, err2, err3) != nil || p < 0 || o < 0 || e < 1 {
		return Acceptance{}, bad
	}
	return Acceptance{Topic: topic, Partition: int32(p), Offset: o, Entry: e}, nil
}

// String returns <topic>/<partition>@<offset>:<entry>.
func (a Acceptance) String() string {
	return fmt.Sprintf("%s/%d@%d:%d", a.Topic, a.Partition, a.Offset, a.Entry)
}

// intact returns the tail to go on from: the one given, or, where the operator accepted what broke, the entry written now that says so. Where the topic lost what the log has, it writes
// an entry that says so and returns ErrTruncated, now and until that is accepted. start and end must have been read after the tail.
func (d *run) intact(ctx context.Context, tail landing.Entry, start, end map[int32]int64) (landing.Entry, error) {
	if err := stopped(tail, nil); err != nil {
		next, err := d.accepted(tail, end)
		if err != nil {
			return tail, err
		}
		if err := d.log.Append(ctx, tail, next); err != nil {
			return tail, err
		}
		d.published(next)
		d.logger.WarnContext(ctx, "a truncated topic is read on as the operator says", "drain", d.id, "sequence", next.Sequence)
		tail = next
	}
	stop, broken := d.entry(tail), false
	for i := range stop.Partitions {
		p := &stop.Partitions[i]
		e, ok := end[p.Partition]
		if !ok { // which Kafka cannot do to a topic that lives: an answer that is not believed
			return tail, fmt.Errorf("%w: partition %d is gone", ErrTruncated, p.Partition)
		}
		reason, err := d.broken(ctx, *p, start[p.Partition], e)
		if err != nil {
			return tail, err
		}
		if reason == "" {
			continue
		}
		broken = true
		p.Broken = &landing.Break{Reason: reason, End: e}
		if p.Broken.Intact, err = d.intactUntil(ctx, p.Partition, start[p.Partition], e); err != nil {
			return tail, err
		}
	}
	if !broken {
		return tail, nil
	}
	if err := d.log.Append(ctx, tail, stop); err != nil {
		return tail, err
	}
	d.published(stop)
	return tail, stopped(stop, nil)
}

// entry returns an entry behind the tail that reads nothing.
func (d *run) entry(tail landing.Entry) landing.Entry {
	e := landing.Entry{
		Version: landing.Version, Topic: d.log.Topic(), TopicID: d.log.TopicID(), Sequence: tail.Sequence + 1, Drain: d.id, Time: d.clock().UTC(),
	}
	for _, p := range tail.Partitions {
		e.Partitions = append(e.Partitions, landing.Partition{Partition: p.Partition, From: p.Next, Next: p.Next, Last: p.Last, Broken: p.Broken})
	}
	return e
}

// broken returns why the partition is no longer what was read of it, "" where that cannot be seen.
func (d *run) broken(ctx context.Context, p landing.Partition, start, end int64) (reason string, err error) {
	switch {
	case end < p.Next:
		return landing.BreakEnd, nil
	case end == p.Next || p.Last == nil || p.Next-1 < start:
		// What did not grow is compared when it grows: until then there is nothing to skip.
		return "", nil
	}
	now, err := d.mark(ctx, p.Partition, p.Next-1)
	if err != nil || now == nil || !p.Last.Differs(*now) {
		return "", err
	}
	return landing.BreakRecord, nil
}

// marksTried bounds how many entries are read to find where a partition broke.
const marksTried = 2000

// intactUntil returns up to where the partition is what the log's entries say: the newest position that still fits, or else where the partition starts.
func (d *run) intactUntil(ctx context.Context, partition int32, start, end int64) (int64, error) {
	found, tried, entries := start, int64(-1), 0
	err := d.log.Back(ctx, func(e landing.Entry) (bool, error) {
		i := slices.IndexFunc(e.Partitions, func(p landing.Partition) bool { return p.Partition == partition })
		if i < 0 || e.Partitions[i].Next <= start {
			return false, nil
		}
		p := e.Partitions[i]
		entries++
		if p.Last == nil || p.Next > end || p.Next == tried {
			return entries < marksTried, nil
		}
		tried = p.Next
		now, err := d.mark(ctx, partition, p.Next-1)
		if err != nil {
			return false, err
		}
		if now != nil && now.Kind != landing.ReasonAbsent && !p.Last.Differs(*now) {
			found = p.Next
			return false, nil
		}
		return entries < marksTried, nil
	})
	return found, err
}

// stopped returns ErrTruncated with what the operator can do where partitions of the tail are broken; but those that are accepted.
func stopped(tail landing.Entry, but map[int32]bool) error {
	var what, set []string
	for _, p := range tail.Partitions {
		if p.Broken == nil || but[p.Partition] {
			continue
		}
		why := fmt.Sprintf("ended at %d", p.Broken.End)
		if p.Broken.Reason == landing.BreakRecord {
			why = fmt.Sprintf("held something else at %d and ended at %d", p.Next-1, p.Broken.End)
		}
		what = append(what, fmt.Sprintf("partition %d was read until %d, then it %s; up to %d it is what was read", p.Partition, p.Next, why, p.Broken.Intact))
		set = append(set, Acceptance{Topic: tail.Topic, Partition: p.Partition, Offset: min(p.Broken.Intact, p.Next), Entry: tail.Sequence}.String())
	}
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s. Events that were not drained before are gone. To go on set DRAIN_ACCEPT_TRUNCATION=%s; a higher offset lands less twice, and "+
		"skips what came anew before it", ErrTruncated, strings.Join(what, "; "), strings.Join(set, ","))
}

// accepted returns the entry behind the tail, which is broken, with which it goes on as the operator says.
func (d *run) accepted(tail landing.Entry, end map[int32]int64) (landing.Entry, error) {
	said := map[int32]bool{}
	e := d.entry(tail)
	for i := range e.Partitions {
		p := &e.Partitions[i]
		if p.Broken == nil {
			continue
		}
		for _, a := range d.settings.AcceptTruncations {
			if a.Topic != tail.Topic || a.Partition != p.Partition || a.Entry != tail.Sequence || said[p.Partition] {
				continue
			}
			if most := min(p.Next, end[p.Partition]); a.Offset > most {
				return e, fmt.Errorf("%w: %s is accepted, but partition %d cannot go on behind %d", ErrTruncated, a, a.Partition, most)
			}
			said[p.Partition] = true
			was := p.Next
			p.From, p.Next, p.Last, p.Broken, p.Rewound = a.Offset, a.Offset, nil, nil, &was
		}
	}
	return e, stopped(tail, said)
}

// same returns an error where the batch, which goes on from the partition's next, is another leader's than what was read last, and that is no longer there: Kafka lost it while the drain was
// under way, and its offset may be another record's, which going on would skip. The next drain finds out what of it is in the log.
func (d *run) same(ctx context.Context, p *landing.Partition, batch kafka.Batch) error {
	epoch := batch.LeaderEpoch(p.Next)
	if p.Last == nil || p.Last.LeaderEpoch == nil || epoch < 0 || epoch == *p.Last.LeaderEpoch {
		return nil
	}
	before, err := d.fetch(ctx, p.Partition, p.Next-1, 1)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		return nil
	}
	if err != nil {
		return err
	}
	if now := markOf(before, p.Next-1); now != nil && p.Last.Differs(*now) {
		return fmt.Errorf("partition %d holds something else at %d than was just read there", p.Partition, p.Next-1)
	}
	return nil
}

// mark returns what Kafka holds at the offset now; nil where it has forgotten.
func (d *run) mark(ctx context.Context, partition int32, offset int64) (*landing.Mark, error) {
	leave, err := d.settings.Gate.enter(ctx) // a batch of records is fetched whole, and can be as large as one that is drained
	if err != nil {
		return nil, err
	}
	defer leave()
	batch, err := d.fetch(ctx, partition, offset, 1)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		return nil, nil //nolint:nilnil // there is nothing to compare with
	}
	if err != nil {
		return nil, err
	}
	return markOf(batch, offset), nil
}

// markOf returns what the batch holds at the offset; nil where it does not reach it.
func markOf(b kafka.Batch, offset int64) *landing.Mark {
	m := &landing.Mark{}
	i, found := slices.BinarySearchFunc(b.Records, offset, func(r *sarama.ConsumerMessage, o int64) int { return cmp.Compare(r.Offset, o) })
	if found {
		m.Kind, m.Timestamp = landing.MarkRecord, b.Records[i].Timestamp.UnixMilli()
	} else {
		s := slices.IndexFunc(b.Skipped, func(s kafka.Skip) bool { return s.First <= offset && offset <= s.Last })
		if s < 0 {
			return nil
		}
		m.Kind = b.Skipped[s].Reason
	}
	if epoch := b.LeaderEpoch(offset); epoch >= 0 && m.Kind != landing.ReasonAbsent {
		m.LeaderEpoch = &epoch
	}
	return m
}
