package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Committed returns the group's committed offset of each of the topic's partitions that has one: the offset to go on from, all records before it
// are done. It is empty where the group has committed nothing there, or does not exist. client stays the caller's.
func Committed(client sarama.Client, g GroupTopic) (map[int32]int64, error) {
	fail := func(err error) (map[int32]int64, error) {
		return nil, fmt.Errorf("committed offsets of group %s on %s: %w", g.Group, g.Topic, err)
	}
	partitions, err := client.Partitions(g.Topic)
	if err != nil {
		return fail(err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client) // not closed: that would close the client
	if err != nil {
		return fail(err)
	}
	res, err := admin.ListConsumerGroupOffsets(g.Group, map[string][]int32{g.Topic: partitions})
	if err == nil && !errors.Is(res.Err, sarama.ErrNoError) {
		err = res.Err
	}
	if errors.Is(err, sarama.ErrGroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return fail(err)
	}
	committed := make(map[int32]int64)
	for _, p := range partitions {
		block := res.GetBlock(g.Topic, p)
		if block == nil {
			continue
		}
		if !errors.Is(block.Err, sarama.ErrNoError) {
			return fail(block.Err)
		}
		if block.Offset >= 0 {
			committed[p] = block.Offset
		}
	}
	return committed, nil
}
