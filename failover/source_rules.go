package failover

// sourceRules is the whole machine. Every state that is not listed belongs to
// the destination and takes no event.
var sourceRules = map[State]rules[*Source]{
	StateNone: {
		EventBegin:         (*Source).begin,
		EventPeerAbandoned: (*Source).leaveUntouched,
		EventPeerLost:      (*Source).leaveUntouched,
		EventFailed:        (*Source).leaveUntouched,
		EventDeadline:      (*Source).leaveUntouched,
		EventCancelled:     (*Source).leaveUntouched,
		EventVMMDied:       (*Source).leaveUntouched,
		EventEngineLost:    (*Source).leaveUntouched,
	},
	StatePreparing: {
		EventPeerArmed:             (*Source).freeze,
		EventGuestFrozen:           (*Source).freezeDone,
		EventPeerReady:             (*Source).noteReady,
		EventPeerLost:              (*Source).abort,
		EventEngineLost:            (*Source).abort,
		EventFailed:                (*Source).abort,
		EventDeadline:              (*Source).abort,
		EventCancelled:             (*Source).abort,
		EventGuestResumedBySomeone: (*Source).abort,
		EventVMMDied:               (*Source).abortDead,
		EventPeerAbandoned:         (*Source).abortKnown,
		EventRenounced:             (*Source).abortKnown,
		EventResumed:               alarm[*Source],
		EventPeerComplete:          alarm[*Source],
	},
	StateFrozen: {
		EventPeerReady:             (*Source).cede,
		EventPeerLost:              (*Source).abort,
		EventEngineLost:            (*Source).abort,
		EventFailed:                (*Source).abort,
		EventDeadline:              (*Source).abort,
		EventCancelled:             (*Source).abort,
		EventGuestResumedBySomeone: (*Source).abort,
		EventVMMDied:               (*Source).abortDead,
		EventPeerAbandoned:         (*Source).abortKnown,
		EventRenounced:             (*Source).abortKnown,
		EventResumed:               alarm[*Source],
		EventPeerComplete:          alarm[*Source],
	},
	StateCeded: {
		EventPeerReady:             (*Source).commitAgain,
		EventPeerAbandoned:         (*Source).commitAgain,
		EventResumed:               (*Source).peerRuns,
		EventPeerComplete:          (*Source).release,
		EventRenounced:             (*Source).takeBack,
		EventPeerLost:              (*Source).reconnect,
		EventVMMDied:               (*Source).noteDeath,
		EventGuestResumedBySomeone: (*Source).killStray,
		EventEngineLost:            (*Source).recordAgain,
		EventFailed:                ignore[*Source],
		EventDeadline:              ignore[*Source],
		EventCancelled:             refuse[*Source],
	},
	StateRunning: {
		EventPeerArmed:             (*Source).abortAgain,
		EventPeerReady:             (*Source).abortAgain,
		EventGuestFrozen:           (*Source).thawAgain,
		EventPeerAbandoned:         (*Source).end,
		EventGiveUp:                (*Source).end,
		EventCancelled:             ignore[*Source],
		EventRenounced:             (*Source).confirmRenounced,
		EventPeerLost:              (*Source).reconnect,
		EventEngineLost:            (*Source).runAgain,
		EventFailed:                ignore[*Source],
		EventDeadline:              ignore[*Source],
		EventGuestResumedBySomeone: ignore[*Source],
		EventVMMDied:               (*Source).noteDeath,
		EventResumed:               alarm[*Source],
		EventPeerComplete:          alarm[*Source],
	},
	StateReleased: {
		EventPeerComplete:          (*Source).releasedAgain,
		EventEngineLost:            (*Source).release,
		EventResumed:               ignore[*Source],
		EventPeerLost:              ignore[*Source],
		EventFailed:                ignore[*Source],
		EventDeadline:              ignore[*Source],
		EventVMMDied:               ignore[*Source],
		EventGuestResumedBySomeone: ignore[*Source],
		EventGiveUp:                ignore[*Source],
		EventCancelled:             refuse[*Source],
		EventPeerReady:             alarm[*Source],
		EventPeerAbandoned:         alarm[*Source],
		EventRenounced:             alarm[*Source],
	},
}

// begin: the epoch is used up from here on, whatever happens.
func (m *Source) begin(reason string) ([]Action, error) {
	return []Action{m.record(StatePreparing, true, reason)}, nil
}

// leaveUntouched: nothing was begun, so there is nothing to put back.
func (m *Source) leaveUntouched(reason string) ([]Action, error) {
	m.state = StateRunning
	return []Action{m.finish(reason)}, nil
}

func (m *Source) freeze(reason string) ([]Action, error) {
	if m.freezing {
		return nil, ErrUnexpected
	}
	m.freezing = true
	return []Action{m.action(ActionFreeze, reason)}, nil
}

// freezeDone: READY may have been faster than our own VMM.
func (m *Source) freezeDone(reason string) ([]Action, error) {
	if !m.freezing {
		return nil, ErrUnexpected
	}
	actions := []Action{m.record(StateFrozen, false, reason)}
	if !m.ready {
		return actions, nil
	}
	committed, err := m.cede(reason)
	return append(actions, committed...), err
}

