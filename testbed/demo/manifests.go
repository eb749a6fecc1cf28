package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var placeholder = regexp.MustCompile(`\$\{([A-Z_]+)\}`)

// fill puts values in place of ${NAME}; a name without a value is an error.
func fill(text string, values map[string]string) (string, error) {
	var unknown []string
	filled := placeholder.ReplaceAllStringFunc(text, func(found string) string {
		value, ok := values[found[2:len(found)-1]]
		if !ok {
			unknown = append(unknown, found)
		}
		return value
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("there is no value for %s", strings.Join(unknown, ", "))
	}
	return filled, nil
}

// readManifests reads a folder's YAML files, filled in, by name.
func readManifests(dir string, values map[string]string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no manifests", dir)
	}
	manifests := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		filled, err := fill(string(text), values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		manifests[filepath.Base(path)] = filled
	}
	return manifests, nil
}

// release is the Rollout's file as a release leaves it: with another version and share of failed requests.
func release(rollout, version, errorRate string) (string, error) {
	for name, value := range map[string]string{"VERSION": version, "ERROR_RATE": errorRate} {
		line := regexp.MustCompile(`(\{name: ` + name + `, value: )"[^"]*"`)
		if len(line.FindAllString(rollout, -1)) != 1 {
			return "", fmt.Errorf("the Rollout does not set %s exactly once", name)
		}
		rollout = line.ReplaceAllString(rollout, `${1}"`+value+`"`)
	}
	return rollout, nil
}
