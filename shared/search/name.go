package search

import (
	"strconv"
	"strings"
	"time"
)

// EnrichedIndex returns the name of the index for events of a type and model (the first number of the schema version) on
// the day that t, in UTC, lies in: enriched-<type>-<model>-YYYY.MM.DD. The package's documentation has the rule for types
// that are no index names.
func (c *Client) EnrichedIndex(eventType string, model int, t time.Time) string {
	return c.enrichedBase(eventType, model) + day(t)
}

// DeadIndex returns the name of the index for dead letters of the day that t, in UTC, lies in: dead-YYYY.MM.DD.
func (c *Client) DeadIndex(t time.Time) string { return c.prefix + "dead-" + day(t) }

func (c *Client) enrichedBase(eventType string, model int) string {
	return c.prefix + "enriched-" + segment(eventType) + "-" + strconv.Itoa(model) + "-"
}

// segment returns an event type as a part of an index name.
func segment(eventType string) string {
	return strings.ReplaceAll(strings.ToLower(eventType), "-", "~")
}

func day(t time.Time) string { return t.UTC().Format("2006.01.02") }
