package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kubectl runs a command as a person would and gives its output.
func kubectl(ctx context.Context, input string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "kubectl", args...)
	if input != "" {
		command.Stdin = strings.NewReader(input)
	}
	var out, errors strings.Builder
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errors.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func kubectlJSON(ctx context.Context, into any, args ...string) error {
	out, err := kubectl(ctx, "", append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// Condition is as Kubernetes has it.
type Condition struct{ Type, Status, Reason, Message string }

// PodTemplate is the part of a pod template that a release changes.
type PodTemplate struct {
	Spec struct {
		Containers []struct {
			Env []struct{ Name, Value string }
		}
	}
}

// Version is the environment variable VERSION of the first container.
func (t PodTemplate) Version() string {
	for _, container := range t.Spec.Containers {
		for _, variable := range container.Env {
			if variable.Name == "VERSION" {
				return variable.Value
			}
		}
	}
	return "none"
}

// Rollout is what `kubectl get rollout` shows of it.
type Rollout struct {
	Spec   struct{ Template PodTemplate }
	Status struct {
		Phase   string
		Message string
		Weights struct{ Canary int }
		Stable  struct {
			Revision int
			Commit   string
		}
		Conditions []Condition
	}
}

// held is the condition that says so.
func (r Rollout) held() (Condition, bool) {
	for _, c := range r.Status.Conditions {
		if c.Reason == "Held" {
			return c, true
		}
	}
	return Condition{}, false
}

func (r Rollout) says() string {
	var reasons []string
	for _, c := range r.Status.Conditions {
		reasons = append(reasons, c.Type+"="+c.Status+" "+c.Reason)
	}
	return fmt.Sprintf("phase %q, weight %d %%, %s (%s)", r.Status.Phase, r.Status.Weights.Canary, strings.Join(reasons, ", "), r.Status.Message)
}

// Application is what `kubectl get application` shows of it.
type Application struct {
	Status struct {
		Revision   struct{ Commit string }
		Sync       struct{ Status string }
		Health     struct{ Status, Message string }
		Conditions []Condition
		WriteBacks []struct{ Phase, Reason, Message string }
	}
}

func (a Application) says() string {
	text := fmt.Sprintf("%s at %.10s, %s", a.Status.Sync.Status, a.Status.Revision.Commit, a.Status.Health.Status)
	for _, c := range a.Status.Conditions {
		// The others say again what the Rollout says.
		if c.Status == "False" && (c.Type == "Fetched" || c.Type == "Rendered" || c.Type == "Applied") {
			text += fmt.Sprintf("; %s=False %s: %s", c.Type, c.Reason, firstLine(c.Message))
		}
	}
	for _, w := range a.Status.WriteBacks {
		text += fmt.Sprintf("; write-back %s %s: %s", w.Phase, w.Reason, firstLine(w.Message))
	}
	return text
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// AnalysisRuns is what `kubectl get analysisruns` shows.
type AnalysisRuns struct {
	Items []struct {
		Metadata struct{ Name string }
		Spec     struct {
			Subject struct {
				Revision int
				Step     *int
			}
		}
		Status struct {
			Phase         string
			MetricResults []struct{ Successful, Failed int }
		}
	}
}

// Pods is what `kubectl get pods` shows.
type Pods struct {
	Items []struct {
		Metadata struct {
			Name              string
			CreationTimestamp time.Time
		}
		Spec struct {
			Containers []struct {
				Env []struct{ Name, Value string }
			}
		}
		Status struct {
			Conditions        []Condition
			ContainerStatuses []struct {
				ContainerID  string
				RestartCount int
			}
		}
	}
}

// Memory samples how much memory each of the controller's processes has, as the machine's kernel counts it.
type Memory struct {
	mu    sync.Mutex
	peak  int64
	err   error
	count int
}

// watchMemory samples every replica twice a second until the context ends.
func watchMemory(ctx context.Context, process int) *Memory {
	m := &Memory{}
	go func() {
		var pids []int
		for n := 0; ctx.Err() == nil; n++ {
			// Other pods may have taken their place.
			switch {
			case process != 0:
				pids = []int{process}
			case len(pids) == 0 || n%20 == 0:
				ids, err := controllerContainers(ctx)
				if err != nil {
					m.note(0, err)
				}
				pids = nil
				for _, id := range ids {
					pids = append(pids, processOf("/proc", id))
				}
			}
			if !m.sample("/proc", pids) {
				pids = nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return m
}

// sample notes every process's memory; false when one is gone.
func (m *Memory) sample(proc string, pids []int) bool {
	whole := true
	for _, pid := range pids {
		kilobytes, err := residentOf(proc, pid)
		m.note(kilobytes, err)
		whole = whole && err == nil
	}
	return whole
}

func (m *Memory) note(kilobytes int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = err
		return
	}
	m.count++
	m.peak = max(m.peak, kilobytes)
}

// Peak is the largest sample of any process, in megabytes of 1,000,000 bytes.
func (m *Memory) Peak() (float64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == 0 {
		return 0, fmt.Errorf("the controller's memory was never seen: %w", m.err)
	}
	return float64(m.peak) * 1024 / 1e6, nil
}

// controllerContainers names the container of each replica.
func controllerContainers(ctx context.Context) ([]string, error) {
	out, err := kubectl(ctx, "", "get", "pods", "-n", "tidegate-system", "-l", "app.kubernetes.io/name=tidegate",
		"-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range strings.Fields(out) {
		_, id, ok := strings.Cut(name, "://")
		if !ok || id == "" {
			return nil, fmt.Errorf("its container has the id %q", name)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("namespace tidegate-system has no pod of it with a container")
	}
	return ids, nil
}

// processOf finds the first process in a container's control group; 0 is none.
func processOf(proc, container string) int {
	groups, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "cgroup"))
	for _, path := range groups {
		text, err := os.ReadFile(path)
		if err != nil || container == "" || !strings.Contains(string(text), container) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			return pid
		}
	}
	return 0
}

// residentOf reads a process's resident memory, in kilobytes of 1,024 bytes.
func residentOf(proc string, pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "VmRSS:" {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
