package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnlyLoopbackIsATarget(t *testing.T) {
	for _, target := range []string{"http://127.0.0.1:80/", "http://127.8.8.8:1", "http://[::1]:80/x", "http://localhost:8080/"} {
		if _, err := loopbackURL(target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []string{
		"", "127.0.0.1:80", "https://127.0.0.1/", "http://10.244.0.1/", "http://0.0.0.0:80/", "http://example.com/", "http://127.0.0.1.example.com/",
		"http://127.0.0.1@example.com/", "http:///path", "http://[::]/", "http://2130706433/", "ftp://127.0.0.1/",
	} {
		if _, err := loopbackURL(target); err == nil {
			t.Errorf("%q was taken", target)
		}
	}
	for address, allowed := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "93.184.216.34:80": false, "0.0.0.0:80": false} {
		if err := onlyLoopback(address); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestOptionsAreBounded(t *testing.T) {
	good := []string{"--target", "http://127.0.0.1:1/", "--duration", "10s", "--rate", "2000", "--host", "shop.example"}
	o, err := parse(good, io.Discard)
	if err != nil || o.Rate != 2000 || o.Duration != 10*time.Second || o.Host != "shop.example" {
		t.Errorf("got %+v %v", o, err)
	}
	for _, bad := range [][]string{
		{"--target", "http://127.0.0.1:1/"},
		{"--target", "http://127.0.0.1:1/", "--duration", "31m"},
		{"--target", "http://127.0.0.1:1/", "--duration", "-1s"},
		{"--target", "http://127.0.0.1:1/", "--duration", "1s", "--rate", "2001"},
		{"--target", "http://127.0.0.1:1/", "--duration", "1s", "--rate", "0"},
		{"--target", "http://127.0.0.1:1/", "--duration", "1s", "--rate", "NaN"},
		{"--target", "http://127.0.0.1:1/", "--duration", "1s", "--timeout", "0"},
		{"--target", "http://127.0.0.1:1/", "--duration", "1s", "more"},
		{"--duration", "1s"},
	} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

type line struct {
	At       string
	Requests int
	By       map[string]int
	FirstBad *firstBad `json:"first_bad"`
	Summary  *summary
}

func load(t *testing.T, ctx context.Context, handler http.HandlerFunc, o Options) (seconds []line, firsts []firstBad, last summary) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	if o.Target == nil {
		o.Target, _ = url.Parse(server.URL)
	}
	var out bytes.Buffer
	if err := run(ctx, o, &out); err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch {
		case l.FirstBad != nil:
			firsts = append(firsts, *l.FirstBad)
		case l.Summary != nil:
			last = *l.Summary
		default:
			seconds = append(seconds, l)
		}
	}
	if last.Started == "" {
		t.Fatalf("no summary in %q", out.String())
	}
	return seconds, firsts, last
}

func TestCountsByVersionAndStatusAndTellsTheFirstBadOnce(t *testing.T) {
	var n atomic.Int64
	began := time.Now().Add(-time.Second)
	seconds, firsts, last := load(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" {
			t.Errorf("host %q", r.Host)
		}
		if n.Add(1)%2 == 0 {
			w.Header().Set("X-Version", "2")
			w.WriteHeader(500)
			return
		}
		w.Header().Set("X-Version", "1")
	}, Options{Host: "shop.example", Rate: 100, Duration: 1300 * time.Millisecond, Timeout: time.Second})

	if last.Requests < 120 || last.Requests > 131 {
		t.Errorf("sent %d in 1.3 s at 100/s", last.Requests)
	}
	if last.By["1/200"]+last.By["2/500"] != last.Requests || last.Bad != last.By["2/500"] || last.Bad != last.Requests/2 {
		t.Errorf("summary %+v", last)
	}
	if len(firsts) != 1 || firsts[0].Version != "2" || firsts[0].Status != "500" || last.FirstBad["2"] != firsts[0].At {
		t.Errorf("first bad %+v, summary %+v", firsts, last.FirstBad)
	}
	at, err := time.Parse(time.RFC3339, firsts[0].At)
	if err != nil || at.Before(began) || at.After(time.Now()) || !strings.Contains(firsts[0].At, ".") {
		t.Errorf("first bad at %q", firsts[0].At)
	}
	sum := 0
	for _, s := range seconds {
		sum += s.Requests
	}
	if sum != last.Requests || len(seconds) != 2 {
		t.Errorf("%d seconds with %d requests, summary %d", len(seconds), sum, last.Requests)
	}
}

func TestSlowAnswersDoNotLowerTheRate(t *testing.T) {
	_, _, last := load(t, t.Context(), func(http.ResponseWriter, *http.Request) { time.Sleep(300 * time.Millisecond) },
		Options{Rate: 100, Duration: 500 * time.Millisecond, Timeout: 2 * time.Second})
	if last.Requests < 45 || last.Bad != 0 || last.By["none/200"] != last.Requests {
		t.Errorf("got %+v", last)
	}
}

func TestNoAnswerIsAnErrorOfNoVersion(t *testing.T) {
	closed, _ := url.Parse("http://127.0.0.1:1/")
	_, firsts, last := load(t, t.Context(), nil, Options{Target: closed, Rate: 50, Duration: 200 * time.Millisecond, Timeout: time.Second})
	if last.Requests == 0 || last.By["none/error"] != last.Requests || len(firsts) != 1 || firsts[0].Version != "none" {
		t.Errorf("got %+v %+v", last, firsts)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	_, _, last := load(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.com/", http.StatusFound)
	},
		Options{Rate: 20, Duration: 100 * time.Millisecond, Timeout: time.Second})
	if last.By["none/302"] != last.Requests {
		t.Errorf("got %+v", last)
	}
}

func TestAnInterruptionEndsWithTheSummary(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, last := load(t, ctx, func(http.ResponseWriter, *http.Request) {}, Options{Rate: 50, Duration: time.Minute, Timeout: time.Second})
	if time.Since(began) > 5*time.Second || last.Requests == 0 {
		t.Errorf("after %v: %+v", time.Since(began), last)
	}
}
