package agent

import (
	"log/slog"
	"time"

	"github.com/lazymig/lazymig/internal/metrics"
	"github.com/lazymig/lazymig/internal/migrate"
)

// startMetrics serves metrics if the job asks for them.
func startMetrics(job Job) (*metrics.Server, error) {
	if job.Metrics == "" {
		return nil, nil
	}
	return metrics.Start(job.Metrics, job.VM, string(job.Kind))
}

// tellMetrics tells the watchers where the metrics are.
func (e *engine) tellMetrics() {
	if e.metrics != nil {
		e.publish(migrate.EventMessage, migrate.Event{
			Event: migrate.EventMessage, Time: time.Now(), Message: "metrics are at " + e.metrics.URL(),
		})
	}
}

// observe shows an event to the metrics.
func (e *engine) observe(event any) {
	if told, ok := event.(migrate.Event); ok && e.metrics != nil {
		e.metrics.Observe(told)
	}
}

func (e *engine) endMetrics() {
	if e.metrics == nil {
		return
	}
	if err := e.metrics.Close(); err != nil {
		slog.Warn("end the metrics", "error", err)
	}
}
