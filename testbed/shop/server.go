package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Shop answers every path with who it is, as well or as badly as it was told to.
type Shop struct {
	version    string
	pod        string
	configFile string
	behaviour  atomic.Pointer[Behaviour]
	// chance is a number in [0, 1); a test brings its own.
	chance func() float64
}

func newShop(c Config, pod string) *Shop {
	s := &Shop{version: c.Version, pod: pod, configFile: c.ConfigFile, chance: rand.Float64}
	s.behaviour.Store(&c.Behaviour)
	return s
}

// Handler routes the three things that the shop knows.
func (s *Shop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("POST /fault", s.fault)
	mux.HandleFunc("/", s.answer)
	return mux
}

type answer struct {
	Version string `json:"version"`
	Pod     string `json:"pod"`
	Config  string `json:"config"`
	Error   string `json:"error,omitempty"`
}

func (s *Shop) answer(w http.ResponseWriter, r *http.Request) {
	b := s.behaviour.Load()
	if b.Latency > 0 {
		select {
		case <-time.After(b.Latency):
		case <-r.Context().Done():
			return
		}
	}
	a, status := answer{Version: s.version, Pod: s.pod}, http.StatusOK
	if s.configFile != "" {
		// Read each time: a ConfigMap's content may change below a running pod.
		content, err := os.ReadFile(s.configFile)
		if err != nil {
			a.Error, status = "CONFIG_FILE cannot be read: "+err.Error(), http.StatusInternalServerError
		}
		a.Config = strings.TrimRight(string(content), "\n")
	}
	if s.chance() < b.ErrorRate {
		a.Error, status = "injected by ERROR_RATE", http.StatusInternalServerError
	}
	s.write(w, status, a)
}

// fault changes this pod's behaviour; a parameter that is absent leaves its part alone.
func (s *Shop) fault(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "errorRate" && name != "latencyMs" {
			s.write(w, http.StatusBadRequest, answer{Version: s.version, Pod: s.pod, Error: name + " is unknown: allowed are errorRate and latencyMs"})
			return
		}
	}
	for {
		old := s.behaviour.Load()
		changed, err := *old, error(nil)
		if changed.ErrorRate, err = parseErrorRate("errorRate", q.Get("errorRate"), old.ErrorRate); err == nil {
			changed.Latency, err = parseLatency("latencyMs", q.Get("latencyMs"), old.Latency)
		}
		if err != nil {
			s.write(w, http.StatusBadRequest, answer{Version: s.version, Pod: s.pod, Error: err.Error()})
			return
		}
		if s.behaviour.CompareAndSwap(old, &changed) {
			break
		}
	}
	s.write(w, http.StatusOK, answer{Version: s.version, Pod: s.pod})
}

func (s *Shop) write(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	// On bad answers too: a witness shall know which version gave them.
	w.Header().Set("X-Version", s.version)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a)
}
