package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Answers counts by "<version>/<status>", as the load generator writes it.
type Answers map[string]int

// Total is how many requests were answered, or not.
func (a Answers) Total() int {
	n := 0
	for _, count := range a {
		n += count
	}
	return n
}

// Of is how many came from a version, well or badly.
func (a Answers) Of(version string) int {
	n := 0
	for key, count := range a {
		if of, _ := split(key); of == version {
			n += count
		}
	}
	return n
}

// Bad is how many were bad: a status from 400 up, or no answer. With a version, only of that one.
func (a Answers) Bad(versions ...string) int {
	n := 0
	for key, count := range a {
		version, status := split(key)
		if status < 400 {
			continue
		}
		if len(versions) == 0 {
			n += count
		}
		for _, of := range versions {
			if of == version {
				n += count
			}
		}
	}
	return n
}

// split takes a key apart; no answer counts as status 999.
func split(key string) (version string, status int) {
	version, text, _ := strings.Cut(key, "/")
	status, err := strconv.Atoi(text)
	if err != nil {
		return version, 999
	}
	return version, status
}

// Second is what was answered in the second before At.
type Second struct {
	At time.Time
	By Answers
}

// Total is the load generator's last line.
type Total struct {
	Started  time.Time
	Ended    time.Time
	Requests int
	Bad      int
	By       Answers
}

// loadLine is any line of the load generator.
type loadLine struct {
	At       time.Time `json:"at"`
	By       Answers   `json:"by"`
	FirstBad *struct {
		Version string    `json:"version"`
		At      time.Time `json:"at"`
	} `json:"first_bad"`
	Summary *struct {
		Started  time.Time `json:"started"`
		Ended    time.Time `json:"ended"`
		Requests int       `json:"requests"`
		Bad      int       `json:"bad"`
		By       Answers   `json:"by"`
	} `json:"summary"`
}

// Witness is the load generator: a process of its own that asks through the gateway and writes down who answered how.
type Witness struct {
	process *exec.Cmd
	done    chan struct{}

	mu       sync.Mutex
	seconds  []Second
	firstBad map[string]time.Time
	total    *Total
	err      error
}

// startWitness begins to ask; it ends by itself after the duration, with Stop, and when this program dies.
func startWitness(binary, target, host string, rate int, duration time.Duration, keep string) (*Witness, error) {
	file, err := os.Create(keep)
	if err != nil {
		return nil, err
	}
	command := exec.Command(binary, "--target", target, "--host", host, "--rate", strconv.Itoa(rate), "--duration", duration.String())
	// Not of the terminal's group: a ctrl-C reaches it through us, at the end of the story.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w := &Witness{process: command, done: make(chan struct{}), firstBad: map[string]time.Time{}}
	started := make(chan error)
	go func() {
		// The kernel sends its signal when the thread ends that started the process; so this one stays.
		runtime.LockOSThread()
		defer close(w.done)
		defer file.Close()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		w.read(io.TeeReader(out, file))
		if err := command.Wait(); err != nil {
			w.fail(fmt.Errorf("the load generator ended: %w", err))
		}
	}()
	return w, <-started
}

func (w *Witness) read(lines io.Reader) {
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		if err := w.take(scanner.Bytes()); err != nil {
			w.fail(err)
		}
	}
	if err := scanner.Err(); err != nil {
		w.fail(err)
	}
}

// take reads one line.
func (w *Witness) take(text []byte) error {
	var line loadLine
	if err := json.Unmarshal(text, &line); err != nil {
		return fmt.Errorf("not a line of the load generator: %q: %w", text, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case line.FirstBad != nil:
		w.firstBad[line.FirstBad.Version] = line.FirstBad.At
	case line.Summary != nil:
		w.total = (*Total)(line.Summary)
	default:
		w.seconds = append(w.seconds, Second{At: line.At, By: line.By})
	}
	return nil
}

func (w *Witness) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// Between sums the seconds that lie wholly between two times; the zero time is no bound. covered says until when the
// witness has told everything.
func (w *Witness) Between(from, to time.Time) (sum Answers, covered time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum = Answers{}
	for _, second := range w.seconds {
		covered = second.At
		if second.At.Add(-time.Second).Before(from) || (!to.IsZero() && second.At.After(to)) {
			continue
		}
		for key, count := range second.By {
			sum[key] += count
		}
	}
	return sum, covered
}

// FirstBad is when the first bad answer of a version arrived.
func (w *Witness) FirstBad(version string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.firstBad[version]
	return at, ok
}

// Err is what went wrong with the witness itself.
func (w *Witness) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the load and gives its last line.
func (w *Witness) Stop(ctx context.Context) (Total, error) {
	_ = w.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.done:
	case <-ctx.Done():
		_ = w.process.Process.Kill()
		<-w.done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return Total{}, w.err
	}
	if w.total == nil {
		return Total{}, fmt.Errorf("the load generator ended without its summary")
	}
	return *w.total, nil
}
