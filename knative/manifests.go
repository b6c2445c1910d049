// Package knative embeds the manifests that are deployed with this version, so that provision knows the topics of the Brokers.
package knative

import "embed"

// Files holds the manifests, *.yaml.
//
//go:embed *.yaml
var Files embed.FS
