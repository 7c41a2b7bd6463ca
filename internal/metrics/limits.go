package metrics

import "time"

const (
	// maxConnections bounds who is connected at once: one or two Prometheus
	// servers and a person with curl. Others wait.
	maxConnections = 16

	// maxScrapes bounds the answers that are made at once.
	maxScrapes = 4

	// headerTimeout and answerTimeout end a connection that dawdles,
	// idleTimeout one that is only kept: Prometheus comes each 15 to 60 s.
	headerTimeout = 5 * time.Second
	answerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute

	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10
)
