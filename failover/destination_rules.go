package failover

// destinationRules is the whole machine. Every state that is not listed belongs
// to the source and takes no event.
var destinationRules = map[State]rules[*Destination]{
	StateNone: {
		EventOffered:    (*Destination).reserve,
		EventAborted:    (*Destination).dropUnused,
		EventFailed:     (*Destination).dropUnused,
		EventCancelled:  (*Destination).dropUnused,
		EventVMMDied:    (*Destination).dropUnused,
		EventEngineLost: (*Destination).dropUnused,
		EventPeerLost:   ignore[*Destination],
	},
	StateReserved: {
		EventCommitted:  (*Destination).renounceLost,
		EventGuestArmed: (*Destination).arm,
		EventAborted:    (*Destination).abandon,
		EventFailed:     (*Destination).abandon,
		EventCancelled:  (*Destination).abandon,
		EventVMMDied:    (*Destination).abandon,
		EventPeerLost:   (*Destination).abandon,
		EventEngineLost: (*Destination).abandon,
	},
	StateArmed: {
		EventCommitted:    (*Destination).renounceLost,
		EventStreamLoaded: (*Destination).load,
		EventAborted:      (*Destination).abandon,
		EventFailed:       (*Destination).abandon,
		EventCancelled:    (*Destination).abandon,
		EventVMMDied:      (*Destination).abandon,
		EventPeerLost:     (*Destination).abandon,
		EventEngineLost:   (*Destination).abandon,
	},
	StateLoaded: {
		EventCommitted:  (*Destination).own,
		EventAborted:    (*Destination).abandon,
		EventFailed:     (*Destination).renounce,
		EventCancelled:  (*Destination).renounce,
		EventVMMDied:    (*Destination).renounceDead,
		EventPeerLost:   (*Destination).reconnect,
		EventEngineLost: (*Destination).reconnect,
	},
	StateOwner: {
		EventGuestRan:     (*Destination).noteRan,
		EventRunFailed:    (*Destination).runFailed,
		EventCommitted:    (*Destination).resumedAgain,
		EventAllInstalled: (*Destination).complete,
		EventVMMDied:      (*Destination).ownerDied,
		EventPeerLost:     (*Destination).reconnect,
		EventFailed:       ignore[*Destination],
		EventEngineLost:   ignore[*Destination],
		EventAborted:      refuse[*Destination],
		EventCancelled:    refuse[*Destination],
		EventPeerReleased: alarm[*Destination],
	},
	StateComplete: {
		EventPeerReleased: (*Destination).end,
		EventGiveUp:       (*Destination).end,
		EventCancelled:    refuse[*Destination],
		EventCommitted:    (*Destination).completeAgain,
		EventAllInstalled: (*Destination).completeAgain,
		EventPeerLost:     (*Destination).reconnect,
		EventGuestRan:     ignore[*Destination],
		EventVMMDied:      ignore[*Destination],
		EventFailed:       ignore[*Destination],
		EventEngineLost:   (*Destination).completeKept,
		EventAborted:      refuse[*Destination],
	},
	StateAbandoned: {
		EventCommitted:    (*Destination).renounceLate,
		EventAborted:      (*Destination).abandonedAgain,
		EventGuestArmed:   (*Destination).killAgain,
		EventStreamLoaded: (*Destination).killAgain,
		EventEngineLost:   (*Destination).dropAgain,
		EventPeerLost:     ignore[*Destination],
		EventFailed:       ignore[*Destination],
		EventCancelled:    ignore[*Destination],
		EventVMMDied:      ignore[*Destination],
		EventGiveUp:       ignore[*Destination],
		EventGuestRan:     alarm[*Destination],
		EventPeerReleased: alarm[*Destination],
	},
	StateRenounced: {
		EventCommitted:    (*Destination).renouncedAgain,
		EventAborted:      (*Destination).end,
		EventGiveUp:       (*Destination).end,
		EventCancelled:    ignore[*Destination],
		EventPeerLost:     (*Destination).reconnect,
		EventEngineLost:   (*Destination).renounceAgain,
		EventRunFailed:    ignore[*Destination],
		EventFailed:       ignore[*Destination],
		EventVMMDied:      ignore[*Destination],
		EventGuestRan:     alarm[*Destination],
		EventPeerReleased: alarm[*Destination],
	},
}

// reserve: the epoch is used up from here on, whatever happens.
func (m *Destination) reserve(reason string) ([]Action, error) {
	return []Action{m.record(StateReserved, true, reason), m.action(ActionArm, reason)}, nil
}

// dropUnused: a VMM may have been started, but nothing was taken on.
func (m *Destination) dropUnused(reason string) ([]Action, error) {
	m.state = StateAbandoned
	return []Action{m.action(ActionKillVMM, reason), m.finish(reason)}, nil
}

func (m *Destination) arm(reason string) ([]Action, error) {
	return []Action{m.record(StateArmed, false, reason), m.action(ActionSendArmed, reason)}, nil
}

// load: the record is unforced. A host that goes down and loses it has lost the
// guest's memory with it, and will answer COMMIT by RENOUNCED.
func (m *Destination) load(reason string) ([]Action, error) {
	return []Action{m.record(StateLoaded, false, reason), m.action(ActionSendReady, reason)}, nil
}

