package ingest

import "fmt"

// Code is what is wrong, one of those below.
type Code string

// The codes of alarms. Those of the first block stop the topic at the entry before, those of the second keep one table behind, those of the third say what the log says and stop nothing.
const (
	CodeGap           Code = "log_gap"           // an entry is missing, and there are entries behind it
	CodeJoin          Code = "log_broken"        // an entry does not continue the one before it
	CodeEntry         Code = "log_entry_invalid" // an entry cannot be read, or contradicts itself or its key
	CodeShort         Code = "log_short"         // the log ends before the position of the warehouse
	CodeObjectMissing Code = "object_missing"    // an object that an entry names is not there
	CodeObjectCorrupt Code = "object_corrupt"    // it has not the bytes that the entry says, or is no Parquet of a drain
	CodeObjectDiffers Code = "object_differs"    // it has the bytes, and not the rows, kind, type or day

	CodeType      Code = "column_type"     // a column's type is not that of the table
	CodeCollision Code = "table_collision" // two event types have one table name
	CodeDamaged   Code = "table_damaged"   // a table's entry in the catalog, its metadata or its manifests cannot be used

	CodeLost     Code = "offsets_lost"    // Kafka no longer had offsets when they were to be landed
	CodeBroken   Code = "topic_broken"    // Kafka lost the end of a partition, which is not landed on
	CodeRewound  Code = "topic_rewound"   // a broken partition goes on from an earlier offset
	CodeBegins   Code = "log_begins_late" // the log's first entries are gone, and with them whatever they named that is not in the warehouse
	CodeUnjoined Code = "log_unjoined"    // the entry at the position is gone, so that whether the next one continues it cannot be told
	CodeGone     Code = "log_gone"        // a log that was ingested is not there any more
	CodeDropped  Code = "table_dropped"   // a table that had rows is not there any more; it is made anew from the landing logs
)

// Alarm is something that a person should look at.
type Alarm struct {
	Code     Code   `json:"code"`
	Topic    string `json:"topic,omitempty"`
	TopicID  string `json:"topic_id,omitempty"`
	Sequence int64  `json:"sequence,omitempty"` // of the entry that it is about
	Object   string `json:"object,omitempty"`   // bucket/key
	Table    string `json:"table,omitempty"`
	Stops    bool   `json:"stops"` // the topic, or the table where one is named, is not ingested beyond
	Message  string `json:"message"`
	Hint     string `json:"hint"` // what to do
}

// String is the alarm in one line.
func (a Alarm) String() string {
	at := a.Topic
	if a.Sequence > 0 {
		at = fmt.Sprintf("%s entry %d", at, a.Sequence)
	}
	if a.Table != "" {
		at += " " + a.Table
	}
	return fmt.Sprintf("%s: %s: %s (%s)", a.Code, at, a.Message, a.Hint)
}

var hints = map[Code]string{
	CodeGap:           "Put the missing entry back from a copy of the bucket; the rows behind it are ingested then.",
	CodeJoin:          "Compare the two entries with a copy of the bucket: the log is written once and never changed, so one of them was replaced.",
	CodeEntry:         "Put the entry back from a copy of the bucket; a version that is not known here needs a newer curate.",
	CodeShort:         "The bucket was restored from an older copy, or made anew: bring its log back, or rebuild the warehouse from what there is with curate rebuild.",
	CodeObjectMissing: "Put the object back from a copy of the bucket; rows of later entries wait for it.",
	CodeObjectCorrupt: "Put the object back from a copy of the bucket; rows of later entries wait for it.",
	CodeObjectDiffers: "The drain that wrote entry and object was wrong, or both were replaced: keep them for whoever looks into it; rows of later entries wait.",
	CodeType:          "Give the contract back its type and publish the change as a new MODEL, which is a table of its own; rows that were landed by other types cannot be in one table.",
	CodeCollision:     "Rename one of the event types: tables are named in lower case with _ for all but letters and digits.",
	CodeDamaged:       "Put the file back from an older version or a copy of the bucket; or make the table anew: curate rebuild --table <table> --yes. Its rows wait in landing, and what is made of them stays as it is until then.",
	CodeDropped:       "Nothing is to be done where the log and its objects are whole. Who wants the table gone keeps its events from being landed: what is landed is in the tables.",
	CodeLost:          "Events are lost to the lake: let load-lake drain more often than the topic's retention, and look for them in events.enriched or at the producers.",
	CodeBroken:        "See load-lake's runbook: DRAIN_ACCEPT_TRUNCATION says where it may go on.",
	CodeRewound:       "Rows can be there twice from that offset on, with the same root ids; deduplication keeps one.",
	CodeBegins:        "Keep the landing log for as long as its objects; a rebuild of the warehouse can only bring back what the log names.",
	CodeUnjoined:      "Keep the newest entries of the landing log for longer than curate is ever away.",
	CodeGone:          "If the topic's log was removed on purpose nothing is to be done; else bring it back from a copy of the bucket.",
}
