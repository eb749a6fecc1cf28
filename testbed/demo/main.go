// Command demo tells Tidegate's main job as it happens, on the testbed: a good release is let in step by step, a bad one
// is caught, its traffic goes back, its commit is reverted, and its content stays out. What it says it has checked from
// outside: with the load generator, the API server's audit log, git and kubectl.
//
// It ends with 0 when every claim held, with 1 when one did not, and with 130 when it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Environment is what the testbed's env file says.
type Environment struct {
	Tools, AuditLog, ShopImage, GatewayURL, Gateway              string
	Prometheus                                                   string
	ForgeURL, ForgeClusterURL, ForgeCA, ForgeUser, ForgePassword string
}

func readEnvironment(env func(string) string) (Environment, error) {
	var e Environment
	var missing []string
	for name, into := range map[string]*string{
		"TIDEGATE_TOOLS": &e.Tools, "TIDEGATE_AUDIT_LOG": &e.AuditLog, "TIDEGATE_SHOP_IMAGE": &e.ShopImage,
		"TIDEGATE_GATEWAY_URL": &e.GatewayURL, "TIDEGATE_GATEWAY": &e.Gateway, "TIDEGATE_PROMETHEUS_CLUSTER_URL": &e.Prometheus,
		"TIDEGATE_FORGE_URL": &e.ForgeURL, "TIDEGATE_FORGE_CLUSTER_URL": &e.ForgeClusterURL, "TIDEGATE_FORGE_CA": &e.ForgeCA,
		"TIDEGATE_FORGE_USER": &e.ForgeUser, "TIDEGATE_FORGE_PASSWORD": &e.ForgePassword,
	} {
		if *into = env(name); *into == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return e, fmt.Errorf("not set: %s; the testbed's env file sets them", strings.Join(missing, ", "))
	}
	return e, nil
}

// Options are the flags.
type Options struct {
	Namespace, Manifests, Results string
	Started                       time.Time
	Keep                          bool
	// Controller is who it is in the audit log, Process its process; 0: those of its pods.
	Controller string
	Process    int
}

func parse(args []string, usage io.Writer) (Options, error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(usage)
	var o Options
	flags.StringVar(&o.Namespace, "namespace", "shop", "`namespace` of the story; it is made, and deleted at the end")
	flags.StringVar(&o.Manifests, "manifests", "demo", "`folder` with cluster/ and production/")
	flags.StringVar(&o.Results, "results", "target/demo", "`folder` that summary.json and what was seen go to")
	started := flags.Int64("started", time.Now().UnixMilli(), "when the demo began, in `milliseconds` since 1970")
	flags.BoolVar(&o.Keep, "keep", false, "leave the namespace and the repository as they are at the end")
	flags.StringVar(&o.Controller, "controller-user", "system:serviceaccount:tidegate-system:tidegate", "`user` that the controller is in the audit log")
	flags.IntVar(&o.Process, "controller-process", 0, "`pid` of a controller that runs beside the cluster and not in it")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not understood: there are only flags", flags.Arg(0))
	}
	if !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$`).MatchString(o.Namespace) {
		return o, fmt.Errorf("--namespace is %q: allowed are at most 42 of a-z, 0-9 and '-'", o.Namespace)
	}
	o.Started = time.UnixMilli(*started)
	return o, nil
}

// Teller writes the story, one line per event, with the seconds since the beginning.
type Teller struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func (t *Teller) at(when time.Time, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%7.1f s  %s\n", when.Sub(t.began).Seconds(), fmt.Sprintf(format, args...))
}

func (t *Teller) say(format string, args ...any) { t.at(time.Now(), format, args...) }

// plain is text without a time, indented like the rest.
func (t *Teller) plain(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *Teller) quote(text string) {
	t.plain("%s", "            | "+strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n            | "))
}

func main() {
	options, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	environment, missing := readEnvironment(os.Getenv)
	if err == nil {
		err = missing
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	code := run(ctx, options, environment, os.Stdout)
	cancel()
	os.Exit(code)
}

// run tells the story, cleans up whatever happened, and gives the exit code.
func run(ctx context.Context, o Options, e Environment, out io.Writer) int {
	d := &Demo{
		Options: o, Environment: e, out: &Teller{out: out, began: o.Started},
		host: o.Namespace + ".example", known: map[string]bool{},
	}
	err := d.tell(ctx)
	interrupted := ctx.Err() != nil
	if err != nil && !interrupted {
		d.out.plain("\nFAILED    %s", err)
		if d.ours {
			d.evidence()
		}
	}
	if interrupted {
		d.out.plain("\ninterrupted")
	}
	if cleaning := d.clean(); cleaning != nil {
		d.out.plain("FAILED    to clean up: %s", cleaning)
		err = errors.Join(err, cleaning)
	}
	path := filepath.Join(o.Results, "summary.json")
	if writing := d.summary.write(path); writing != nil {
		d.out.plain("FAILED    to write the summary: %s", writing)
		err = errors.Join(err, writing)
	}
	switch {
	case interrupted:
		return 130
	case err != nil:
		return 1
	}
	d.out.plain("\nEvery claim held. The numbers are in %s.", path)
	return 0
}
