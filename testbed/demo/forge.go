package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Forge is the Git server, asked from outside over https.
type Forge struct {
	url, user, password, repository string
	client                          *http.Client
}

func newForge(e Environment, repository string) (*Forge, error) {
	pem, err := os.ReadFile(e.ForgeCA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", e.ForgeCA)
	}
	// No proxy: the server is on this machine.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return &Forge{
		url: strings.TrimSuffix(e.ForgeURL, "/"), user: e.ForgeUser, password: e.ForgePassword, repository: repository,
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}, nil
}

// ask sends a request to the server's API; notFound tells a 404 from an error.
func (f *Forge) ask(ctx context.Context, method, path string, body, into any) (notFound bool, err error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		sent = bytes.NewReader(text)
	}
	status, answer, err := f.request(ctx, method, "/api/v1/"+path, sent)
	switch {
	case err != nil:
		return false, fmt.Errorf("the Git server: %s %s: %w", method, path, err)
	case status == http.StatusNotFound:
		return true, nil
	case status >= 300:
		return false, fmt.Errorf("the Git server: %s %s: %d %.200s", method, path, status, answer)
	case into != nil:
		return false, json.Unmarshal(answer, into)
	}
	return false, nil
}

func (f *Forge) request(ctx context.Context, method, path string, body io.Reader) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, f.url+path, body)
	if err != nil {
		return 0, nil, err
	}
	request.SetBasicAuth(f.user, f.password)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := f.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, answer, err
}

// Create makes the repository, empty; one that an interrupted run left is removed first.
func (f *Forge) Create(ctx context.Context) error {
	if err := f.Remove(ctx); err != nil {
		return err
	}
	_, err := f.ask(ctx, http.MethodPost, "user/repos", map[string]any{"name": f.repository, "default_branch": "main", "private": true}, nil)
	return err
}

// Remove deletes the repository and the tokens, if they are there.
func (f *Forge) Remove(ctx context.Context) error {
	if _, err := f.ask(ctx, http.MethodDelete, "repos/"+f.user+"/"+f.repository, nil, nil); err != nil {
		return err
	}
	for _, name := range []string{"read", "write"} {
		if _, err := f.ask(ctx, http.MethodDelete, "users/"+f.user+"/tokens/"+f.tokenName(name), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (f *Forge) tokenName(right string) string { return f.repository + "-" + right }

// Token makes a credential that may only read, or also write, repositories.
func (f *Forge) Token(ctx context.Context, right string) (string, error) {
	var made struct {
		SHA1 string `json:"sha1"`
	}
	body := map[string]any{"name": f.tokenName(right), "scopes": []string{right + ":repository"}}
	if _, err := f.ask(ctx, http.MethodPost, "users/"+f.user+"/tokens", body, &made); err != nil {
		return "", err
	}
	if made.SHA1 == "" {
		return "", fmt.Errorf("the Git server made no token")
	}
	return made.SHA1, nil
}

// Address is where people and programs on this machine push to.
func (f *Forge) Address() string { return f.url + "/" + f.user + "/" + f.repository + ".git" }

// Tip asks for the branch's commit in the way of `git ls-remote`.
func (f *Forge) Tip(ctx context.Context) (string, error) {
	path := "/" + f.user + "/" + f.repository + ".git/info/refs?service=git-upload-pack"
	status, answer, err := f.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("the Git server lists no branches: %d", status)
	}
	return tipIn(string(answer), "refs/heads/main"), nil
}

// tipIn finds a branch in a server's list: lines of "<4 digits of length><commit> <name>", the first with more behind
// a zero byte.
func tipIn(list, branch string) string {
	for line := range strings.SplitSeq(list, "\n") {
		line, _, _ = strings.Cut(line, "\x00")
		before, found := strings.CutSuffix(line, " "+branch)
		if found && len(before) >= 40 {
			return before[len(before)-40:]
		}
	}
	return ""
}

// Seen is a commit that became the branch's tip, and when that was first seen.
type Seen struct {
	Commit string
	At     time.Time
}

// Tips notes what the branch's tip is, ten times a second.
type Tips struct {
	mu   sync.Mutex
	seen []Seen
}

func watchTips(ctx context.Context, f *Forge) *Tips {
	t := &Tips{}
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			// A server that does not answer for a moment is asked again; a tip that never comes fails its claim.
			if tip, err := f.Tip(ctx); err == nil && tip != "" {
				t.note(tip, time.Now())
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	}()
	return t
}

func (t *Tips) note(tip string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seen) == 0 || t.seen[len(t.seen)-1].Commit != tip {
		t.seen = append(t.seen, Seen{Commit: tip, At: at})
	}
}

// Other gives the first tip that is none of those, and what was the tip before it.
func (t *Tips) Other(known map[string]bool) (found Seen, before string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, seen := range t.seen {
		if !known[seen.Commit] {
			if i > 0 {
				before = t.seen[i-1].Commit
			}
			return seen, before, true
		}
	}
	return Seen{}, "", false
}
