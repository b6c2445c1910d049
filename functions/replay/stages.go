package main

import (
	"context"
	"fmt"
	"io"

	"github.com/IBM/sarama"

	"millrace/functions/replay/internal/reconcile"
	"millrace/functions/replay/internal/source"
	"millrace/functions/replay/internal/trace"
	"millrace/shared/kafka"
	"millrace/shared/landing"
)

// The stages whose groups tell what waits, and the groups that provision makes for their Triggers.
const (
	stageEnrich     = "enrich"
	stageSearch     = "load-search-enriched"
	stageSearchDead = "load-search-dead"
)

func defaultGroups() map[string]string {
	const trigger = "knative-trigger-millrace-"
	return map[string]string{stageEnrich: trigger + stageEnrich, stageSearch: trigger + stageSearch, stageSearchDead: trigger + stageSearchDead}
}

// groupsOf returns the groups of all stages: the default ones, but for those that are named.
func groupsOf(named map[string]string) (map[string]string, error) {
	groups := defaultGroups()
	for stage, group := range named {
		if _, ok := groups[stage]; !ok {
			return nil, fmt.Errorf("--group: %q is none of %s, %s, %s", stage, stageEnrich, stageSearch, stageSearchDead)
		}
		groups[stage] = group
	}
	return groups, nil
}

// stages returns the topics raw, enriched and dead with who reads them and where they are landed. It tells warn of groups that have no position.
func (c *config) stages(client sarama.Client, groups map[string]string, warn io.Writer) ([]trace.Stage, error) {
	landed, err := c.landed()
	if err != nil {
		return nil, err
	}
	private, err := c.private()
	if err != nil {
		return nil, err
	}
	stages := []trace.Stage{
		{Stage: reconcile.Stage{Name: c.TopicRaw, Group: groups[stageEnrich]}, Reader: "enrich", Objects: private},
		{Stage: reconcile.Stage{Name: c.TopicEnriched, Group: groups[stageSearch]}, Reader: "load-search", Objects: landed},
		{Stage: reconcile.Stage{Name: c.TopicDead, Group: groups[stageSearchDead]}, Reader: "load-search", Objects: private},
	}
	for i := range stages {
		s := &stages[i].Stage
		bucket := private
		if i == 1 {
			bucket = landed
		}
		if s.Committed, err = kafka.Committed(client, kafka.GroupTopic{Group: s.Group, Topic: s.Name}); err != nil {
			return nil, err
		}
		if len(s.Committed) == 0 {
			fmt.Fprintf(warn, "the group %s has no committed offset on %s: what waits for it counts as missing (--group names another)\n", s.Group, s.Name)
		}
		s.Topic = source.NewTopic(client, s.Name)
		s.Log = func(id string) reconcile.Log { return landing.Open(bucket, s.Name, id) }
		s.TopicIDs = func(ctx context.Context) ([]string, error) { return landing.TopicIDs(ctx, bucket, s.Name) }
	}
	return stages, nil
}
