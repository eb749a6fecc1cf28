package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

const (
	path       = "apps/shop/production"
	otherFile  = "apps/other/README.md"
	rate       = 100
	longest    = 10 * time.Minute
	errorShare = "0.05"
	// window is what the analysis looks at; no release begins while answers of the one before are in it.
	window = 15 * time.Second
	// settle is how long old answers may still be under way after a weight changed.
	settle = 2 * time.Second
)

var (
	bot       = Person{"Release Bot", "release-bot@example.com"}
	colleague = Person{"Jo Miller", "jo@example.com"}
)

// Demo is the story under way.
type Demo struct {
	Options
	Environment
	out  *Teller
	host string

	summary Summary
	audit   *Audit
	witness *Witness
	forge   *Forge
	tips    *Tips
	memory  *Memory

	bot, colleague *Clone
	dir            string
	ours           bool
	files          map[string]string
	known          map[string]bool // commits that people made
	version        atomic.Value    // of the release under way
	weight         int             // announced last
	good, bad      string          // commits of version 2 and 3
	revert         string
}

// check is a claim that is looked at once.
func (d *Demo) check(claim string, holds bool, expected, found string) error {
	if !holds {
		return Unmet{Claim: claim, Expected: expected, Found: found}
	}
	d.out.say("  checked: %s", claim)
	return nil
}

// wait is a claim that has to come true within a time. An error is looked at again, as a moment later may be better; an
// Unmet is not.
func (d *Demo) wait(ctx context.Context, limit time.Duration, claim string, look func() (holds bool, found string, err error)) error {
	began := time.Now()
	for {
		holds, found, err := look()
		var never Unmet
		switch {
		case errors.As(err, &never):
			return never
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && time.Since(began) > limit:
			return Unmet{Claim: claim, Expected: fmt.Sprintf("this within %v", limit), Found: err.Error()}
		case err != nil:
		case holds:
			return nil
		case time.Since(began) > limit:
			return Unmet{Claim: claim, Expected: fmt.Sprintf("this within %v", limit), Found: found}
		}
		if d.witness != nil && d.witness.Err() != nil {
			return d.witness.Err()
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

func sleep(ctx context.Context, long time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
}

// tell is the whole story.
func (d *Demo) tell(ctx context.Context) error {
	// What follows along ends with the story, not with the interruption alone.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, chapter := range []struct {
		name, title string
		tell        func(context.Context) error
	}{
		{"first version", "Version 1 comes up from Git", d.first},
		{"good release", "A good version 2 is let in step by step", d.goodRelease},
		{"bad release", "A version 3 that fails 5 % of its requests", d.badRelease},
		{"held", "Somebody brings the bad content back", d.held},
	} {
		d.out.plain("\n%d. %s", len(d.summary.Chapters)+1, chapter.title)
		err := chapter.tell(ctx)
		d.summary.Chapters = append(d.summary.Chapters, Chapter{Name: chapter.name, OK: err == nil})
		if err != nil {
			return err
		}
	}
	return d.end(ctx)
}

// prepare makes the place of the story: namespace, repository, credentials.
func (d *Demo) prepare(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.Results, 0o755); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "tidegate-demo-"); err != nil {
		return err
	}
	if d.forge, err = newForge(d.Environment, "deploy-"+d.Namespace); err != nil {
		return err
	}
	if err := d.claimNamespace(ctx); err != nil {
		return err
	}
	if err := d.forge.Create(ctx); err != nil {
		return err
	}
	if d.bot, err = newClone(ctx, filepath.Join(d.dir, "bot"), bot, d.forge, d.ForgeCA); err != nil {
		return err
	}
	if d.colleague, err = newClone(ctx, filepath.Join(d.dir, "colleague"), colleague, d.forge, d.ForgeCA); err != nil {
		return err
	}
	gatewayNamespace, gatewayName, _ := strings.Cut(d.Gateway, "/")
	values := map[string]string{
		"NAMESPACE": d.Namespace, "HOST": d.host, "SHOP_IMAGE": d.ShopImage, "PROMETHEUS": d.Prometheus,
		"GATEWAY_NAMESPACE": gatewayNamespace, "GATEWAY_NAME": gatewayName,
		"REPOSITORY": strings.TrimSuffix(d.ForgeClusterURL, "/") + "/" + d.ForgeUser + "/deploy-" + d.Namespace + ".git",
	}
	if d.files, err = readManifests(filepath.Join(d.Manifests, "production"), values); err != nil {
		return err
	}
	cluster, err := readManifests(filepath.Join(d.Manifests, "cluster"), values)
	if err != nil {
		return err
	}
	d.audit, err = followAudit(ctx, d.AuditLog, d.Namespace, "web-canary", d.announce)
	if err != nil {
		return err
	}
	if d.Process == 0 {
		if _, err := controllerContainers(ctx); err != nil {
			return fmt.Errorf("Tidegate does not run in the cluster: %w", err)
		}
	}
	d.memory = watchMemory(ctx, d.Process)
	d.tips = watchTips(ctx, d.forge)
	return d.install(ctx, cluster)
}

