package main

import "github.com/lazymig/lazymig/failover"

// phrase is a state in plain words: a sentence, and a label of at most
// labelWidth columns to stand before the counts of pages.
type phrase struct{ long, label string }

// labelWidth leaves a line of progress the room for its counts.
const labelWidth = 9

// statePhrases has the words for each state. A paused guest is moved as well, so
// none of them says that it runs.
var statePhrases = map[string]phrase{
	failover.StateNone.String():      {"nothing has happened yet", "waiting"},
	failover.StateRunning.String():   {"taken back: the guest is here, as it was", "back"},
	failover.StatePreparing.String(): {"preparing the move; the guest is here", "preparing"},
	failover.StateFrozen.String():    {"the guest stands still for the switch", "switching"},
	failover.StateCeded.String():     {"handed over: the guest is the destination's, its memory follows", "moving"},
	failover.StateReleased.String():  {"done: the guest needs this host no more", "done"},
	failover.StateReserved.String():  {"a guest is coming: starting its VMM", "starting"},
	failover.StateArmed.String():     {"ready for the guest", "ready"},
	failover.StateLoaded.String():    {"the guest's devices are here; the source decides now", "switching"},
	failover.StateOwner.String():     {"taken over: the guest is here, its memory follows", "moving"},
	failover.StateComplete.String():  {"done: all of the guest's memory is here", "done"},
	failover.StateAbandoned.String(): {"given up: the guest is at the source", "given up"},
	failover.StateRenounced.String(): {"given back: the guest is at the source and never ran here", "back"},
}

// phraseOf returns the words of a state by its name.
func phraseOf(state string) phrase {
	if w, ok := statePhrases[state]; ok {
		return w
	}
	return phrase{long: state, label: state[:min(len(state), labelWidth)]} // of a newer engine
}
