package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

//go:embed page.html
var document string

// policy admits the page's own two blocks, and requests to where it came from.
var policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; " +
	"img-src data:; script-src " + hashOf("script") + "; style-src " + hashOf("style")

// hashOf is the CSP source of the document's one block of this kind.
func hashOf(tag string) string {
	_, rest, _ := strings.Cut(document, "<"+tag+">")
	block, _, _ := strings.Cut(rest, "</"+tag+">")
	sum := sha256.Sum256([]byte(block))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Handler serves the page at /, its data at /state and, as they change, at /events.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /state", p.current)
	mux.HandleFunc("GET /events", p.stream)
	return mux
}

func harden(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (*Page) index(w http.ResponseWriter, _ *http.Request) {
	harden(w.Header(), "text/html; charset=utf-8")
	_, _ = w.Write([]byte(document)) // a client that went away needs no answer
}

// firstLook is how long a first request waits for the first round of questions.
const firstLook = 5 * time.Second

// current is for programs, and for browsers without server-sent events.
func (p *Page) current(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		tooMany(w)
		return
	}
	defer p.leave()
	late := time.NewTimer(firstLook)
	defer late.Stop()
	for {
		state, changed := p.state()
		if state != nil {
			harden(w.Header(), "application/json")
			_, _ = w.Write(state)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-late.C:
			http.Error(w, "nothing is known yet", http.StatusServiceUnavailable)
			return
		case <-changed:
		}
	}
}

func tooMany(w http.ResponseWriter) {
	http.Error(w, fmt.Sprintf("%d viewers are looking already", mostViewers), http.StatusServiceUnavailable)
}

const (
	// beat is the longest silence, writeTime how long a browser may take for a message.
	beat      = 15 * time.Second
	writeTime = 10 * time.Second
)

// stream sends the model whenever it changes. Each message is the whole of it: a
// browser that missed one has missed nothing.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		tooMany(w)
		return
	}
	defer p.leave()
	harden(w.Header(), "text/event-stream")
	out := http.NewResponseController(w)
	send := func(text string) bool {
		// The server's own limit is for answers that end.
		if err := out.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return false
		}
		_, err := w.Write([]byte(text))
		return err == nil && out.Flush() == nil
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var sent []byte
	for more := send("retry: 2000\n\n"); more; {
		state, changed := p.state()
		if !bytes.Equal(state, sent) {
			if sent = state; !send("data: " + string(state) + "\n\n") {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-tick.C:
			more = send(": still here\n\n")
		}
	}
}
