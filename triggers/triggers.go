// Package triggers embeds the Triggers that are deployed with this version, so that provision commits the starting positions of exactly these.
package triggers

import "embed"

// Files holds the manifests, *.yaml.
//
//go:embed *.yaml
var Files embed.FS
