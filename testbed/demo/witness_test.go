package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func witness(t *testing.T, lines string) *Witness {
	t.Helper()
	w := &Witness{firstBad: map[string]time.Time{}}
	w.read(strings.NewReader(lines))
	return w
}

func clock(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 11, 21, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
}

const loadLines = `{"at":"2026-11-21T11:00:01.000Z","requests":100,"by":{"2/200":90,"3/200":10}}
{"first_bad":{"version":"3","status":"500","at":"2026-11-21T11:00:01.250Z"}}
{"at":"2026-11-21T11:00:02.000Z","requests":100,"by":{"2/200":90,"3/200":8,"3/500":2}}
{"at":"2026-11-21T11:00:03.000Z","requests":101,"by":{"2/200":99,"2/500":1,"none/error":1}}
{"summary":{"started":"2026-11-21T11:00:00.000Z","ended":"2026-11-21T11:00:03.000Z","requests":301,"bad":4,"by":{"2/200":279},"first_bad":{"3":"2026-11-21T11:00:01.250Z"}}}
`

// Protects: what is claimed of a span of time counts only whole seconds inside of it.
func TestSecondsBetweenTwoTimes(t *testing.T) {
	w := witness(t, loadLines)
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	for name, c := range map[string]struct {
		from, to string
		want     Answers
	}{
		"all":             {"00:00:00", "", Answers{"2/200": 279, "3/200": 18, "3/500": 2, "2/500": 1, "none/error": 1}},
		"one second":      {"11:00:01", "11:00:02", Answers{"2/200": 90, "3/200": 8, "3/500": 2}},
		"no whole second": {"11:00:01.1", "11:00:02.9", Answers{}},
		"from the middle": {"11:00:00.5", "", Answers{"2/200": 189, "3/200": 8, "3/500": 2, "2/500": 1, "none/error": 1}},
		"to the middle":   {"00:00:00", "11:00:01.5", Answers{"2/200": 90, "3/200": 10}},
	} {
		var to time.Time
		if c.to != "" {
			to = clock(t, c.to)
		}
		got, covered := w.Between(clock(t, c.from), to)
		if !reflect.DeepEqual(got, c.want) || !covered.Equal(clock(t, "11:00:03")) {
			t.Errorf("%s: got %v until %v, want %v", name, got, covered, c.want)
		}
	}
	first, ok := w.FirstBad("3")
	if _, other := w.FirstBad("2"); !ok || other || !first.Equal(clock(t, "11:00:01.25")) {
		t.Errorf("first bad %v %v", first, ok)
	}
	if w.total == nil || w.total.Requests != 301 || w.total.Bad != 4 || w.total.Ended.Sub(w.total.Started) != 3*time.Second {
		t.Errorf("total %+v", w.total)
	}
}

// Protects: a bad answer is a status from 400 up or none at all, and whose it was is not mixed up.
func TestAnswersAreCounted(t *testing.T) {
	a := Answers{"1/200": 5, "1/302": 1, "1/404": 1, "10/500": 2, "none/error": 3}
	got := []int{a.Total(), a.Of("1"), a.Of("10"), a.Bad(), a.Bad("1"), a.Bad("10"), a.Bad("1", "none"), a.Bad("2")}
	if want := []int{12, 7, 2, 6, 1, 2, 4, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := show(Answers{"2/200": 1, "none/error": 2}); got != "1 from version 2 with status 200, 2 from version none with no answer" {
		t.Errorf("in words: %s", got)
	}
}

// Protects: a witness that cannot be understood is not taken for one that saw nothing bad.
func TestAnUnreadableLineIsAnError(t *testing.T) {
	if w := witness(t, "load: no route\n"); w.Err() == nil {
		t.Error("it was taken")
	}
}
