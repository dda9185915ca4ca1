package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Health answers GET /livez and /readyz. /livez says 200 as long as the process
// serves requests. /readyz says 200 when every condition is met, else 503 with
// one line per condition that is not; before any condition was set it says 503.
// Safe for concurrent use; the zero value is usable.
type Health struct {
	mu         sync.Mutex
	conditions map[string]error
}

// Set states a condition of readiness: nil is met, an error says why not. Keep
// the text free of secrets, it is shown to whoever can reach the address.
func (h *Health) Set(condition string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conditions == nil {
		h.conditions = map[string]error{}
	}
	h.conditions[condition] = err
}

// Ready joins the reasons of the conditions that are not met, sorted by name; nil
// when all are.
func (h *Health) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conditions) == 0 {
		return errors.New("starting")
	}
	var unmet []error
	for _, name := range slices.Sorted(maps.Keys(h.conditions)) {
		if err := h.conditions[name]; err != nil {
			unmet = append(unmet, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(unmet...)
}

// Handler serves the two paths.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.Ready()) })
	return mux
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err) // a client that went away needs no answer
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Serve answers HTTP on address ("127.0.0.1:8080") until ctx is cancelled, then
// gives running requests a moment and returns nil. bound, when not nil, is told
// the address once it is listened on: port 0 draws a free one.
func Serve(ctx context.Context, address string, handler http.Handler, bound func(net.Addr)) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve http on %s: %w", address, err)
	}
	if bound != nil {
		bound(ln.Addr())
	}
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		// A request that lasts, such as a stream of events, is to end with us.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		shutdown(ctx, srv)
	})
	err = srv.Serve(ln)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http on %s: %w", address, err)
}

func shutdown(ctx context.Context, srv *http.Server) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if srv.Shutdown(bounded) != nil {
		_ = srv.Close() // what would not end in time is cut
	}
}
