package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cronFields are the five fields of a schedule.
var cronFields = [...]struct {
	name         string
	lowest, high int
	words        string
}{
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day of the month", 1, 31, ""},
	{"month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"},
	{"day of the week", 0, 6, "sun mon tue wed thu fri sat"},
}

// CheckSchedule reports what is wrong with the schedule of a PingSource or a CronJob: five fields of *, ?, numbers, names, ranges, lists and steps, or @hourly and the like, or @every DURATION.
func CheckSchedule(s string) error {
	if rest, ok := strings.CutPrefix(s, "@every "); ok {
		if d, err := time.ParseDuration(rest); err != nil || d <= 0 {
			return fmt.Errorf("%q is no duration such as 90s or 1h30m", rest)
		}
		return nil
	}
	switch s {
	case "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly":
		return nil
	}
	fields := strings.Fields(s)
	if len(fields) != len(cronFields) {
		return fmt.Errorf("%q has %d fields, not five such as \"*/5 * * * *\"", s, len(fields))
	}
	for i, text := range fields {
		f := cronFields[i]
		for part := range strings.SplitSeq(strings.ToLower(text), ",") {
			if err := checkCronPart(part, f.lowest, f.high, strings.Fields(f.words)); err != nil {
				return fmt.Errorf("%s %q: %w", f.name, text, err)
			}
		}
	}
	return nil
}

func checkCronPart(part string, lowest, highest int, words []string) error {
	span, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 {
			return fmt.Errorf("the step %q is no number above zero", step)
		}
	}
	if span == "*" || span == "?" {
		return nil
	}
	from, to, ranged := strings.Cut(span, "-")
	first, err := cronNumber(from, lowest, highest, words)
	if err != nil || !ranged {
		return err
	}
	last, err := cronNumber(to, lowest, highest, words)
	if err == nil && last < first {
		err = errors.New("the range ends before it begins")
	}
	return err
}

func cronNumber(text string, lowest, highest int, words []string) (int, error) {
	for i, word := range words {
		if word == text {
			return lowest + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest || text[0] == '+' || text[0] == '-' {
		return 0, fmt.Errorf("%q is not between %d and %d", text, lowest, highest)
	}
	return n, nil
}
