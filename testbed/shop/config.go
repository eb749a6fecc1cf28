package main

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Behaviour is how the shop answers; all of it can be wrong on purpose.
type Behaviour struct {
	// ErrorRate is the share of requests that are answered with a 500, from 0 to 1.
	ErrorRate float64
	// Latency is waited before every answer.
	Latency time.Duration
}

// maxLatency keeps a mistyped number from looking like a hanging service.
const maxLatency = 60_000

// Config is what the environment says at the start.
type Config struct {
	Version    string
	ConfigFile string
	Behaviour  Behaviour
}

func readConfig(env func(string) string) (Config, error) {
	c := Config{Version: env("VERSION"), ConfigFile: env("CONFIG_FILE")}
	if c.Version == "" {
		c.Version = "unknown"
	}
	var err error
	if c.Behaviour.ErrorRate, err = parseErrorRate("ERROR_RATE", env("ERROR_RATE"), 0); err != nil {
		return Config{}, err
	}
	if c.Behaviour.Latency, err = parseLatency("LATENCY_MS", env("LATENCY_MS"), 0); err != nil {
		return Config{}, err
	}
	return c, nil
}

func parseErrorRate(name, text string, absent float64) (float64, error) {
	if text == "" {
		return absent, nil
	}
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(rate) || rate < 0 || rate > 1 {
		return 0, fmt.Errorf("%s is %q: allowed is a number from 0 to 1", name, text)
	}
	return rate, nil
}

func parseLatency(name, text string, absent time.Duration) (time.Duration, error) {
	if text == "" {
		return absent, nil
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 0 || ms > maxLatency {
		return 0, fmt.Errorf("%s is %q: allowed is a whole number of milliseconds from 0 to %d", name, text, maxLatency)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
