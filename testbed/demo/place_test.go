package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Protects: the manifests that are shown are those that are used: each placeholder has a value, and a release changes
// exactly two lines of the Rollout.
func TestTheManifestsOfTheStory(t *testing.T) {
	values := map[string]string{}
	for _, name := range []string{"NAMESPACE", "HOST", "SHOP_IMAGE", "PROMETHEUS", "GATEWAY_NAMESPACE", "GATEWAY_NAME", "REPOSITORY"} {
		values[name] = "value-of-" + strings.ToLower(name)
	}
	for _, dir := range []string{"production", "cluster"} {
		if _, err := readManifests(filepath.Join("../../demo", dir), values); err != nil {
			t.Error(err)
		}
	}
	files, err := readManifests("../../demo/production", values)
	if err != nil {
		t.Fatal(err)
	}
	first := files["rollout.yaml"]
	third, err := release(first, "3", "0.05")
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	before := strings.Split(first, "\n")
	for i, line := range strings.Split(third, "\n") {
		if line != before[i] {
			changed = append(changed, strings.TrimSpace(line))
		}
	}
	if got, want := strings.Join(changed, "\n"), "- {name: VERSION, value: \"3\"}\n- {name: ERROR_RATE, value: \"0.05\"}"; got != want {
		t.Errorf("changed:\n%s", got)
	}
	if same, err := release(first, "1", "0"); err != nil || same != first {
		t.Errorf("version 1 is not what the file says: %v", err)
	}
	if _, err := release("{name: VERSION, value: \"1\"}", "2", "0"); err == nil {
		t.Error("a Rollout without ERROR_RATE was taken")
	}
	if _, err := fill("a: ${UNKNOWN}", values); err == nil || !strings.Contains(err.Error(), "${UNKNOWN}") {
		t.Errorf("an unknown placeholder: %v", err)
	}
}

// Protects: the branch's tip is found in what a Git server lists, and no other branch is taken for it.
func TestTheTipOfABranch(t *testing.T) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	list := "001e# service=git-upload-pack\n0000015a" + b + " HEAD\x00multi_ack symref=HEAD:refs/heads/main\n" +
		"003f" + b + " refs/heads/not/refs/heads/main2\n003d" + a + " refs/heads/main\n0000"
	if got := tipIn(list, "refs/heads/main"); got != a {
		t.Errorf("got %q", got)
	}
	if got := tipIn("0000", "refs/heads/main"); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	first := "0000015a" + b + " refs/heads/main\x00report-status\n"
	if got := tipIn(first, "refs/heads/main"); got != b {
		t.Errorf("in the first line: %q", got)
	}
}

// Protects: the commit that no person made is found, with what was the tip before it and when it was first seen.
func TestTheCommitThatNoPersonMade(t *testing.T) {
	var tips Tips
	began := time.Now()
	for i, tip := range []string{"one", "one", "two", "ours", "ours", "three"} {
		tips.note(tip, began.Add(time.Duration(i)*time.Second))
	}
	known := map[string]bool{"one": true, "two": true, "three": true}
	seen, before, ok := tips.Other(known)
	if want := (Seen{"ours", began.Add(3 * time.Second)}); !ok || seen != want || before != "two" {
		t.Errorf("got %+v after %q, %v", seen, before, ok)
	}
	known["ours"] = true
	if seen, _, ok := tips.Other(known); ok {
		t.Errorf("got %+v", seen)
	}
}

// Protects: the memory is that of the process in the container's control group, as the kernel says it.
func TestMemoryFromOutside(t *testing.T) {
	proc := t.TempDir()
	for pid, files := range map[string][2]string{
		"12": {"0::/system.slice\n", "VmRSS:\t 99 kB\n"},
		"34": {"0::/kubepods/burstable/pod1/abcdef\n", "Name:\ttidegate\nVmHWM:\t 40000 kB\nVmRSS:\t   38912 kB\nRssAnon:\t 1 kB\n"},
		"35": {"0::/kubepods/burstable/pod2/fedcba\n", "VmRSS:\t   39936 kB\n"},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"cgroup", "status"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(files[i]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	pid := processOf(proc, "abcdef")
	kilobytes, err := residentOf(proc, pid)
	if pid != 34 || kilobytes != 38912 || err != nil {
		t.Errorf("process %d has %d kB: %v", pid, kilobytes, err)
	}
	if pid := processOf(proc, ""); pid != 0 {
		t.Errorf("no container: process %d", pid)
	}
	var m Memory
	if _, err := m.Peak(); err == nil {
		t.Error("what was never seen has a size")
	}
	m.note(100, nil)
	if !m.sample(proc, []int{processOf(proc, "fedcba"), pid}) || m.sample(proc, []int{pid, 99}) {
		t.Error("both replicas are there, and no process 99")
	}
	if peak, err := m.Peak(); err != nil || peak != 39936*1024/1e6 {
		t.Errorf("peak %v %v", peak, err)
	}
}
