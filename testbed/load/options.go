package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"time"
)

const (
	// Bounds: this is a witness beside a test, not a tool against services.
	maxDuration = 30 * time.Minute
	maxRate     = 2000
)

// Options is a load that may be run: parse gives no other.
type Options struct {
	Target   *url.URL
	Host     string
	Rate     float64
	Duration time.Duration
	Timeout  time.Duration
}

func parse(args []string, usage io.Writer) (Options, error) {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(usage)
	target := flags.String("target", "", "`URL` to ask, on loopback only (required)")
	host := flags.String("host", "", "Host header, which a gateway routes by (default: the target's)")
	rate := flags.Float64("rate", 50, fmt.Sprintf("requests per second, at most %d", maxRate))
	duration := flags.Duration("duration", 0, fmt.Sprintf("how long, at most %v (required)", maxDuration))
	timeout := flags.Duration("timeout", 5*time.Second, "how long an answer may take")
	if err := flags.Parse(args); err != nil {
		return Options{}, err
	}
	o := Options{Host: *host, Rate: *rate, Duration: *duration, Timeout: *timeout}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not understood: there are only flags", flags.Arg(0))
	}
	if math.IsNaN(o.Rate) || o.Rate <= 0 || o.Rate > maxRate {
		return o, fmt.Errorf("--rate is %v: allowed is more than 0 and at most %d per second", o.Rate, maxRate)
	}
	if o.Duration <= 0 || o.Duration > maxDuration {
		return o, fmt.Errorf("--duration is %v: it is required, and allowed is more than 0 and at most %v", o.Duration, maxDuration)
	}
	if o.Timeout <= 0 {
		return o, fmt.Errorf("--timeout is %v: allowed is more than 0", o.Timeout)
	}
	var err error
	if o.Target, err = loopbackURL(*target); err != nil {
		return o, err
	}
	return o, nil
}

// loopbackURL refuses whatever is not plain http to this very machine. Only an address or "localhost" is taken, as a
// name may mean another machine by the time of the request.
func loopbackURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--target is not a URL: %w", err)
	}
	if u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("--target is %q: allowed is http://<loopback address>:<port>/<path>", text)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--target is %q: allowed are only loopback addresses (127.0.0.1, [::1], localhost)", text)
	}
	return u, nil
}

// onlyLoopback is asked for every connection, whatever "localhost" resolved to.
func onlyLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", address)
	}
	return nil
}
