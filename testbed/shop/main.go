// Command shop is the service that demonstrations and tests release: it says which version and pod answered, and
// fails as often and as slowly as it is told.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// drain is how long the shop keeps accepting after SIGTERM: a gateway needs that to hear of the pod's end.
	drain = 2 * time.Second
	// finish bounds the wait for answers under way; with drain it stays below Kubernetes' usual 30 s.
	finish = 20 * time.Second
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func start() error {
	config, err := readConfig(os.Getenv)
	if err != nil {
		return err
	}
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	fmt.Printf("shop %s serves on %s\n", config.Version, listener.Addr())
	return serve(ctx, listener, newShop(config, pod).Handler(), drain)
}

// serve answers until the context ends, goes on for the drain time, and lets answers under way finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, drain time.Duration) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	time.Sleep(drain)
	limit, cancel := context.WithTimeout(context.Background(), finish)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		return fmt.Errorf("failed to finish answers under way: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
