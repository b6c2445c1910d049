package manifest

import "testing"

// Guards against schedules that a cluster refuses.
func TestSchedules(t *testing.T) {
	for _, s := range []string{"*/5 * * * *", "0 0 1 1 0", "0-30/10,45 8-17 ? jan-mar MON-FRI", "59 23 31 12 sat", "@hourly", "@every 1h30m"} {
		if err := CheckSchedule(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * * mo", "1,, * * * *", "+1 * * * *", "@often", "@every 5", "@every -5s"} {
		if err := CheckSchedule(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
