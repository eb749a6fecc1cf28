package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func number(n float64) *float64 { return &n }

// Protects: the table shows each number beside its aim, and says which was missed.
func TestTheTable(t *testing.T) {
	requests, bad := 13532, 5
	s := Summary{Requests: &requests, BadAnswers: &bad, FirstBadToWeightZero: number(7.71), VerdictToWeightZero: number(0.06), VerdictToCommit: number(3.5)}
	var out strings.Builder
	printTable(&out, s.table())
	want := `                                                      found   aimed at        
  requests sent                                       13532                    
  bad answers                                             5                    
  first bad answer of version 3 to weight 0           7.7 s                    
  first bad answer of version 3 to the commit             -                    
  verdict to weight 0                                0.06 s   at most 1 s      
  verdict to the commit on the branch                3.50 s   at most 3 s      missed
  memory of the controller, at most                       -   at most 40 MB    
  the whole demo                                          -   at most 240 s    
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// Protects: a number fails the demo only when it is more than three times its aim; one without an aim never does.
func TestNumbersThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		summary Summary
		failed  string
	}{
		"none known":  {Summary{}, ""},
		"three times": {Summary{VerdictToWeightZero: number(3), VerdictToCommit: number(9), ControllerRSSMegabytes: number(120), Wall: number(720)}, ""},
		"no aim":      {Summary{FirstBadToWeightZero: number(1000)}, ""},
		"weight late": {Summary{VerdictToWeightZero: number(3.01)}, "verdict to weight 0"},
		"commit late": {Summary{VerdictToCommit: number(9.01)}, "verdict to the commit on the branch"},
		"memory":      {Summary{ControllerRSSMegabytes: number(120.1)}, "memory of the controller, at most"},
		"the whole":   {Summary{Wall: number(721)}, "the whole demo"},
	} {
		var unmet Unmet
		errors.As(missed(c.summary.table()), &unmet)
		if unmet.Claim != c.failed {
			t.Errorf("%s: got %q, want %q", name, unmet.Claim, c.failed)
		}
	}
}

// Protects: the names in summary.json, which others read; a number that was not reached is null and not 0.
func TestTheSummary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "demo", "summary.json")
	commit := "7e4d"
	s := Summary{RevertCommit: &commit, Wall: number(139.9), Chapters: []Chapter{{"first version", true}, {"good release", false}}}
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(got)
	want := `{"bad_answers":null,"chapters":[{"name":"first version","ok":true},{"name":"good release","ok":false}],"controller_rss_mb":null,"first_bad_to_weight_zero_s":null,"requests":null,"revert_commit":"7e4d","verdict_to_commit_s":null,"verdict_to_weight_zero_s":null,"wall_s":139.9}`
	if string(again) != want {
		t.Errorf("got  %s\nwant %s", again, want)
	}
}
