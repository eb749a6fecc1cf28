package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Write is a write that the API server accepted: of a route, or of a verdict.
type Write struct {
	// At is when the answer was sent: from then on it stood.
	At       time.Time
	Resource string
	Name     string
	User     string
	// As is who the user acted as, when it was not itself.
	As string
	// Weight is what the canary gets by it, in percent; -1 when the write does not say.
	Weight int
	// Phase is what it says of an AnalysisRun, or nothing.
	Phase string
}

// auditLine is the part of an audit event that is looked at.
type auditLine struct {
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ImpersonatedUser *struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestObject  json.RawMessage `json:"requestObject"`
	StageTimestamp time.Time       `json:"stageTimestamp"`
}

// readWrite makes sense of one line of the audit log. The second result is false for everything that is not a write, in
// this namespace, of a route's spec or of an AnalysisRun's phase: refused requests, dry runs, other kinds.
func readWrite(line []byte, namespace, canaryService string) (Write, bool) {
	if !bytes.Contains(line, []byte(`"httproutes"`)) && !bytes.Contains(line, []byte(`"analysisruns"`)) {
		return Write{}, false
	}
	var e auditLine
	if json.Unmarshal(line, &e) != nil || e.Stage != "ResponseComplete" || e.ResponseStatus.Code >= 300 || e.ResponseStatus.Code < 200 {
		return Write{}, false
	}
	if e.ObjectRef.Namespace != namespace || isDryRun(e.RequestURI) {
		return Write{}, false
	}
	w := Write{At: e.StageTimestamp, Resource: e.ObjectRef.Resource, Name: e.ObjectRef.Name, User: e.User.Username, Weight: -1}
	if e.ImpersonatedUser != nil {
		w.As = e.ImpersonatedUser.Username
	}
	switch {
	case e.ObjectRef.APIGroup == "gateway.networking.k8s.io" && w.Resource == "httproutes" && e.ObjectRef.Subresource == "":
		w.Weight = weightIn(e.RequestObject, canaryService)
		return w, true
	case e.ObjectRef.APIGroup == "tidegate.dev" && w.Resource == "analysisruns" && e.ObjectRef.Subresource == "status":
		w.Phase = phaseIn(e.RequestObject)
		return w, w.Phase != ""
	}
	return Write{}, false
}

func isDryRun(uri string) bool {
	u, err := url.ParseRequestURI(uri)
	return err == nil && u.Query().Has("dryRun")
}

// operation is one of a JSON Patch.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// weightIn finds the canary's weight in what was sent: a JSON Patch, which tests a backend's name before it sets the
// weight beside it, or an object.
func weightIn(body json.RawMessage, canaryService string) int {
	var patch []operation
	if json.Unmarshal(body, &patch) == nil {
		return weightInPatch(patch, canaryService)
	}
	var route struct {
		Spec struct {
			Rules []struct {
				BackendRefs []struct {
					Name   string `json:"name"`
					Weight *int   `json:"weight"`
				} `json:"backendRefs"`
			} `json:"rules"`
		} `json:"spec"`
	}
	if json.Unmarshal(body, &route) != nil {
		return -1
	}
	for _, rule := range route.Spec.Rules {
		for _, backend := range rule.BackendRefs {
			if backend.Name == canaryService && backend.Weight != nil {
				return *backend.Weight
			}
		}
	}
	return -1
}

func weightInPatch(patch []operation, canaryService string) int {
	canary := ""
	for _, o := range patch {
		backend, isName := strings.CutSuffix(o.Path, "/name")
		if o.Op == "test" && isName && string(o.Value) == strconv.Quote(canaryService) {
			canary = backend
		}
		if canary != "" && o.Op != "test" && o.Path == canary+"/weight" {
			if weight, err := strconv.Atoi(string(o.Value)); err == nil {
				return weight
			}
		}
	}
	return -1
}

// phaseIn finds what a write of a status says about the phase: as an object, or as a JSON Patch.
func phaseIn(body json.RawMessage) string {
	type status struct {
		Phase string `json:"phase"`
	}
	var patch []operation
	if json.Unmarshal(body, &patch) == nil {
		for _, o := range patch {
			var whole status
			var phase string
			switch {
			case o.Op == "test":
			case o.Path == "/status" && json.Unmarshal(o.Value, &whole) == nil:
				return whole.Phase
			case o.Path == "/status/phase" && json.Unmarshal(o.Value, &phase) == nil:
				return phase
			}
		}
		return ""
	}
	var object struct {
		Status status `json:"status"`
	}
	if json.Unmarshal(body, &object) != nil {
		return ""
	}
	return object.Status.Phase
}

// Audit is the API server's audit log, read along from its present end.
type Audit struct {
	namespace, canaryService string
	onWrite                  func(Write)

	mu     sync.Mutex
	writes []Write
	err    error
}

// followAudit reads along until the context ends; onWrite is called for each write, in their order.
func followAudit(ctx context.Context, path, namespace, canaryService string, onWrite func(Write)) (*Audit, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	a := &Audit{namespace: namespace, canaryService: canaryService, onWrite: onWrite}
	go func() {
		defer file.Close()
		a.follow(ctx, file)
	}()
	return a, nil
}

// follow reads whole lines; a line that is not wholly written yet waits for its rest.
func (a *Audit) follow(ctx context.Context, file io.Reader) {
	reader := bufio.NewReaderSize(file, 1<<20)
	var line []byte
	for ctx.Err() == nil {
		part, err := reader.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			a.take(line)
			line = line[:0]
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			time.Sleep(20 * time.Millisecond)
		default:
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
			return
		}
	}
}

func (a *Audit) take(line []byte) {
	w, ok := readWrite(line, a.namespace, a.canaryService)
	if !ok {
		return
	}
	a.mu.Lock()
	a.writes = append(a.writes, w)
	a.mu.Unlock()
	if a.onWrite != nil {
		a.onWrite(w)
	}
}

// Since gives the writes from a time on, oldest first.
func (a *Audit) Since(from time.Time) ([]Write, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []Write
	for _, w := range a.writes {
		if !w.At.Before(from) {
			found = append(found, w)
		}
	}
	return found, a.err
}

// weightsIn are the writes that changed the canary's weight by the controller, without repetitions.
func weightsIn(writes []Write, controller string) []Write {
	var found []Write
	for _, w := range writes {
		if w.Resource != "httproutes" || w.Weight < 0 || w.User != controller || w.As != "" {
			continue
		}
		if len(found) == 0 || found[len(found)-1].Weight != w.Weight {
			found = append(found, w)
		}
	}
	return found
}

// strangersIn are writes of routes that only the controller should have made: by somebody else, or with a weight that is
// not the one which the controller gave last.
func strangersIn(writes []Write, controller string, weight int) []Write {
	var found []Write
	for _, w := range writes {
		switch {
		case w.Resource != "httproutes":
		case w.User != controller:
			found = append(found, w)
		case w.As == "":
			if w.Weight >= 0 {
				weight = w.Weight
			}
		// The Application's own service account applies the file from Git; the weights in it are the live ones.
		case w.Weight != weight:
			found = append(found, w)
		}
	}
	return found
}

// verdictIn is the first time that an AnalysisRun said Failed.
func verdictIn(writes []Write) (Write, bool) {
	for _, w := range writes {
		if w.Resource == "analysisruns" && w.Phase == "Failed" {
			return w, true
		}
	}
	return Write{}, false
}
