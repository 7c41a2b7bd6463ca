package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// profiles serves profiles and traces of the engine's process, as `go tool
// pprof` reads them.
type profiles struct {
	listener net.Listener
	http     *http.Server
	served   sync.WaitGroup
}

// profileHeader bounds the wait for a request.
const profileHeader = 5 * time.Second

// startProfiles serves profiles if the job asks for them. A profile shows
// pieces of memory: it is for this host alone.
func startProfiles(job Job) (*profiles, error) {
	if job.PProf == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", job.PProf)
	if err != nil {
		return nil, fmt.Errorf("serve profiles: %w", err)
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("serve profiles at %s: it is not a loopback address", job.PProf), listener.Close())
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /debug/pprof/", pprof.Index)
	routes.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	p := &profiles{listener: listener, http: &http.Server{Handler: routes, ReadHeaderTimeout: profileHeader}}
	p.served.Go(func() {
		if err := p.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("serve profiles", "error", err)
		}
	})
	return p, nil
}

// tellProfiles tells the watchers where the profiles are.
func (e *engine) tellProfiles() {
	if e.profiles != nil {
		e.publish(migrate.EventMessage, migrate.Event{
			Event: migrate.EventMessage, Time: time.Now(), Message: "profiles are at http://" + e.profiles.listener.Addr().String() + "/debug/pprof/",
		})
	}
}

func (e *engine) endProfiles() {
	if e.profiles == nil {
		return
	}
	if err := e.profiles.http.Close(); err != nil {
		slog.Warn("end the profiles", "error", err)
	}
	e.profiles.served.Wait()
}