// claimNamespace removes what an interrupted run left; a namespace of the same name that is not the demo's is left alone.
func (d *Demo) claimNamespace(ctx context.Context) error {
	label, err := kubectl(ctx, "", "get", "namespace", d.Namespace, "--ignore-not-found",
		"-o", `jsonpath={.metadata.name}/{.metadata.labels.app\.kubernetes\.io/part-of}`)
	if err != nil {
		return err
	}
	switch label {
	case "":
		d.ours = true
		return nil
	case d.Namespace + "/tidegate-demo":
		d.ours = true
		d.out.say("an interrupted demo left its namespace behind: it is removed first")
		return d.removeNamespace(ctx)
	}
	return fmt.Errorf("the namespace %s is there already, and not the demo's: choose another with DEMO_NAMESPACE", d.Namespace)
}

func (d *Demo) removeNamespace(ctx context.Context) error {
	_, err := kubectl(ctx, "", "delete", "namespace", d.Namespace, "--ignore-not-found", "--timeout=90s")
	return err
}

// install applies what belongs to the cluster, in this order: the place, the rights and credentials, the Application.
func (d *Demo) install(ctx context.Context, manifests map[string]string) error {
	if _, err := kubectl(ctx, manifests["namespace.yaml"], "apply", "-f", "-"); err != nil {
		return err
	}
	authority, err := os.ReadFile(d.ForgeCA)
	if err != nil {
		return err
	}
	for _, right := range []string{"read", "write"} {
		token, err := d.forge.Token(ctx, right)
		if err != nil {
			return err
		}
		// Through standard input: a command line can be read by every user of the machine.
		secret := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: deploy-%s, namespace: %s}\nstringData:\n  username: %s\n  password: %s\n  ca.crt: |\n%s",
			right, d.Namespace, d.forge.user, token, indent(string(authority)))
		if _, err := kubectl(ctx, secret, "create", "-f", "-"); err != nil {
			return err
		}
	}
	if _, err := kubectl(ctx, manifests["deployer.yaml"], "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = kubectl(ctx, manifests["application.yaml"], "create", "--dry-run=server", "-o", "name", "-f", "-")
	d.files["application"] = manifests["application.yaml"]
	return err
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

// announce tells of a write as it happens. It is called from one goroutine only.
func (d *Demo) announce(w Write) {
	version, _ := d.version.Load().(string)
	if version == "" || w.User != d.Controller || w.As != "" {
		return
	}
	before := map[string]string{"2": "1", "3": "2"}[version]
	switch {
	case w.Resource == "analysisruns":
		if w.Phase == "Failed" {
			d.out.at(w.At, "the analysis has its verdict: version %s fails", version)
		}
	case w.Weight < 0 || w.Weight == d.weight:
	case w.Weight > 0:
		d.out.at(w.At, "%d %% of the traffic goes to version %s", w.Weight, version)
	case d.weight == 100:
		d.out.at(w.At, "version %s is stable now and has all the traffic; the canary's share is 0 again", version)
	default:
		d.out.at(w.At, "weight 0: no more traffic goes to version %s, all of it to version %s", version, before)
	}
	if w.Weight >= 0 {
		d.weight = w.Weight
	}
}

// commit pushes a release of the bot's.
func (d *Demo) commit(ctx context.Context, version, share, message string) (string, error) {
	rollout, err := release(d.files["rollout.yaml"], version, share)
	if err != nil {
		return "", err
	}
	commit, err := d.bot.Push(ctx, message, map[string]string{path + "/rollout.yaml": rollout})
	if err != nil {
		return "", err
	}
	d.known[commit] = true
	d.out.say("%s pushes %.10s \"%s\"", bot.Name, commit, message)
	return commit, nil
}

// first: version 1.
func (d *Demo) first(ctx context.Context) error {
	files := map[string]string{otherFile: "# Another team's directory\n"}
	for name, text := range d.files {
		if name != "application" {
			files[path+"/"+name] = text
		}
	}
	commit, err := d.bot.Push(ctx, "shop: version 1", files)
	if err != nil {
		return err
	}
	d.known[commit] = true
	d.out.say("%s pushes %.10s \"shop: version 1\": %s in %s", bot.Name, commit, strings.Join(names(d.files), ", "), path)
	if _, err := kubectl(ctx, d.files["application"], "create", "-f", "-"); err != nil {
		return err
	}
	d.out.say("the cluster is told of it: an Application with that repository and directory")
	if err := d.rolledOut(ctx, 60*time.Second, commit); err != nil {
		return err
	}
	d.out.say("four pods of version 1 are ready; %d requests per second begin, through the gateway", rate)
	began := time.Now()
	if err := d.wait(ctx, 15*time.Second, "the gateway answers with version 1", func() (bool, string, error) {
		version, status, err := askOnce(ctx, d.GatewayURL, d.host)
		return version == "1" && status == 200, fmt.Sprintf("version %q, status %d", version, status), err
	}); err != nil {
		return err
	}
	d.witness, err = startWitness(filepath.Join(d.Tools, "load"), d.GatewayURL+"/", d.host, rate, longest, filepath.Join(d.Results, "load.jsonl"))
	if err != nil {
		return err
	}
	if err := d.observed(ctx, time.Now().Add(4*time.Second)); err != nil {
		return err
	}
	all, _ := d.witness.Between(began, time.Time{})
	return d.check("every answer is good and from version 1", all.Total() > 2*rate && all["1/200"] == all.Total(),
		"only good answers of version 1", show(all))
}

// names of the files, without the Application.
func names(files map[string]string) []string {
	var found []string
	for name := range files {
		if name != "application" {
			found = append(found, name)
		}
	}
	sort.Strings(found)
	return found
}

// rolledOut waits until kubectl shows a Rollout that is Healthy, with a commit's content as stable.
func (d *Demo) rolledOut(ctx context.Context, limit time.Duration, commit string) error {
	return d.wait(ctx, limit, "kubectl shows the Rollout Healthy, stable from that commit", func() (bool, string, error) {
		r, err := d.rollout(ctx)
		if err != nil {
			return false, "", err
		}
		return r.Status.Phase == "Healthy" && r.Status.Stable.Commit == commit, r.says() + d.applicationSays(ctx), nil
	})
}

func (d *Demo) applicationSays(ctx context.Context) string {
	a, err := d.application(ctx)
	if err != nil {
		return ""
	}
	return "; Application " + a.says()
}

func (d *Demo) rollout(ctx context.Context) (r Rollout, err error) {
	err = kubectlJSON(ctx, &r, "get", "rollout", "web", "-n", d.Namespace)
	return r, err
}

func (d *Demo) application(ctx context.Context) (a Application, err error) {
	err = kubectlJSON(ctx, &a, "get", "application", "shop", "-n", d.Namespace)
	return a, err
}

// observed waits until the witness has told everything up to a time.
func (d *Demo) observed(ctx context.Context, until time.Time) error {
	return d.wait(ctx, time.Until(until)+5*time.Second, "the load generator reports each second", func() (bool, string, error) {
		_, covered := d.witness.Between(time.Time{}, time.Time{})
		return covered.After(until), "its last line is of " + covered.Format(time.TimeOnly), nil
	})
}

// show is what was answered, in words.
func show(a Answers) string {
	var keys, parts []string
	for key := range a {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		version, status := split(key)
		text := fmt.Sprintf("status %d", status)
		if status == 999 {
			text = "no answer"
		}
		parts = append(parts, fmt.Sprintf("%d from version %s with %s", a[key], version, text))
	}
	if len(parts) == 0 {
		return "no answers at all"
	}
	return strings.Join(parts, ", ")
}

// goodRelease: version 2.
func (d *Demo) goodRelease(ctx context.Context) error {
	d.out.plain("            What is measured in the background of the steps, as Argo Rollouts' users write it:")
	d.out.quote(d.files["analysis-template.yaml"])
	began := time.Now()
	d.version.Store("2")
	var err error
	if d.good, err = d.commit(ctx, "2", "0", "shop: version 2"); err != nil {
		return err
	}
	var weights []Write
	if err := d.wait(ctx, 3*time.Minute, "version 2 gets 10, 50 and 100 % of the traffic, and then is stable", func() (bool, string, error) {
		writes, err := d.audit.Since(began)
		weights = weightsIn(writes, d.Controller)
		if _, failed := verdictIn(writes); failed {
			return false, "", Unmet{"the analysis finds nothing wrong with version 2", "no verdict Failed", "one"}
		}
		return len(weights) > 1 && weights[len(weights)-1].Weight == 0, "weights " + weightList(weights), err
	}); err != nil {
		return err
	}
	if err := d.check("the audit log has the weights 10, 50, 100 and 0, in this order", weightList(weights) == "10, 50, 100, 0", "10, 50, 100, 0", weightList(weights)); err != nil {
		return err
	}
	if err := d.rolledOut(ctx, 30*time.Second, d.good); err != nil {
		return err
	}
	if err := d.observed(ctx, weights[3].At.Add(settle+3*time.Second)); err != nil {
		return err
	}
	for i, share := range []float64{10, 50} {
		got, _ := d.witness.Between(weights[i].At.Add(settle), weights[i+1].At)
		percent := 100 * float64(got.Of("2")) / float64(max(got.Total(), 1))
		claim := fmt.Sprintf("%.1f %% of %d answers came from version 2 while %g %% was said", percent, got.Total(), share)
		if err := d.check(claim, got.Total() > 10*rate && percent > share-2.5 && percent < share+2.5, fmt.Sprintf("%g %%, give or take 2.5", share), show(got)); err != nil {
			return err
		}
	}
	return d.goodEnd(ctx, began, weights[3].At)
}

// goodEnd: what has to be true once version 2 is promoted.
func (d *Demo) goodEnd(ctx context.Context, began, promoted time.Time) error {
	all, _ := d.witness.Between(time.Time{}, time.Time{})
	if err := d.check(fmt.Sprintf("all %d answers so far were good", all.Total()), all.Bad() == 0, "no bad answer", show(all)); err != nil {
		return err
	}
	after, _ := d.witness.Between(promoted.Add(settle), time.Time{})
	if err := d.check("all traffic is version 2's", after.Total() > rate && after.Of("2") == after.Total(), "only version 2", show(after)); err != nil {
		return err
	}
	var runs AnalysisRuns
	if err := kubectlJSON(ctx, &runs, "get", "analysisruns", "-n", d.Namespace); err != nil {
		return err
	}
	measured, failed := 0, 0
	for _, run := range runs.Items {
		if run.Spec.Subject.Revision == 2 && run.Spec.Subject.Step == nil {
			for _, metric := range run.Status.MetricResults {
				measured, failed = measured+metric.Successful, failed+metric.Failed
			}
		}
	}
	if err := d.check(fmt.Sprintf("the analysis measured %d times beside the steps, and each time well", measured), measured >= 5 && failed == 0,
		"at least 5 good measurements and no bad one", fmt.Sprintf("%d good, %d bad, in %d runs", measured, failed, len(runs.Items))); err != nil {
		return err
	}
	return d.alone(began, 0)
}

func weightList(weights []Write) string {
	var texts []string
	for _, w := range weights {
		texts = append(texts, fmt.Sprint(w.Weight))
	}
	return strings.Join(texts, ", ")
}

// alone: nobody else wrote a route since then.
func (d *Demo) alone(since time.Time, weight int) error {
	writes, err := d.audit.Since(since)
	if err != nil {
		return err
	}
	var found []string
	for _, w := range strangersIn(writes, d.Controller, weight) {
		text := w.User
		if w.As != "" {
			text += " as " + w.As
		}
		if w.Weight >= 0 {
			text += fmt.Sprintf(" with weight %d", w.Weight)
		}
		found = append(found, text+" at "+w.At.Format(time.TimeOnly))
	}
	return d.check("nobody but Tidegate changed the route", len(found) == 0, "only "+d.Controller, strings.Join(found, ", "))
}
