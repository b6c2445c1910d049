//go:build integration

package objectstore_test

import (
	"os"
	"testing"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// Guards against a real store (S3_ENDPOINT, AWS_*) that behaves otherwise than the one the unit tests use.
func TestConformanceOnARealStore(t *testing.T) {
	if os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("S3_ENDPOINT is not set")
	}
	objectstoretest.Store(t, objectstore.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: os.Getenv("AWS_REGION"), Bucket: "millrace-conformance",
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}, objectstoretest.MinIO)
}
