package main

import (
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"time"
)

// instant is RFC 3339 with milliseconds, in UTC: comparable with the API server's audit log as text.
const instant = "2006-01-02T15:04:05.000Z07:00"

func stamp(t time.Time) string { return t.UTC().Format(instant) }

// second is the line of one second: what was answered in it.
type second struct {
	At       string         `json:"at"`
	Requests int            `json:"requests"`
	By       map[string]int `json:"by"`
}

// firstBad is the moment at which the first bad answer of a version arrived.
type firstBad struct {
	Version string `json:"version"`
	Status  string `json:"status"`
	At      string `json:"at"`
}

// summary is the last line.
type summary struct {
	Started  string            `json:"started"`
	Ended    string            `json:"ended"`
	Requests int               `json:"requests"`
	Bad      int               `json:"bad"`
	By       map[string]int    `json:"by"`
	FirstBad map[string]string `json:"first_bad"`
}

// Record counts answers and writes the lines. It is used from many goroutines.
type Record struct {
	mu      sync.Mutex
	out     *json.Encoder
	current second
	total   summary
	err     error
}

func newRecord(out io.Writer, started time.Time) *Record {
	return &Record{
		out:     json.NewEncoder(out),
		current: second{By: map[string]int{}},
		total:   summary{Started: stamp(started), By: map[string]int{}, FirstBad: map[string]string{}},
	}
}

// Answer counts one answer: a status from 400 up is bad, and so is none at all (status 0, a transport error).
func (r *Record) Answer(version string, status int, at time.Time) {
	outcome := "error"
	if status == 0 {
		version = ""
	} else {
		outcome = strconv.Itoa(status)
	}
	if version == "" {
		version = "none"
	}
	key := version + "/" + outcome
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.Requests++
	r.current.By[key]++
	r.total.Requests++
	r.total.By[key]++
	if status != 0 && status < 400 {
		return
	}
	r.total.Bad++
	if _, known := r.total.FirstBad[version]; !known {
		r.total.FirstBad[version] = stamp(at)
		r.write(map[string]firstBad{"first_bad": {Version: version, Status: outcome, At: stamp(at)}})
	}
}

// Second writes the line of the second that ends now.
func (r *Record) Second(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.At = stamp(at)
	r.write(r.current)
	r.current = second{By: map[string]int{}}
}

// Summary writes the rest and the last line, and returns the first error of writing.
func (r *Record) Summary(at time.Time) error {
	r.mu.Lock()
	rest := r.current.Requests > 0
	r.mu.Unlock()
	if rest {
		r.Second(at)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Ended = stamp(at)
	r.write(map[string]summary{"summary": r.total})
	return r.err
}

func (r *Record) write(line any) {
	if err := r.out.Encode(line); err != nil && r.err == nil {
		r.err = err
	}
}
