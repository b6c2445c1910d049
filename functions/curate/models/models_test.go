package models_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"strings"
	"testing"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/models"
)

// A model that we ship and cannot be loaded would stop every run.
func TestModelsLoad(t *testing.T) {
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Models() {
		if m.Description == "" {
			t.Errorf("%s has no description", m.Name)
		}
		for _, c := range m.Columns {
			if c.Description == "" {
				t.Errorf("%s.%s has no description", m.Name, c.Name)
			}
		}
	}
}

// The zones stand in two files, which must not drift apart: enrich's names would then differ from the dimension's.
func TestZonesAreTheReferenceTable(t *testing.T) {
	f, err := os.Open("../../../shared/enrichment/reference/taxi_zones.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := "from (values\n  (-1, 'Unknown', 'Unknown', 'Unknown')"
	text := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	for _, r := range rows[1:] {
		want += fmt.Sprintf(",\n  (%s, %s, %s, %s)", r[0], text(r[1]), text(r[2]), text(r[3]))
	}
	want += "\n) as z(zone_key, borough, zone, service_zone)\n"
	b, err := models.Files.ReadFile("dim_zone.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, got, _ := strings.Cut(string(b), "service_zone\n"); got != want {
		t.Errorf("dim_zone.sql has other rows than the reference table: want\n%s", want)
	}
}
