package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// end stops the load, shows the numbers and the commit.
func (d *Demo) end(ctx context.Context) error {
	total, err := d.witness.Stop(ctx)
	d.witness = nil
	if err != nil {
		return err
	}
	d.summary.Requests, d.summary.BadAnswers = &total.Requests, &total.Bad
	long := total.Ended.Sub(total.Started)
	perSecond := float64(total.Requests) / long.Seconds()
	peak, err := d.memory.Peak()
	if err != nil {
		return err
	}
	d.summary.ControllerRSSMegabytes = &peak
	commit, err := d.bot.git(ctx, "show", "--stat", d.revert)
	if err != nil {
		return err
	}
	d.out.plain("\nThe numbers")
	if err := d.check(fmt.Sprintf("%.1f requests per second over %.0f s", perSecond, long.Seconds()), perSecond > 0.95*rate && perSecond < 1.05*rate,
		fmt.Sprintf("%d, give or take 5 %%", rate), fmt.Sprintf("%.1f", perSecond)); err != nil {
		return err
	}
	d.summary.Wall = seconds(time.Since(d.Started))
	table := d.summary.table()
	d.out.plain("")
	printTable(d.out.out, table)
	d.out.plain("  (verdict and weight: the API server's audit log; answers: the load generator; the commit: when the Git server,\n   asked ten times a second, first had it; memory: the kernel's resident set of the process, sampled)")
	d.out.plain("\nThe commit, as `git show --stat` prints it\n")
	d.out.quote(commit)
	return missed(table)
}

// evidence keeps what the cluster says when a claim did not hold.
func (d *Demo) evidence() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for file, command := range map[string][]string{
		"objects.yaml":   {"get", "rollouts,applications,analysisruns,httproutes,services,replicasets,pods", "-n", d.Namespace, "-o", "yaml"},
		"controller.log": {"logs", "-l", "app.kubernetes.io/name=tidegate", "--prefix", "-n", "tidegate-system", "--tail", "500"},
		"events.txt":     {"get", "events", "-n", d.Namespace, "--sort-by", ".lastTimestamp"},
	} {
		text, err := kubectl(ctx, "", command...)
		if err != nil {
			text = err.Error()
		}
		_ = os.WriteFile(filepath.Join(d.Results, file), []byte(text+"\n"), 0o644)
	}
	d.out.plain("          What the cluster said then is in %s: objects.yaml, events.txt, controller.log, load.jsonl.", d.Results)
}

// clean removes what the demo made. It has its own time, because the story's may be over.
func (d *Demo) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	if d.witness != nil {
		if total, err := d.witness.Stop(ctx); err == nil {
			d.summary.Requests, d.summary.BadAnswers = &total.Requests, &total.Bad
		}
	}
	if d.summary.Wall == nil {
		d.summary.Wall = seconds(time.Since(d.Started))
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	if !d.ours {
		return errors.Join(errs...)
	}
	if d.Keep {
		d.out.plain("kept: namespace %s, repository %s", d.Namespace, d.forge.Address())
		return errors.Join(errs...)
	}
	errs = append(errs, d.removeNamespace(ctx), d.forge.Remove(ctx))
	return errors.Join(errs...)
}
