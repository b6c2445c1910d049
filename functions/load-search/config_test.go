package main

import (
	"strings"
	"testing"
	"time"
)

// Guards the configuration: everything wrong is said at once, and the URL, which may hold a password, is not printed.
func TestConfig(t *testing.T) {
	t.Setenv("ELASTICSEARCH_URL", "http://user:secret@127.0.0.1:9200")
	t.Setenv("KAFKA_BROKERS", "a:1, b:2")
	c, err := readConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.dead.Topic != "events.dead" || strings.Join(c.dead.Brokers, " ") != "a:1 b:2" || c.Listen() != ":8080" || c.Flush != 5*time.Millisecond {
		t.Errorf("config %+v", c)
	}
	t.Setenv("ELASTICSEARCH_CA", "ca.pem")
	t.Setenv("ELASTICSEARCH_API_KEY", "secret")
	if c, err = readConfig(); err != nil || c.search().APIKey != "secret" || c.search().CA != "ca.pem" {
		t.Errorf("credentials: %v", err)
	}
	t.Setenv("ELASTICSEARCH_API_KEY_FILE", "key")
	t.Setenv("DEAD_SINK", "ftp://x")
	t.Setenv("BULK_BYTES", "0")
	t.Setenv("MAX_ATTEMPTS", "-1")
	_, err = readConfig()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"DEAD_SINK", "BULK_BYTES", "MAX_ATTEMPTS", "ELASTICSEARCH_API_KEY_FILE"} {
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	}
}
