package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Person is an author of commits.
type Person struct{ Name, Email string }

// Clone is one person's copy of the repository.
type Clone struct {
	dir   string
	owner Person
	env   []string
}

// newClone makes an empty copy that knows its server.
func newClone(ctx context.Context, dir string, owner Person, f *Forge, ca string) (*Clone, error) {
	credential := base64.StdEncoding.EncodeToString([]byte(f.user + ":" + f.password))
	c := &Clone{dir: dir, owner: owner, env: append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_SSL_CAINFO="+ca,
		"GIT_AUTHOR_NAME="+owner.Name, "GIT_AUTHOR_EMAIL="+owner.Email, "GIT_COMMITTER_NAME="+owner.Name, "GIT_COMMITTER_EMAIL="+owner.Email,
		// In the environment, because a command line can be read by every user of the machine.
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic "+credential,
		"GIT_CONFIG_KEY_1=http.proxy", "GIT_CONFIG_VALUE_1=",
	)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, command := range [][]string{{"init", "-q", "-b", "main"}, {"remote", "add", "origin", f.Address()}} {
		if _, err := c.git(ctx, command...); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Clone) git(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir, command.Env = c.dir, c.env
	var out, errors strings.Builder
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errors.String()))
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Pull brings the copy to the server's tip.
func (c *Clone) Pull(ctx context.Context) error {
	if _, err := c.git(ctx, "fetch", "-q", "origin", "main"); err != nil {
		return err
	}
	_, err := c.git(ctx, "reset", "-q", "--hard", "FETCH_HEAD")
	return err
}

// Push commits files (path to content) and pushes; it gives the commit.
func (c *Clone) Push(ctx context.Context, message string, files map[string]string) (string, error) {
	for path, content := range files {
		full := filepath.Join(c.dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	for _, command := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", message}, {"push", "-q", "origin", "main"}} {
		if _, err := c.git(ctx, command...); err != nil {
			return "", err
		}
	}
	return c.git(ctx, "rev-parse", "HEAD")
}
