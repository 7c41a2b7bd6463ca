//go:build race

package migrate

// underRace says that the race detector is built in: it makes code slow, and
// pools of memory leaky.
const underRace = true
