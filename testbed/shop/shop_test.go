package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func ask(t *testing.T, s *Shop, method, target string) (int, answer, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s %s answered %q: %v", method, target, w.Body, err)
	}
	return w.Code, a, w.Header()
}

func TestAnswerNamesVersionPodAndConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("discount: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newShop(Config{Version: "2", ConfigFile: file}, "shop-abc")
	code, got, header := ask(t, s, "GET", "/any/path")
	want := answer{Version: "2", Pod: "shop-abc", Config: "discount: 5"}
	if code != 200 || got != want || header.Get("X-Version") != "2" {
		t.Errorf("got %d %+v %v, want 200 %+v", code, got, header, want)
	}
}

func TestMissingConfigFileIsAnError(t *testing.T) {
	s := newShop(Config{Version: "2", ConfigFile: "/does/not/exist"}, "pod")
	code, got, header := ask(t, s, "GET", "/")
	if code != 500 || !strings.Contains(got.Error, "CONFIG_FILE") || header.Get("X-Version") != "2" {
		t.Errorf("got %d %+v %v", code, got, header)
	}
}

func TestErrorRateDecidesByChance(t *testing.T) {
	s := newShop(Config{Version: "3", Behaviour: Behaviour{ErrorRate: 0.25}}, "pod")
	for chance, want := range map[float64]int{0: 500, 0.2499: 500, 0.25: 200, 0.99: 200} {
		s.chance = func() float64 { return chance }
		if code, _, header := ask(t, s, "GET", "/"); code != want || header.Get("X-Version") != "3" {
			t.Errorf("chance %v: got %d, want %d", chance, code, want)
		}
	}
}

func TestZeroNeverFailsAndOneAlwaysFails(t *testing.T) {
	for rate, want := range map[float64]int{0: 200, 1: 500} {
		s := newShop(Config{Behaviour: Behaviour{ErrorRate: rate}}, "pod")
		for range 200 {
			if code, _, _ := ask(t, s, "GET", "/"); code != want {
				t.Fatalf("rate %v: got %d, want %d", rate, code, want)
			}
		}
	}
}

func TestFaultChangesARunningShop(t *testing.T) {
	s := newShop(Config{Version: "1"}, "pod")
	if code, a, _ := ask(t, s, "POST", "/fault?errorRate=1&latencyMs=30"); code != 200 {
		t.Fatalf("got %d %+v", code, a)
	}
	began := time.Now()
	if code, _, _ := ask(t, s, "GET", "/"); code != 500 || time.Since(began) < 30*time.Millisecond {
		t.Errorf("got %d after %v", code, time.Since(began))
	}
	// An absent parameter leaves its part alone.
	ask(t, s, "POST", "/fault?errorRate=0")
	if b := s.behaviour.Load(); b.ErrorRate != 0 || b.Latency != 30*time.Millisecond {
		t.Errorf("got %+v", *b)
	}
}

func TestFaultRefusesBadValuesByName(t *testing.T) {
	for query, want := range map[string]string{
		"errorRate=2":             `errorRate is "2": allowed is a number from 0 to 1`,
		"errorRate=-0.1":          `errorRate is "-0.1": allowed is a number from 0 to 1`,
		"errorRate=NaN":           `errorRate is "NaN": allowed is a number from 0 to 1`,
		"errorRate=many":          `errorRate is "many": allowed is a number from 0 to 1`,
		"latencyMs=-1":            `latencyMs is "-1": allowed is a whole number of milliseconds from 0 to 60000`,
		"latencyMs=1.5":           `latencyMs is "1.5": allowed is a whole number of milliseconds from 0 to 60000`,
		"latencyMs=60001":         `latencyMs is "60001": allowed is a whole number of milliseconds from 0 to 60000`,
		"errorrate=1":             `errorrate is unknown: allowed are errorRate and latencyMs`,
		"errorRate=1&latencyMs=x": `latencyMs is "x": allowed is a whole number of milliseconds from 0 to 60000`,
	} {
		s := newShop(Config{}, "pod")
		code, a, _ := ask(t, s, "POST", "/fault?"+query)
		if code != 400 || a.Error != want {
			t.Errorf("%s: got %d %q, want 400 %q", query, code, a.Error, want)
		}
		if b := s.behaviour.Load(); *b != (Behaviour{}) {
			t.Errorf("%s: a refused request changed the behaviour to %+v", query, *b)
		}
	}
}

func TestEnvironment(t *testing.T) {
	read := func(pairs map[string]string) (Config, error) {
		return readConfig(func(name string) string { return pairs[name] })
	}
	got, err := read(map[string]string{"VERSION": "7", "ERROR_RATE": "0.5", "LATENCY_MS": "20", "CONFIG_FILE": "/c"})
	want := Config{Version: "7", ConfigFile: "/c", Behaviour: Behaviour{ErrorRate: 0.5, Latency: 20 * time.Millisecond}}
	if err != nil || got != want {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
	for name, value := range map[string]string{"ERROR_RATE": "50%", "LATENCY_MS": "fast"} {
		if _, err := read(map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), value) {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}

func TestStopDrainsAndFinishesAnswersUnderWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(Config{Version: "1", Behaviour: Behaviour{Latency: 300 * time.Millisecond}}, "pod")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, s.Handler(), 200*time.Millisecond) }()
	get := func(path string) error {
		r, err := http.Get("http://" + listener.Addr().String() + path)
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	stop()
	// New requests are still taken, and one that outlasts the drain time is answered.
	if err := get("/healthz"); err != nil {
		t.Errorf("health check while draining: %v", err)
	}
	if err := get("/"); err != nil {
		t.Errorf("request while draining: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve ended with %v", err)
	}
	if err := get("/healthz"); err == nil {
		t.Error("the shop still answers after its end")
	}
}
