package microvm

import "time"

const (
	// minSize and maxSize bound guest RAM. The program addresses pages in 32
	// bits.
	minSize = 1 << 20
	maxSize = 2 << 30

	// usedQuarters is how many quarters of the pages the program uses; the
	// others stay holes.
	usedQuarters = 3

	// beatInterval is the least time between two beats.
	beatInterval = time.Millisecond

	// maxRequest bounds a line on the control socket, in bytes. A state has
	// about 300.
	maxRequest = 64 << 10

	// maxClients bounds the connections to the control socket.
	maxClients = 16

	// writeTimeout bounds how long a client may leave an answer unread, and
	// eventTimeout an event, which others wait behind. Both have room in the
	// socket's buffer.
	writeTimeout = 5 * time.Second
	eventTimeout = 20 * time.Millisecond

	// startTimeout bounds the start of a VMM up to its first answer, and
	// dialInterval is how often that is tried.
	startTimeout = 10 * time.Second
	dialInterval = 2 * time.Millisecond

	// armTimeout bounds the wait for the hand-off of a VMM that answers.
	armTimeout = 5 * time.Second

	// freezeTimeout bounds the stop of a guest whose page operation may wait
	// for a page; thawTimeout the way back.
	freezeTimeout = 10 * time.Second
	thawTimeout   = 10 * time.Second

	// exitGrace is how long a lost connection waits for the end of the VMM,
	// its usual cause.
	exitGrace = time.Second

	// killTimeout bounds the wait for the end of a killed VMM.
	killTimeout = 30 * time.Second
)
