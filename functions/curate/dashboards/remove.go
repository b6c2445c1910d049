package dashboards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"gopkg.in/yaml.v3"
)

// pageSize is the largest page that a Superset gives where nobody told it otherwise.
const pageSize = 100

// Member is something of a bundle that a Superset has.
type Member struct {
	Kind string // dashboard, chart, dataset, database
	ID   int    // in this Superset
	Name string
}

// Members lists what the Superset has of a bundle, found by UUID, in an order in which it can be removed: dashboards, charts, data sets, databases.
func (s *Superset) Members(ctx context.Context, files map[string][]byte) ([]Member, error) {
	of := map[string]bool{}
	for name, content := range files {
		var doc struct {
			UUID string `yaml:"uuid"`
		}
		if err := yaml.Unmarshal(content, &doc); err != nil {
			return nil, fmt.Errorf("read the bundle's %s: %w", name, err)
		}
		if doc.UUID != "" {
			of[doc.UUID] = true
		}
	}
	var found []Member
	for _, kind := range []string{"dashboard", "chart", "dataset", "database"} {
		for page, last := 0, false; !last; page++ {
			var list struct {
				Result []struct {
					ID       int    `json:"id"`
					UUID     string `json:"uuid"`
					Title    string `json:"dashboard_title"`
					Slice    string `json:"slice_name"`
					Table    string `json:"table_name"`
					Database string `json:"database_name"`
				} `json:"result"`
			}
			query := url.Values{"q": {fmt.Sprintf("(order_column:changed_on_delta_humanized,order_direction:asc,page:%d,page_size:%d)", page, pageSize)}}
			if err := s.call(ctx, http.MethodGet, "api/v1/"+kind+"/", query, "", nil, &list); err != nil {
				return nil, fmt.Errorf("list every %s: %w", kind, err)
			}
			for _, r := range list.Result {
				if of[r.UUID] {
					found = append(found, Member{Kind: kind, ID: r.ID, Name: r.Title + r.Slice + r.Table + r.Database})
				}
			}
			last = len(list.Result) < pageSize
		}
	}
	return found, nil
}

// Remove takes members out of the Superset, in their order. One that is gone already is no error. What somebody else's charts or data sets still need stays, which is one.
func (s *Superset) Remove(ctx context.Context, members []Member) error {
	for _, m := range members {
		var answer json.RawMessage
		err := s.call(ctx, http.MethodDelete, "api/v1/"+m.Kind+"/"+strconv.Itoa(m.ID), nil, "", nil, &answer)
		if status := (*statusError)(nil); errors.As(err, &status) && status.status == http.StatusNotFound {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove the %s %s: %w", m.Kind, m.Name, err)
		}
	}
	return nil
}