func (m *Source) noteReady(string) ([]Action, error) {
	if !m.freezing {
		return nil, ErrUnexpected
	}
	m.ready = true
	return nil, nil
}

// cede is the commit.
func (m *Source) cede(reason string) ([]Action, error) {
	return []Action{m.record(StateCeded, true, reason), m.action(ActionSendCommit, reason)}, nil
}

// giveBack records the abort and lets the guest run. The record is unforced:
// without CEDED the absence of any decision means abort, so losing it changes
// nothing, and the guest does not wait for the disk.
func (m *Source) giveBack(reason string) []Action {
	actions := []Action{m.record(StateRunning, false, reason)}
	if !m.vmmDead {
		actions = append(actions, m.action(ActionResumeGuest, reason))
	}
	return actions
}

// abort ends at once if the destination cannot be LOADED: it then gives up by
// itself when it misses us. Otherwise it has to confirm that it knows.
func (m *Source) abort(reason string) ([]Action, error) {
	actions := append(m.giveBack(reason), m.action(ActionSendAbort, reason), m.action(ActionSyncJournal, reason))
	if m.freezing {
		return append(actions, m.action(ActionReconnect, reason)), nil
	}
	return append(actions, m.finish(reason)), nil
}

func (m *Source) abortDead(reason string) ([]Action, error) {
	m.vmmDead = true
	return m.abort(reason)
}

// abortKnown: the destination gave up first. One that renounced waits for a
// word before it goes.
func (m *Source) abortKnown(reason string) ([]Action, error) {
	actions := append(m.giveBack(reason), m.action(ActionSendAbort, reason), m.action(ActionSyncJournal, reason))
	return append(actions, m.finish(reason)), nil
}

func (m *Source) abortAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionSendAbort, reason)}, nil
}

// thawAgain: the freeze was under way when the attempt was aborted.
func (m *Source) thawAgain(reason string) ([]Action, error) {
	if m.vmmDead {
		return nil, nil
	}
	return []Action{m.action(ActionResumeGuest, reason)}, nil
}

func (m *Source) end(reason string) ([]Action, error) {
	if m.finished {
		return nil, nil
	}
	return []Action{m.finish(reason)}, nil
}

func (m *Source) confirmRenounced(reason string) ([]Action, error) {
	actions := []Action{m.action(ActionSendAbort, reason)}
	if !m.finished {
		actions = append(actions, m.finish(reason))
	}
	return actions, nil
}

func (m *Source) reconnect(reason string) ([]Action, error) {
	if m.finished {
		return nil, nil
	}
	return []Action{m.action(ActionReconnect, reason)}, nil
}

// runAgain is for a keeper: the engine may have died before the guest ran, and
// before the record of a take-back was durable.
func (m *Source) runAgain(reason string) ([]Action, error) {
	resume := m.action(ActionResumeGuest, reason)
	if m.tookBack {
		return []Action{m.record(StateRunning, true, reason), resume, m.finish(reason)}, nil
	}
	return []Action{resume, m.action(ActionReconnect, reason)}, nil
}

// commitAgain: the destination does not seem to know. A destination that
// abandoned the epoch answers with RENOUNCED, which alone frees us.
func (m *Source) commitAgain(reason string) ([]Action, error) {
	if m.resumed {
		return nil, nil
	}
	return []Action{m.action(ActionSendCommit, reason)}, nil
}

func (m *Source) peerRuns(reason string) ([]Action, error) {
	m.resumed = true
	return m.kill(reason), nil
}

// killStray: the guest belongs to the destination. Whoever ran it here makes
// two of it, on the same disks.
func (m *Source) killStray(reason string) ([]Action, error) { return m.kill(reason), nil }

func (m *Source) kill(reason string) []Action {
	if m.vmmDead {
		return nil
	}
	m.vmmDead = true
	return []Action{m.action(ActionKillVMM, reason)}
}

func (m *Source) noteDeath(string) ([]Action, error) {
	m.vmmDead = true
	return nil, nil
}

// release: nothing is removed before the record is durable. A keeper does it
// again: the engine may have died half-way.
func (m *Source) release(reason string) ([]Action, error) {
	actions := append([]Action{m.record(StateReleased, true, reason)}, m.kill(reason)...)
	return append(actions, m.action(ActionRelease, reason), m.action(ActionSendReleased, reason), m.finish(reason)), nil
}

func (m *Source) releasedAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionSendReleased, reason)}, nil
}

// takeBack is the only way from CEDED to a running guest. If the VMM has died
// meanwhile there is nothing to run, but this host may start the guest anew.
func (m *Source) takeBack(reason string) ([]Action, error) {
	if m.resumed {
		return nil, ErrConflict
	}
	m.tookBack = true
	actions := []Action{m.record(StateRunning, true, reason)}
	if !m.vmmDead {
		actions = append(actions, m.action(ActionResumeGuest, reason))
	}
	return append(actions, m.action(ActionSendAbort, reason), m.finish(reason)), nil
}

// recordAgain is for a keeper: the engine may have died before the record was
// durable. The guest stays frozen.
func (m *Source) recordAgain(reason string) ([]Action, error) {
	return []Action{m.record(StateCeded, true, reason)}, nil
}
