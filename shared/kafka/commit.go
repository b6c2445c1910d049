package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Commit commits, for a group without members, the offsets to go on from, by partition of the topic. It is for positions that are kept elsewhere, and shown to whoever looks at
// groups' lag: nothing is compared with what was committed before, so a late call can take a group back. Kafka forgets the offsets of a group without members after a while,
// 7 days by default. A group that has members is refused. The check of ctx is before the request, which ends by the client's Net.ReadTimeout.
func (r *Reader) Commit(ctx context.Context, g GroupTopic, next map[int32]int64) error {
	fail := func(err error) error {
		return fmt.Errorf("commit offsets of group %s on %s: %w", g.Group, g.Topic, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	admin, err := sarama.NewClusterAdminFromClient(r.client) // not closed: that would close the client
	if err != nil {
		return fail(err)
	}
	offsets := make(map[int32]sarama.OffsetAndMetadata, len(next))
	for p, o := range next {
		offsets[p] = sarama.OffsetAndMetadata{Offset: o, LeaderEpoch: -1}
	}
	res, err := admin.AlterConsumerGroupOffsets(g.Group, map[string]map[int32]sarama.OffsetAndMetadata{g.Topic: offsets}, nil)
	if err != nil {
		return fail(err)
	}
	for p, kerr := range res.Errors[g.Topic] {
		if !errors.Is(kerr, sarama.ErrNoError) {
			return fail(fmt.Errorf("partition %d: %w", p, kerr))
		}
	}
	return nil
}
