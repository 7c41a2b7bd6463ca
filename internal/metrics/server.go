package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Server serves the metrics of one migration. Observe may be called from any
// goroutine.
type Server struct {
	view     *view
	listener net.Listener
	http     *http.Server
	served   sync.WaitGroup
}

// listenError is an address that cannot be had.
type listenError struct {
	addr string
	err  error
}

func (e *listenError) Error() string {
	return fmt.Sprintf("listen for metrics at %s: %v", e.addr, e.err)
}

func (e *listenError) Unwrap() error { return e.err }

// Hint says what to do about it.
func (e *listenError) Hint() string {
	return "choose another --metrics HOST:PORT; each migration of a host needs a port of its own"
}

// Start serves the metrics of vm at addr, HOST:PORT; port 0 is a free one. side
// is "send" or "receive".
func Start(addr, vm, side string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address once more
	}
	if err != nil {
		return nil, &listenError{addr: addr, err: err}
	}
	view := newView(vm, side)
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{view, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, errors.Join(fmt.Errorf("register metrics: %w", err), listener.Close())
		}
	}
	log := slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn)
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: log, MaxRequestsInFlight: maxScrapes}))
	s := &Server{view: view, listener: listener, http: &http.Server{
		Handler: routes, ErrorLog: log, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
	}}
	s.served.Go(s.serve)
	return s, nil
}

func (s *Server) serve() {
	if err := s.http.Serve(netutil.LimitListener(s.listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		slog.Error("serve metrics", "error", err)
	}
}

// URL returns where the metrics are.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/metrics" }

// Observe takes what an event tells.
func (s *Server) Observe(e migrate.Event) { s.view.observe(e) }

// Close ends the server and its connections.
func (s *Server) Close() error {
	err := s.http.Close()
	s.served.Wait()
	return err
}
