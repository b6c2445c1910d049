//go:build integration

package ingest

func init() { killStep = 1 }
