package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// badRelease: version 3, and what becomes of it.
func (d *Demo) badRelease(ctx context.Context) error {
	writes, err := d.audit.Since(time.Time{})
	if err != nil {
		return err
	}
	weights := weightsIn(writes, d.Controller)
	if rest := time.Until(weights[len(weights)-1].At.Add(window + time.Second)); rest > 0 {
		d.out.say("first %.0f s of quiet, so that the analysis's window of 15 s holds no answers of version 2", rest.Seconds())
		sleep(ctx, rest)
	}
	began := time.Now()
	d.version.Store("3")
	if d.bad, err = d.commit(ctx, "3", errorShare, "shop: version 3"); err != nil {
		return err
	}
	if err := d.wait(ctx, 45*time.Second, "version 3 gets 10 % of the traffic", func() (bool, string, error) {
		writes, err := d.audit.Since(began)
		return len(weightsIn(writes, d.Controller)) > 0, "no weight was set", err
	}); err != nil {
		return err
	}
	unrelated, err := d.unrelated(ctx)
	if err != nil {
		return err
	}
	verdict, zero, err := d.caught(ctx, began)
	if err != nil {
		return err
	}
	reverted, before, err := d.reverted(ctx, verdict.At)
	if err != nil {
		return err
	}
	if err := d.revertIsRight(ctx, reverted, before, unrelated); err != nil {
		return err
	}
	if err := d.agreed(ctx); err != nil {
		return err
	}
	return d.damage(ctx, began, zero.At)
}

// unrelated is a colleague's push of something else to the same branch.
func (d *Demo) unrelated(ctx context.Context) (string, error) {
	if err := d.colleague.Pull(ctx); err != nil {
		return "", err
	}
	commit, err := d.colleague.Push(ctx, "other: say who is on call", map[string]string{otherFile: "# Another team's directory\n\nOn call: Jo\n"})
	if err != nil {
		return "", err
	}
	d.known[commit] = true
	d.out.say("meanwhile %s pushes %.10s \"other: say who is on call\" to the same branch", colleague.Name, commit)
	return commit, nil
}

// caught waits for the verdict and for weight 0, as the audit log has them.
func (d *Demo) caught(ctx context.Context, began time.Time) (verdict, zero Write, err error) {
	var weights []Write
	err = d.wait(ctx, 2*time.Minute, "version 3 is caught and its traffic goes back", func() (bool, string, error) {
		writes, err := d.audit.Since(began)
		var failed bool
		verdict, failed = verdictIn(writes)
		weights = weightsIn(writes, d.Controller)
		zero = weights[len(weights)-1]
		return failed && zero.Weight == 0, fmt.Sprintf("verdict Failed: %v; weights %s", failed, weightList(weights)), err
	})
	if err != nil {
		return verdict, zero, err
	}
	// By chance, seldom, the first half minute looks well enough for 50 %.
	list := weightList(weights)
	if err := d.check("the audit log has the weights "+list+", and the verdict before the last", (list == "10, 0" || list == "10, 50, 0") && !zero.At.Before(verdict.At),
		"10 and then 0 (by chance 50 between them), after the verdict", fmt.Sprintf("%s; weight 0 came %v after the verdict", list, zero.At.Sub(verdict.At))); err != nil {
		return verdict, zero, err
	}
	first, ok := d.witness.FirstBad("3")
	if err := d.check("the load generator saw version 3 fail before that", ok && first.Before(zero.At), "a bad answer of version 3 before weight 0", first.String()); err != nil {
		return verdict, zero, err
	}
	d.summary.FirstBadToWeightZero = seconds(zero.At.Sub(first))
	d.summary.VerdictToWeightZero = seconds(zero.At.Sub(verdict.At))
	return verdict, zero, nil
}

func seconds(long time.Duration) *float64 {
	s := float64(long.Milliseconds()) / 1000
	return &s
}

