package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Guards people who are in the rows: whatever form an engine's message has, also one that nobody thought of, nothing of a value is left, while the kind of error, our own words around it and the column that was cast are.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"quality of events.a on 2026-11-21: not done within 2m0s": "quality of events.a on 2026-11-21: not done within 2m0s",
		"running select 1: Conversion Error: Could not convert string 'Jane Doe' to INT32 when casting from source column name\n\nLINE 1: select cast(name as integer)\n   ^":   "running select 1: Conversion Error: Could not convert string … to INT32 when casting from source column name",
		`Conversion Error: Could not convert string 'o'clock "Doe"' to DOUBLE when casting from source column odd`:                                                              "Conversion Error: Could not convert string … to DOUBLE when casting from source column odd",
		"Conversion Error: Could not convert string 'x' when casting from source column Doe' to INT32":                                                                          "Conversion Error: Could not convert string … when casting from source column … to INT32",
		"Conversion Error: Type INT64 with value 3000000000 can't be cast because the value is out of range for the destination type INT32 when casting from source column big": "Conversion Error: Type INT64 with value … can't be cast because the value is out of range for the destination type INT32 when casting from source column big",
		`Conversion Error: timestamp field value out of range: "2024-13-45" when casting from source column ts`:                                                                 "Conversion Error: timestamp field value out of range … when casting from source column ts",
		`Invalid Input Error: Malformed JSON at byte 3 of input: unexpected end of data.  Input: "{"Doe"`:                                                                       "",
		"Invalid Input Error: Could not parse string \"Jane Doe\" according to format specifier \"%Y\"\nJane Doe\n^\nError: Expected a number":                                  "",
		"Invalid Input Error: Jane Doe": "Invalid Input Error: …",
		"Out of Range Error: Overflow in multiplication of INT64 (9000000000000000000 * 3000000000)!": "Out of Range Error: Overflow in multiplication of INT64 …",
		"INTERNAL Error: Doe": "INTERNAL Error: …",
		`Binder Error: Referenced column "nothing" not found in FROM clause! Candidate bindings: "ts" LINE 1: select nothing where x = 'Doe'`:                         `Binder Error: Referenced column "nothing" not found in FROM clause! Candidate bindings: "ts"`,
		"Out of Memory Error: could not allocate block of size 256.0 KiB (122.0 MiB/128.0 MiB used)":                                                                  "Out of Memory Error: could not allocate block of size 256.0 KiB (122.0 MiB/128.0 MiB used)",
		"Out of Memory Error: failed to offload data block of size 256.0 KiB (14.9 MiB/15.0 MiB used).\nThis limit was set by the 'max_temp_directory_size' setting.": "Out of Memory Error: failed to offload data block of size 256.0 KiB (14.9 MiB/15.0 MiB used).\nThis limit was set by the 'max_temp_directory_size' setting.",
		`Trino refused (INVALID_CAST_ARGUMENT): trino: query failed (200 OK): "USER_ERROR: Value cannot be cast to date: Jane Doe"`:                                   `Trino refused (INVALID_CAST_ARGUMENT): trino: query failed (200 OK): "USER_ERROR: Value cannot be cast to date …`,
		`Trino refused (COLUMN_NOT_FOUND): trino: query failed (200 OK): "USER_ERROR: line 1:8: Column 'nothing' cannot be resolved"`:                                 `Trino refused (COLUMN_NOT_FOUND): trino: query failed (200 OK): "USER_ERROR: line 1:8: Column 'nothing' cannot be resolved"`,
		`Trino is away or does not answer: trino: query failed (0 ): "Post \"http://x:8080/v1/statement\": connection refused"`:                                       `Trino is away or does not answer: trino: query failed (0 ): "Post \"http://x:8080/v1/statement\": connection refused"`,
		`sql: Scan error on column index 0, name "Doe": converting driver.Value type string ("Doe") to a int64: invalid syntax`:                                       "",

		`strconv.ParseInt: parsing "Doe": invalid syntax`:                  "strconv.ParseInt: parsing … invalid syntax",
		`parsing time "Doe" as "2006-01-02": cannot parse "Doe" as "2006"`: "",
	} {
		got := Clean(in)
		if strings.Contains(got, "Doe") || strings.Contains(got, "3000000000") || want != "" && !strings.EqualFold(got, want) {
			t.Errorf("%s\n is %s\nnot %s", in, got, want)
		}
		if again := Clean(got); again != got {
			t.Errorf("%s\nbecomes %s", got, again)
		}
	}
}

// Guards what stands beside an engine's error: joined errors are each told, wrapped ones keep their own words, and callers still find what they look for.
func TestText(t *testing.T) {
	engine := errors.New("Conversion Error: Could not convert string 'Jane\nDoe' to INT32")
	gone := fmt.Errorf("scratch was not removed: %w", context.Canceled)
	err := fmt.Errorf("models: %w", errors.Join(fmt.Errorf("star.fact_trip: %w (kept)", engine), gone, nil))
	want := "models: star.fact_trip: Conversion Error: Could not convert string … to INT32 (kept)\nscratch was not removed: context canceled"
	if got := Text(err); got != want {
		t.Errorf("%s", got)
	}
	hid := Hide(err)
	if hid.Error() != want || !errors.Is(hid, context.Canceled) || !errors.Is(hid, engine) || Text(fmt.Errorf("run: %w", hid)) != "run: "+want {
		t.Errorf("%v", hid)
	}
	if Hide(gone) != gone || Hide(nil) != nil || Text(nil) != "" { //nolint:errorlint // the very same error
		t.Error("an error without values is another")
	}
	if got := Text(fmt.Errorf("told as %q: %w", engine.Error(), errors.New("Invalid Input Error: Doe"))); strings.Contains(got, "Doe") {
		t.Error(got)
	}
}
