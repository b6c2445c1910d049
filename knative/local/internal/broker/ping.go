package broker

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// pingType is the type of a PingSource's events.
const pingType = "dev.knative.sources.ping"

// pingPolicy is how a tick that failed is sent again; a source has no delivery specification for this.
var pingPolicy = policy{retry: 5, delay: 100 * time.Millisecond, timeout: defaultTimeout}

// maxPings is how many ticks of one source may wait for their answers; more are left out, since a cluster would have them queue for minutes.
const maxPings = 10

// ping sends an event each tick.
type ping struct {
	name  string
	tick  time.Duration
	to    target
	event func(at time.Time) *event.Event
	log   *slog.Logger
	slots chan struct{}
}

func (e *Eventing) newPing(c Config, m *manifest.PingSource) (*ping, error) {
	if err := manifest.CheckSchedule(m.Spec.Schedule); err != nil {
		return nil, &manifest.Error{Pos: m.Pos, Message: fmt.Sprintf("PingSource %s: schedule: %v", m.Metadata.Name, err)}
	}
	data := []byte(m.Spec.Data)
	if m.Spec.DataBase64 != "" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(m.Spec.DataBase64); err != nil {
			return nil, &manifest.Error{Pos: m.Pos, Message: fmt.Sprintf("PingSource %s: dataBase64: %v", m.Metadata.Name, err)}
		}
	}
	to, err := e.target(c, &m.Spec.Sink, m.Metadata.Namespace, nil)
	if err != nil {
		return nil, err
	}
	source := "/apis/v1/namespaces/" + m.Metadata.Namespace + "/pingsources/" + m.Metadata.Name
	return &ping{
		name: m.Metadata.Name, tick: c.Tick, to: to, log: c.Log.With("pingsource", m.Metadata.Name), slots: make(chan struct{}, maxPings),
		event: func(at time.Time) *event.Event {
			ev := ce.New()
			ev.SetID(uuid.NewString())
			ev.SetType(pingType)
			ev.SetSource(source)
			ev.SetTime(at)
			if m.Spec.ContentType != "" {
				ev.SetDataContentType(m.Spec.ContentType)
			}
			if len(data) > 0 {
				ev.DataEncoded = data
			}
			if o := m.Spec.CEOverrides; o != nil {
				for name, value := range o.Extensions {
					ev.SetExtension(name, value)
				}
			}
			return &ev
		},
	}, nil
}

// run sends until ctx ends, and returns when nothing is on its way any more. A tick does not wait for the answer to the one before.
func (p *ping) run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	ticker := time.NewTicker(p.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-ticker.C:
			select {
			case p.slots <- struct{}{}:
			default:
				p.log.Warn("tick left out: earlier ones have no answer yet", "waiting", maxPings)
				continue
			}
			sending.Go(func() {
				defer func() { <-p.slots }()
				p.send(ctx, at)
			})
		}
	}
}

// send brings one tick to its sink, trying again as often as a source does. At the end it is given up: what it asked for comes with the next tick.
func (p *ping) send(ctx context.Context, at time.Time) {
	r, stopped := pingPolicy.deliver(ctx, ctx.Done(), p.to, outgoing{event: p.event(at)}, func(n int, wait time.Duration, r result) {
		p.log.Debug("tick not delivered, trying again", "retry", n, "wait", wait.String(), "error", r.err)
	})
	if r.verdict == taken || stopped {
		return
	}
	if r.status >= http.StatusOK && r.status < http.StatusMultipleChoices {
		return // a source looks at the status only
	}
	p.log.Warn("tick given up", "sink", p.to.address(), "status", r.status, "error", r.err)
}