// abandon records it, kills the VMM and tells the source, which may wait for
// it. The record is unforced: the epoch is used up by RESERVED, so losing it
// cannot make this host run it.
func (m *Destination) abandon(reason string) ([]Action, error) {
	return []Action{
		m.record(StateAbandoned, false, reason),
		m.action(ActionKillVMM, reason),
		m.action(ActionSendAbandoned, reason),
		m.finish(reason),
	}, nil
}

func (m *Destination) abandonedAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionSendAbandoned, reason)}, nil
}

// killAgain: the VMM was still being prepared when the attempt was abandoned.
func (m *Destination) killAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionKillVMM, reason)}, nil
}

// dropAgain is for a keeper: the engine may have died before it killed the VMM.
func (m *Destination) dropAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionKillVMM, reason), m.finish(reason)}, nil
}

// own: OWNER is durable before the guest runs, so that no later process can
// take it for one that did not. A keeper cannot serve pages: it gives back.
func (m *Destination) own(reason string) ([]Action, error) {
	if m.engineLost {
		return m.renounce(reason)
	}
	owner := m.record(StateOwner, true, reason)
	if m.wasRunning {
		return []Action{owner, m.action(ActionRunGuest, reason)}, nil
	}
	m.ran = true
	return []Action{owner, m.action(ActionSendResumed, reason), m.action(ActionSyncJournal, reason)}, nil
}

func (m *Destination) noteRan(reason string) ([]Action, error) {
	if m.ran {
		return m.resumedAgain(reason)
	}
	m.ran = true
	return []Action{m.action(ActionSendResumed, reason), m.action(ActionSyncJournal, reason)}, nil
}

func (m *Destination) resumedAgain(reason string) ([]Action, error) {
	if !m.ran {
		return nil, nil
	}
	return []Action{m.action(ActionSendResumed, reason)}, nil
}

// renounce: durable first. Once it is said, the source runs the guest; and the
// VMM is dead before it is said.
func (m *Destination) renounce(reason string) ([]Action, error) {
	actions := []Action{m.record(StateRenounced, true, reason)}
	if !m.vmmDead {
		actions = append(actions, m.action(ActionKillVMM, reason))
	}
	return append(actions, m.action(ActionSendRenounced, reason)), nil
}

func (m *Destination) renounceDead(reason string) ([]Action, error) {
	m.vmmDead = true
	return m.renounce(reason)
}

// renounceLate: there is nothing left to kill, and OWNER was never written.
func (m *Destination) renounceLate(reason string) ([]Action, error) {
	m.finished = false
	return []Action{m.record(StateRenounced, true, reason), m.action(ActionSendRenounced, reason)}, nil
}

// renounceLost: the source had READY, but LOADED was lost with the host.
func (m *Destination) renounceLost(reason string) ([]Action, error) {
	if !m.engineLost {
		return nil, ErrUnexpected
	}
	return m.renounce(reason)
}

func (m *Destination) renouncedAgain(reason string) ([]Action, error) {
	return []Action{m.action(ActionSendRenounced, reason)}, nil
}

// renounceAgain is for a keeper: the engine may have died between writing the
// record and forcing it, or before it killed the VMM.
func (m *Destination) renounceAgain(reason string) ([]Action, error) {
	actions, err := m.renounce(reason)
	return append(actions, m.action(ActionReconnect, reason)), err
}

func (m *Destination) runFailed(reason string) ([]Action, error) {
	if m.ran {
		return nil, ErrUnexpected
	}
	return m.renounce(reason)
}

// ownerDied: if the guest ran, its end is the end of the move, wanted or not.
// A keeper does not know whether it ran: it leaves that to a person.
func (m *Destination) ownerDied(reason string) ([]Action, error) {
	if m.engineLost {
		return nil, nil
	}
	if !m.ran {
		return m.renounceDead(reason)
	}
	m.vmmDead = true
	return m.complete(reason)
}

// complete: first the guest stops depending on us, then it is written down.
func (m *Destination) complete(reason string) ([]Action, error) {
	if !m.ran {
		return nil, ErrUnexpected
	}
	release := m.action(ActionRelease, reason)
	return []Action{release, m.record(StateComplete, true, reason), m.action(ActionSendComplete, reason)}, nil
}

func (m *Destination) completeAgain(reason string) ([]Action, error) {
	if m.finished {
		return nil, nil
	}
	return []Action{m.action(ActionSendComplete, reason)}, nil
}

// completeKept is for a keeper: the engine may have died before the record was
// durable, and before the source knew.
func (m *Destination) completeKept(reason string) ([]Action, error) {
	return []Action{m.record(StateComplete, true, reason), m.action(ActionReconnect, reason)}, nil
}

func (m *Destination) reconnect(reason string) ([]Action, error) {
	if m.finished {
		return nil, nil
	}
	return []Action{m.action(ActionReconnect, reason)}, nil
}

func (m *Destination) end(reason string) ([]Action, error) {
	if m.finished {
		return nil, nil
	}
	return []Action{m.finish(reason)}, nil
}
