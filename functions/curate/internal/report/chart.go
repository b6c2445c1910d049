package report

import (
	"fmt"
	"math"
	"strings"
)

// The charts' coordinate systems, in SVG user units.
const (
	sparkWidth, sparkHeight, sparkMargin = 132.0, 30.0, 4.0
	barsWidth, barsHeight                = 132.0, 34.0
)

// sparkline is a trend in coordinates.
type sparkline struct {
	Points       string
	LastX, LastY float64
	Limit        float64 // y of the threshold
	HasLimit     bool
	Label        string // for those who do not see it
}

// spark lays out a trend; nil where there are fewer than two values, since one value is no trend.
func spark(points []Point, limit *float64, unit string) *sparkline {
	values := make([]Point, 0, len(points))
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
			continue
		}
		values = append(values, p)
		low, high = math.Min(low, p.Value), math.Max(high, p.Value)
	}
	if len(values) < 2 {
		return nil
	}
	first, last := values[0], values[len(values)-1]
	s := &sparkline{Label: fmt.Sprintf("%d values from %s to %s, between %s and %s, now %s", len(values), first.Day, last.Day, measure(low, unit), measure(high, unit), measure(last.Value, unit))}
	// A threshold far away from all values would flatten their trend to a line: it is drawn only where it is near.
	if limit != nil && !math.IsNaN(*limit) && !math.IsInf(*limit, 0) {
		if reach := math.Max(high-low, math.Abs(high)) * 2; *limit >= low-reach && *limit <= high+reach {
			s.HasLimit = true
			low, high = math.Min(low, *limit), math.Max(high, *limit)
		}
	}
	y := func(v float64) float64 {
		if high == low {
			return sparkHeight / 2
		}
		return round(sparkHeight - sparkMargin - (v-low)/(high-low)*(sparkHeight-2*sparkMargin))
	}
	var b strings.Builder
	for i, p := range values {
		x := round(sparkMargin + float64(i)/float64(len(values)-1)*(sparkWidth-2*sparkMargin))
		fmt.Fprintf(&b, "%g,%g ", x, y(p.Value))
		s.LastX, s.LastY = x, y(p.Value)
	}
	s.Points = strings.TrimSpace(b.String())
	if s.HasLimit {
		s.Limit = y(*limit)
	}
	return s
}

type bar struct {
	X, Y, Width, Height float64
	Title               string
}

type histogram struct {
	Bars  []bar
	Label string
}

// bars lays out a histogram; nil where there is nothing to draw.
func bars(bins []Bin) *histogram {
	var highest int64
	for _, b := range bins {
		highest = max(highest, b.Count)
	}
	if highest == 0 {
		return nil
	}
	h := &histogram{Label: plural(len(bins), "bar", "bars") + " from " + cut(bins[0].Label) + " to " + cut(bins[len(bins)-1].Label) + ", the highest of " + plural(highest, "row", "rows")}
	width := barsWidth / float64(len(bins))
	for i, b := range bins {
		height := float64(b.Count) / float64(highest) * barsHeight
		// One row among a million is still to be seen: outliers are what a histogram is looked at for.
		if b.Count > 0 {
			height = math.Max(height, 1.5)
		}
		h.Bars = append(h.Bars, bar{
			X: round(float64(i) * width), Y: round(barsHeight - height), Width: round(width - math.Min(1, width*0.15)), Height: round(height),
			Title: cut(b.Label) + ": " + plural(max(b.Count, 0), "row", "rows"),
		})
	}
	return h
}

func round(v float64) float64 { return math.Round(v*100) / 100 }
