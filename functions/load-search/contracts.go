package main

import "millrace/shared/contract"

// accept takes a set of contracts into use. Templates are checked again before the next write, since a new version may add fields.
func (h *handler) accept(set *contract.Set) error {
	m := modelsOf(set)
	h.models.Store(&m)
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.checked)
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
