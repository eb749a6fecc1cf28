package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const controller = "system:serviceaccount:tidegate-system:tidegate"

// line is an event as the API server writes it, with parts replaced.
func line(replace ...string) []byte {
	const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web?\u0026fieldManager=tidegate-rollout","verb":"patch","user":{"username":"system:serviceaccount:tidegate-system:tidegate","groups":["system:authenticated"]},"sourceIPs":["10.244.0.2"],"objectRef":{"resource":"httproutes","namespace":"shop","name":"web","apiGroup":"gateway.networking.k8s.io","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestObject":[{"op":"test","path":"/metadata/uid","value":"9"},{"op":"test","path":"/spec/rules/0/backendRefs/0/name","value":"web-stable"},{"op":"add","path":"/spec/rules/0/backendRefs/0/weight","value":90},{"op":"test","path":"/spec/rules/0/backendRefs/1/name","value":"web-canary"},{"op":"test","path":"/spec/rules/0/backendRefs/1/weight","value":0},{"op":"add","path":"/spec/rules/0/backendRefs/1/weight","value":10}],"requestReceivedTimestamp":"2026-11-21T11:10:19.049637Z","stageTimestamp":"2026-11-21T11:10:19.055296Z"}`
	return []byte(strings.NewReplacer(replace...).Replace(event))
}

func verdict(body string) []byte {
	return line(`"resource":"httproutes"`, `"resource":"analysisruns","subresource":"status"`, `"gateway.networking.k8s.io"`, `"tidegate.dev"`,
		`"name":"web"`, `"name":"web-3-1-background"`, string(body0()), body)
}

func body0() []byte {
	text := string(line())
	from := strings.Index(text, `[{"op"`)
	return []byte(text[from:strings.Index(text, `,"requestReceived`)])
}

var at = time.Date(2026, 11, 21, 11, 10, 19, 55296000, time.UTC)

func weight(percent int) Write {
	return Write{At: at, Resource: "httproutes", Name: "web", User: controller, Weight: percent}
}

func phase(word string) Write {
	return Write{At: at, Resource: "analysisruns", Name: "web-3-1-background", User: controller, Weight: -1, Phase: word}
}

// Protects: weights and verdicts are read from the audit log as they are written, by whom, and when the answer was sent.
func TestWritesAreRead(t *testing.T) {
	applied := weight(7)
	applied.As = "system:serviceaccount:shop:deployer"
	other := weight(10)
	other.User = "jo"
	for name, c := range map[string]struct {
		line []byte
		want Write
	}{
		"a patch sets the canary's weight, not stable's": {line(), weight(10)},
		"somebody else's":        {line(controller, "jo"), other},
		"a patch without any":    {line(`/1/weight","value":10`, `/1/port","value":10`), weight(-1)},
		"an object, for another": {line(`"groups":["system:authenticated"]}`, `"groups":[]},"impersonatedUser":{"username":"system:serviceaccount:shop:deployer"}`, string(body0()), `{"spec":{"rules":[{"backendRefs":[{"name":"web-stable","weight":93},{"name":"web-canary","weight":7}]}]}}`), applied},
		"a verdict in a patch":   {verdict(`[{"op":"test","path":"/metadata/resourceVersion","value":"1"},{"op":"add","path":"/status","value":{"phase":"Failed","metricResults":[{"phase":"Running"}]}}]`), phase("Failed")},
		"a verdict by itself":    {verdict(`[{"op":"replace","path":"/status/phase","value":"Failed"}]`), phase("Failed")},
		"a verdict in an object": {verdict(`{"status":{"phase":"Successful"}}`), phase("Successful")},
	} {
		if got, ok := readWrite(c.line, "shop", "web-canary"); !ok || got != c.want {
			t.Errorf("%s: got %+v %v, want %+v", name, got, ok, c.want)
		}
	}
}

// Protects: what was refused, only tried, not about a spec, or elsewhere, is no write.
func TestOtherLinesAreNot(t *testing.T) {
	for name, text := range map[string][]byte{
		"refused":           line(`"code":200`, `"code":409`),
		"a dry run":         line(`?\u0026fieldManager`, `?dryRun=All\u0026fieldManager`),
		"another namespace": line(`"namespace":"shop"`, `"namespace":"bank"`),
		"another stage":     line("ResponseComplete", "ResponseStarted"),
		"a route's status":  line(`"resource":"httproutes"`, `"resource":"httproutes","subresource":"status"`),
		"another group":     line(`"apiGroup":"gateway.networking.k8s.io"`, `"apiGroup":"example.com"`),
		"no phase":          verdict(`{"status":{}}`),
		"a test of a phase": verdict(`[{"op":"test","path":"/status/phase","value":"Failed"}]`),
		"another kind":      line(`"resource":"httproutes"`, `"resource":"pods"`),
		"half a line":       line()[:300],
		"nothing":           nil,
	} {
		if got, ok := readWrite(text, "shop", "web-canary"); ok {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// Protects: the order of weights is the controller's, each once; and whoever else writes a route is found.
func TestWhoWroteWhat(t *testing.T) {
	sync := func(percent int) Write { w := weight(percent); w.As = "deployer"; return w }
	jo := weight(100)
	jo.User = "jo"
	writes := []Write{sync(0), weight(10), weight(10), phase("Running"), weight(-1), sync(10), weight(50), jo, sync(10), weight(0)}
	if got := weightList(weightsIn(writes, controller)); got != "10, 50, 0" {
		t.Errorf("weights %s", got)
	}
	if got := strangersIn(writes, controller, 0); !reflect.DeepEqual(got, []Write{jo, sync(10)}) {
		t.Errorf("strangers %+v", got)
	}
	if _, ok := verdictIn(writes); ok {
		t.Error("a run under way is no verdict")
	}
	if got, ok := verdictIn(append(writes, phase("Failed"))); !ok || got != phase("Failed") {
		t.Errorf("verdict %+v %v", got, ok)
	}
}

// Protects: only what is written from now on counts, also when a line arrives in two parts.
func TestTheLogIsFollowedFromItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(text []byte) {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	write(append(line(`"value":10`, `"value":1`), '\n'))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan Write, 10)
	audit, err := followAudit(ctx, path, "shop", "web-canary", func(w Write) { told <- w })
	if err != nil {
		t.Fatal(err)
	}
	text := append(line(), '\n')
	write(text[:500])
	time.Sleep(100 * time.Millisecond)
	write(text[500:])
	write([]byte("{}\n"))
	select {
	case got := <-told:
		if got != weight(10) {
			t.Errorf("got %+v", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was read")
	}
	if all, err := audit.Since(at); err != nil || !reflect.DeepEqual(all, []Write{weight(10)}) {
		t.Errorf("since then: %+v %v", all, err)
	}
	if later, _ := audit.Since(at.Add(time.Microsecond)); later != nil {
		t.Errorf("later: %+v", later)
	}
}
