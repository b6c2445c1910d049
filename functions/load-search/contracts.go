package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/document"
	"millrace/shared/event"
)

// accept takes a set of contracts into use, and logs which files it does without. Templates are checked again before the
// next write, since a new version may add fields.
func (h *handler) accept(set *contract.Set) error {
	for _, v := range set.Invalid() {
		h.logger.Error("a contract file is wrong", "contract", v)
	}
	m := document.ModelsOf(set)
	h.models.Store(&m)
	h.contracts.Store(set)
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.checked)
	for e := range h.missing {
		if _, found := set.Find(e.Key.EventType, e.Version); found {
			delete(h.missing, e)
		}
	}
	return nil
}

// reloaded logs what came of looking at the contracts.
func (h *handler) reloaded(_ bool, err error) {
	if err != nil {
		h.logger.Error("contracts stay as they were", "error", err)
		return
	}
	h.logger.Info("contracts changed", "models", len(*h.models.Load()))
}

// sighting is when a version without a contract was met.
type sighting struct{ first, last time.Time }

const (
	// forgetAfter is how long a version without a contract must not be met for the next event of it to wait anew.
	forgetAfter = time.Hour
	// maxMissing bounds the versions that are remembered; producers can invent any number.
	maxMissing = 1000
)

// refresh looks at the contracts before the next look that is due. An error means that they could not be read now.
func (h *handler) refresh(ctx context.Context) error {
	if h.reload == nil {
		return nil
	}
	changed, err := h.reload(ctx)
	if changed || err != nil {
		h.reloaded(changed, err)
	}
	if err != nil {
		return fmt.Errorf("looking for the event's contract: %w", err)
	}
	return nil
}

// unknown says what becomes of an event whose version has no contract, though the contracts were just looked at. What enrich passed has one: enrich
// may have read it earlier (its files come to each pod in their own time), so the event waits, and only where none came for long it is a
// dead letter. The first event of a version begins the wait for all of it, so that those behind a missing contract do not hold the slots of
// others for ever. One whose contract's file is wrong waits for people to mend it (see package contract), however long.
func (h *handler) unknown(e *document.UnknownModelError) error {
	if wrong, held := h.contracts.Load().Held(e.Key.EventType, e.Version); held {
		return delivery.After(fmt.Errorf("%w, and its file %s is wrong", e, filepath.Base(wrong.File)), h.interval)
	}
	now := h.clock()
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.missing[*e]
	if !ok || now.Sub(s.last) > forgetAfter {
		if !ok && len(h.missing) >= maxMissing {
			clear(h.missing)
		}
		s.first = now
	}
	s.last = now
	h.missing[*e] = s
	if now.Sub(s.first) < h.wait {
		return delivery.After(e, h.interval)
	}
	return delivery.Permanent(event.CodeUnknownContract, e)
}

// keyless returns the error that has an event wait for a key to mask with, and says so once a minute.
func (h *handler) keyless(e *event.Event, err error) error {
	h.unmasked.Inc()
	now := h.clock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.warned.IsZero() || now.Sub(h.warned) >= time.Minute {
		h.warned = now
		h.logger.Error("events wait: their contract masks personal data, and there is no key to do so", "event_type", e.Type(), "error", err)
	}
	return delivery.After(err, h.interval)
}
