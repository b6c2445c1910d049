//go:build deps

package deps

import (
	_ "github.com/IBM/sarama"
	_ "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	_ "github.com/cloudevents/sdk-go/sql/v2"
	_ "github.com/cloudevents/sdk-go/v2"
	_ "github.com/elastic/go-elasticsearch/v8"
	_ "github.com/google/uuid"
	_ "github.com/kelseyhightower/envconfig"
	_ "github.com/minio/minio-go/v7"
	_ "github.com/parquet-go/parquet-go"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/santhosh-tekuri/jsonschema/v6"
	_ "github.com/spf13/pflag"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "github.com/versity/versitygw/s3api"
	_ "golang.org/x/sync/errgroup"
	_ "gopkg.in/yaml.v3"
	_ "knative.dev/pkg/signals"
	_ "knative.dev/pkg/network/handlers"
	_ "modernc.org/sqlite"
	_ "github.com/klauspost/compress/zstd"
)