// reverted waits for a commit on the branch that no person made. When it came is taken from the Git server, asked ten
// times a second: the commit's own date is that of the failure.
func (d *Demo) reverted(ctx context.Context, verdict time.Time) (seen Seen, before string, err error) {
	err = d.wait(ctx, 30*time.Second, "the revert commit appears on main", func() (bool, string, error) {
		var ok bool
		seen, before, ok = d.tips.Other(d.known)
		return ok, "main has only commits of people" + d.applicationSays(ctx), nil
	})
	if err != nil {
		return seen, before, err
	}
	d.revert = seen.Commit
	d.summary.RevertCommit = &d.revert
	d.summary.VerdictToCommit = seconds(seen.At.Sub(verdict))
	if first, ok := d.witness.FirstBad("3"); ok {
		d.summary.firstBadToCommit = seconds(seen.At.Sub(first))
	}
	d.out.at(seen.At, "the revert commit %.10s is on main", seen.Commit)
	return seen, before, nil
}

// revertIsRight looks at the commit with git.
func (d *Demo) revertIsRight(ctx context.Context, seen Seen, before, unrelated string) error {
	if err := d.bot.Pull(ctx); err != nil {
		return err
	}
	git := func(args ...string) string {
		out, err := d.bot.git(ctx, args...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	parents := git("show", "-s", "--format=%P", seen.Commit)
	if err := d.check("its one parent is the colleague's commit, which was the tip", parents == before && parents == unrelated, "one parent: "+unrelated, parents); err != nil {
		return err
	}
	history := git("log", "--format=%H", "main")
	wanted := strings.Join([]string{seen.Commit, unrelated, d.bad, d.good}, "\n")
	if err := d.check("main is one straight line: version 2, version 3, the colleague, the revert", strings.HasPrefix(history, wanted), wanted, history); err != nil {
		return err
	}
	changed := git("diff", "--name-only", seen.Commit+"^", seen.Commit)
	if err := d.check("it changes "+changed+" and nothing else", changed == path+"/rollout.yaml", path+"/rollout.yaml", changed); err != nil {
		return err
	}
	is, was := git("rev-parse", seen.Commit+":"+path), git("rev-parse", d.good+":"+path)
	if err := d.check(path+" is again, to the byte, what version 2 had", is == was, "tree "+was, "tree "+is); err != nil {
		return err
	}
	if err := d.check("the colleague's change survived", strings.Contains(git("show", seen.Commit+":"+otherFile), "On call: Jo"), "the line in "+otherFile, git("show", seen.Commit+":"+otherFile)); err != nil {
		return err
	}
	return d.oneOfOurs(ctx)
}

// oneOfOurs: main has exactly one commit of Tidegate's, and it names the commit that failed.
func (d *Demo) oneOfOurs(ctx context.Context) error {
	ours, err := d.bot.git(ctx, "log", "--format=%H %(trailers:key=Tidegate-Failed-Commit,valueonly,separator=%x20)", "--author=tidegate@example.com", "main")
	if err != nil {
		return err
	}
	wanted := d.revert + " " + d.bad
	return d.check("main has one commit of Tidegate's, which names the commit that failed", ours == wanted, wanted, ours)
}

// agreed: cluster and Git say the same.
func (d *Demo) agreed(ctx context.Context) error {
	if err := d.wait(ctx, 45*time.Second, "cluster and Git agree again", func() (bool, string, error) {
		a, err := d.application(ctx)
		if err != nil {
			return false, "", err
		}
		r, err := d.rollout(ctx)
		if err != nil {
			return false, "", err
		}
		agree := a.Status.Revision.Commit == d.revert && a.Status.Sync.Status == "Synced" &&
			r.Status.Phase == "Healthy" && r.Spec.Template.Version() == "2"
		return agree, "Rollout with version " + r.Spec.Template.Version() + " " + r.says() + "; Application " + a.says(), nil
	}); err != nil {
		return err
	}
	d.out.say("  checked: cluster and Git agree again: kubectl shows the revert applied, the Rollout Healthy with version 2")
	return nil
}

// damage: who got bad answers, and until when.
func (d *Demo) damage(ctx context.Context, began, zero time.Time) error {
	if err := d.observed(ctx, zero.Add(settle+5*time.Second)); err != nil {
		return err
	}
	all, _ := d.witness.Between(began, time.Time{})
	if err := d.check(fmt.Sprintf("%d of %d answers were bad, and only those of the canary", all.Bad(), all.Total()),
		all.Bad() > 0 && all.Bad() == all.Bad("3"), "bad answers of version 3 only", show(all)); err != nil {
		return err
	}
	after, _ := d.witness.Between(zero.Add(settle), time.Time{})
	if err := d.check("no answer of version 3 from 2 s after weight 0 on, and no bad one", after.Total() > rate && after.Of("2") == after.Total() && after.Bad() == 0,
		"only good answers of version 2", show(after)); err != nil {
		return err
	}
	return d.alone(began, 0)
}

// held: the bad content comes back, and is not rolled out.
func (d *Demo) held(ctx context.Context) error {
	if err := d.colleague.Pull(ctx); err != nil {
		return err
	}
	rollout, err := release(d.files["rollout.yaml"], "3", errorShare)
	if err != nil {
		return err
	}
	began := time.Now()
	again, err := d.colleague.Push(ctx, "shop: version 3 once more", map[string]string{path + "/rollout.yaml": rollout})
	if err != nil {
		return err
	}
	d.known[again] = true
	d.out.say("%s pushes %.10s \"shop: version 3 once more\"", colleague.Name, again)
	var r Rollout
	if err := d.wait(ctx, 30*time.Second, "kubectl shows the Rollout Degraded, reason Held", func() (bool, string, error) {
		var err error
		if r, err = d.rollout(ctx); err != nil {
			return false, "", err
		}
		_, held := r.held()
		return held && r.Status.Phase == "Degraded" && r.Spec.Template.Version() == "3", r.says() + d.applicationSays(ctx), nil
	}); err != nil {
		return err
	}
	reason, _ := r.held()
	d.out.say("the cluster has what Git says, and holds it: %s", reason.Reason)
	d.out.quote(reason.Message)
	d.out.say("for 8 s nothing may happen")
	if err := d.observed(ctx, time.Now().Add(8*time.Second)); err != nil {
		return err
	}
	return d.stillHeld(ctx, began, again)
}

func (d *Demo) stillHeld(ctx context.Context, began time.Time, again string) error {
	writes, err := d.audit.Since(began)
	if err != nil {
		return err
	}
	if err := d.check("no weight was set", len(weightsIn(writes, d.Controller)) == 0, "none", weightList(weightsIn(writes, d.Controller))); err != nil {
		return err
	}
	answers, _ := d.witness.Between(began, time.Time{})
	if err := d.check(fmt.Sprintf("all %d answers since are good ones of version 2", answers.Total()), answers.Total() > rate && answers["2/200"] == answers.Total(),
		"only good answers of version 2", show(answers)); err != nil {
		return err
	}
	var pods Pods
	if err := kubectlJSON(ctx, &pods, "get", "pods", "-n", d.Namespace); err != nil {
		return err
	}
	var started []string
	for _, pod := range pods.Items {
		// Kubernetes tells the second only.
		if pod.Metadata.CreationTimestamp.After(began) {
			started = append(started, pod.Metadata.Name)
		}
	}
	if err := d.check("no pod was started", len(started) == 0, "none", strings.Join(started, ", ")); err != nil {
		return err
	}
	if err := d.bot.Pull(ctx); err != nil {
		return err
	}
	tip, err := d.bot.git(ctx, "rev-parse", "main")
	if err != nil {
		return err
	}
	if err := d.check("main stays as the colleague left it: what is held is not reverted again", tip == again, again, tip); err != nil {
		return err
	}
	return d.oneOfOurs(ctx)
}

// askOnce sends one request through the gateway.
func askOnce(ctx context.Context, url, host string) (version string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
	if err != nil {
		return "", 0, err
	}
	request.Host = host
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.Header.Get("X-Version"), response.StatusCode, nil
}
