// Command load is the witness of tests and demonstrations: it asks at a constant rate, whatever the answers are like
// (open loop: a slow service gets no fewer requests), and writes down which version answered how, and when.
//
// Standard output is one JSON object per line:
//
//	{"at": "...", "requests": 50, "by": {"<version>/<status>": 50}}     each second; without an answer: "none/error"
//	{"first_bad": {"version": "...", "status": "500", "at": "..."}}      once per version
//	{"summary": {...}}                                                  at the end, also after SIGTERM or SIGINT
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	options, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	if err := run(ctx, options, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o Options, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	client := newClient(o)
	started := time.Now()
	record := newRecord(out, started)

	ticking := make(chan struct{})
	go func() {
		defer close(ticking)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case at := <-ticker.C:
				record.Second(at)
			case <-ctx.Done():
				return
			}
		}
	}()

	var underWay sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for sent := 0; ; sent++ {
		// From the start, not from the request before: being late once does not lower the rate.
		timer.Reset(time.Until(started.Add(time.Duration(float64(sent) / o.Rate * float64(time.Second)))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			<-ticking
			underWay.Wait()
			return record.Summary(time.Now())
		}
		if ctx.Err() != nil {
			continue
		}
		underWay.Go(func() {
			version, status := ask(client, o)
			record.Answer(version, status, time.Now())
		})
	}
}

// newClient makes the client: no proxy, no redirects, and no connection that leaves the machine.
func newClient(o Options) *http.Client {
	dialer := &net.Dialer{
		Timeout: o.Timeout,
		Control: func(_, address string, _ syscall.RawConn) error { return onlyLoopback(address) },
	}
	return &http.Client{
		Timeout:       o.Timeout,
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 512, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask sends one request: the version that answered and the status, or 0 when there was no whole answer. Requests under
// way are not cut off at the end of the load, because a request that was given up would look like a failure.
func ask(client *http.Client, o Options) (version string, status int) {
	request, err := http.NewRequest(http.MethodGet, o.Target.String(), nil)
	if err != nil {
		return "", 0
	}
	request.Host = o.Host
	response, err := client.Do(request)
	if err != nil {
		return "", 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "", 0
	}
	return response.Header.Get("X-Version"), response.StatusCode
}
