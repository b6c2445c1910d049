package main

import (
	"context"

	"millrace/knative/local/internal/broker"
	"millrace/knative/local/internal/kafka"
	"millrace/knative/local/internal/manifest"
	"millrace/knative/local/internal/objectstore"
	"millrace/knative/local/internal/platform"
	"millrace/knative/local/internal/search"
)

// parts are the embedded servers and dispatchers of this build.
func parts() platform.Parts {
	return platform.Parts{
		Kafka: func(ctx context.Context, cfg platform.PartConfig) (platform.Part, error) {
			return kafka.Open(ctx, kafka.Options{Dir: cfg.Dir, Listen: cfg.Addr, Log: cfg.Log})
		},
		ObjectStore: func(ctx context.Context, cfg platform.PartConfig) (platform.Part, error) {
			return objectstore.Start(ctx, objectstore.Options{
				Dir: cfg.Dir, Listen: cfg.Addr, AccessKey: cfg.Credentials.AccessKeyID, SecretKey: cfg.Credentials.SecretAccessKey,
				Log: cfg.Log, Exited: cfg.Fail,
			})
		},
		Search:      platform.HTTP(func(dir string) (*search.Server, error) { return search.Open(dir) }),
		Dispatchers: []platform.OpenDispatcher{eventing},
	}
}

// eventing delivers the events of Brokers, Triggers and PingSources.
func eventing(p *platform.Platform) (platform.Dispatcher, error) {
	e, err := broker.New(broker.Config{
		Brokers: p.Brokers(), Security: p.KafkaSecurity(), Manifests: p.Manifests(), Transport: p.Transport(), Tick: p.Tick(), Log: p.Logger("eventing"),
	})
	if err != nil {
		return nil, err
	}
	p.Handle(manifest.IngressHost, e.Ingress())
	return e, nil
}
