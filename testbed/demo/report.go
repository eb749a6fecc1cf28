package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Chapter is one part of the story, and whether all its claims held.
type Chapter struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

// Summary is target/demo/summary.json. A number that was not reached is null.
type Summary struct {
	Requests               *int      `json:"requests"`
	BadAnswers             *int      `json:"bad_answers"`
	FirstBadToWeightZero   *float64  `json:"first_bad_to_weight_zero_s"`
	VerdictToWeightZero    *float64  `json:"verdict_to_weight_zero_s"`
	VerdictToCommit        *float64  `json:"verdict_to_commit_s"`
	RevertCommit           *string   `json:"revert_commit"`
	ControllerRSSMegabytes *float64  `json:"controller_rss_mb"`
	Wall                   *float64  `json:"wall_s"`
	Chapters               []Chapter `json:"chapters"`

	// firstBadToCommit is shown only.
	firstBadToCommit *float64
}

func (s Summary) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// tolerance is how many times an aim may be missed before the demo fails: it runs on any machine, and one that is busy
// proves nothing about Tidegate.
const tolerance = 3

// Number is a line of the table.
type Number struct {
	What string
	Unit string
	// Found is nil when the story did not get that far.
	Found *float64
	// Aim is at most this; 0: there is none.
	Aim float64
	// Digits after the point.
	Digits int
}

func (n Number) found() string {
	if n.Found == nil {
		return "-"
	}
	return fmt.Sprintf("%.*f%s", n.Digits, *n.Found, n.Unit)
}

func (n Number) aim() string {
	if n.Aim == 0 {
		return ""
	}
	return fmt.Sprintf("at most %g%s", n.Aim, n.Unit)
}

func (n Number) remark() string {
	if n.Aim == 0 || n.Found == nil || *n.Found <= n.Aim {
		return ""
	}
	return "missed"
}

// table is the story's numbers, in the order in which they are shown.
func (s Summary) table() []Number {
	return []Number{
		{What: "requests sent", Found: float(s.Requests)},
		{What: "bad answers", Found: float(s.BadAnswers)},
		{What: "first bad answer of version 3 to weight 0", Unit: " s", Found: s.FirstBadToWeightZero, Digits: 1},
		{What: "first bad answer of version 3 to the commit", Unit: " s", Found: s.firstBadToCommit, Digits: 1},
		{What: "verdict to weight 0", Unit: " s", Found: s.VerdictToWeightZero, Aim: 1, Digits: 2},
		{What: "verdict to the commit on the branch", Unit: " s", Found: s.VerdictToCommit, Aim: 3, Digits: 2},
		{What: "memory of the controller, at most", Unit: " MB", Found: s.ControllerRSSMegabytes, Aim: 40, Digits: 1},
		{What: "the whole demo", Unit: " s", Found: s.Wall, Aim: 240, Digits: 0},
	}
}

func float(n *int) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// missed is the first number that is more than three times over its aim.
func missed(numbers []Number) error {
	for _, n := range numbers {
		if n.Aim > 0 && n.Found != nil && *n.Found > tolerance*n.Aim {
			return Unmet{Claim: n.What, Expected: n.aim() + fmt.Sprintf(" (the demo fails at %d times that)", tolerance), Found: n.found()}
		}
	}
	return nil
}

func printTable(out io.Writer, numbers []Number) {
	fmt.Fprintf(out, "  %-44s %12s   %-16s\n", "", "found", "aimed at")
	for _, n := range numbers {
		fmt.Fprintf(out, "  %-44s %12s   %-16s %s\n", n.What, n.found(), n.aim(), n.remark())
	}
}

// Unmet is a claim that did not hold.
type Unmet struct {
	Claim, Expected, Found string
}

func (u Unmet) Error() string {
	return fmt.Sprintf("%s\n      expected: %s\n      found:    %s", u.Claim, u.Expected, u.Found)
}
