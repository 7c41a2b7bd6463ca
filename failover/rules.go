package failover

// rules are what one machine does in one state. An event that is missing does
// not fit the state.
type rules[M any] map[Event]func(m M, reason string) ([]Action, error)

func (r rules[M]) step(m M, e Event, reason string) ([]Action, error) {
	rule, ok := r[e]
	if !ok {
		return nil, ErrUnexpected
	}
	return rule(m, reason)
}

// ignore is the rule for what is late, repeated, or changes nothing here.
func ignore[M any](M, string) ([]Action, error) { return nil, nil }

// refuse is the rule for what would take the commit back.
func refuse[M any](M, string) ([]Action, error) { return nil, ErrTooLate }

// alarm is the rule for what the peer can say only if one side is wrong.
func alarm[M any](M, string) ([]Action, error) { return nil, ErrConflict }
