package admin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// chart is a chart of the page, with one column for each complete bucket of the last 15 minutes.
type chart struct {
	Title  string
	Series []series
	Ticks  []tick // of the vertical axis
	Times  []tick // of the horizontal axis
}

// series is a set of bars in a chart. Name is its class in the style sheet. Path is an SVG path; a
// column is 1 unit wide, and the chart is 100 units high.
type series struct{ Name, Path string }

// tick is a labelled position on an axis. At is a percentage of the axis, from the top or from the
// left.
type tick struct {
	At    string
	Label string
}

func tickAt(percent float64, label string) tick {
	return tick{strconv.FormatFloat(percent, 'f', 2, 64), label}
}

// column is a bucket and its place in the charts.
type column struct {
	Bucket
	x int // 0: the leftmost place
}

// columnsOf returns the columns of the buckets, from right to left. The latest bucket is the
// rightmost, and the start of any other bucket decides its place. No two buckets share a column,
// even if one began late, or lasted long because the machine was suspended. Buckets that are too
// old for the charts are left out.
func columnsOf(list []Bucket) (columns []column) {
	if len(list) == 0 {
		return nil
	}
	next, last := buckets, list[len(list)-1].At
	for i := len(list) - 1; i >= 0; i-- {
		next = min(next-1, buckets-1-int(math.Round(last.Sub(list[i].At).Seconds()/bucketTime.Seconds())))
		if next < 0 {
			break
		}
		columns = append(columns, column{list[i], next})
	}
	return columns
}

// bars draws a bar in each column. The function value returns the height of a bar, as a share of
// the chart's height. To stack the bars of several series, pass one map for all of them: the map
// heights has, by x, the total height in percent of the bars so far. If it is nil, the bars are not
// stacked.
func bars(name string, columns []column, heights map[int]float64, value func(column) float64) series {
	var path strings.Builder
	for _, c := range columns {
		height := min(1, value(c)) * 100
		if height <= 0 {
			continue
		}
		top := 100 - height - heights[c.x]
		if heights != nil {
			heights[c.x] += height
		}
		fmt.Fprintf(&path, "M%d.1 %.2fh.8v%.2fh-.8z", c.x, top, height)
	}
	return series{name, path.String()}
}

// timesOf returns a tick for each multiple of five minutes, such as 12:05, in the last 15 minutes.
func (s *Status) timesOf(columns []column) (list []tick) {
	if len(columns) == 0 {
		return nil
	}
	const width = buckets * bucketTime
	end := columns[0].At.Add(bucketTime).In(s.Now.Location())
	for t := end.Truncate(5 * time.Minute); end.Sub(t) < width; t = t.Add(-5 * time.Minute) {
		list = append(list, tickAt(100-100*float64(end.Sub(t))/float64(width), t.Format("15:04")))
	}
	return list
}

// charts returns the charts of the page. The first one shows the requests.
func (s *Status) charts() []chart {
	columns := columnsOf(s.Buckets)
	perSecond := func(c column, n uint64) float64 { return float64(n) / max(1, c.Seconds) }
	most, mostCalls := 0.0, 0.0
	for _, c := range columns {
		sums := c.byGroup()
		most = max(most, perSecond(c, sums[0]+sums[1]+sums[2]))
		mostCalls = max(mostCalls, perSecond(c, c.Calls))
	}
	top, ticks := scale(most)
	requests := chart{Title: "Requests per second", Ticks: ticks}
	heights := map[int]float64{}
	for i, g := range groups {
		requests.Series = append(requests.Series, bars(g.Name, columns, heights, func(c column) float64 { return perSecond(c, c.byGroup()[i]) / top }))
	}
	topCalls, ticksCalls := scale(mostCalls)
	list := []chart{requests,
		{Title: "Hit ratio", Ticks: []tick{tickAt(0, "100%"), tickAt(50, "50%")},
			Series: []series{bars("ratio", columns, nil, func(c column) float64 { return orZero(c.HitRatio) })}},
		{Title: "Calls to Meta per second", Ticks: ticksCalls,
			Series: []series{bars("calls", columns, nil, func(c column) float64 { return perSecond(c, c.Calls) / topCalls })}},
		latencies("Time for a hit", columns, func(c column) Latency { return c.Hits }),
		latencies("Time for a miss", columns, func(c column) Latency { return c.Exchanges }),
	}
	for i := range list {
		list[i].Times = s.timesOf(columns)
	}
	return list
}

// latencies returns a chart of the two bounds in Latency, P50 and P99. Its scale is logarithmic,
// from 0.04 ms to 10 s.
func latencies(title string, columns []column, of func(column) Latency) chart {
	const low, decades = -1.4, 5.4 // the scale begins at 10^-1.4 ms and spans 5.4 powers of ten
	height := func(ms float64) float64 { return (math.Log10(ms) - low) / decades }
	value := func(l Latency, ms *float64) float64 {
		switch {
		case l.Count == 0:
			return 0
		case ms == nil: // above the highest bound of the histogram
			return 1
		}
		return height(*ms)
	}
	c := chart{Title: title, Series: []series{
		bars("most", columns, nil, func(c column) float64 { return value(of(c), of(c).P99) }),
		bars("half", columns, nil, func(c column) float64 { return value(of(c), of(c).P50) }),
	}}
	for _, t := range []struct {
		ms    float64
		label string
	}{{1, "1 ms"}, {100, "100 ms"}, {10000, "10 s"}} {
		c.Ticks = append(c.Ticks, tickAt(100-100*height(t.ms), t.label))
	}
	return c
}

// scale returns top, a round number that is not below value, and the ticks of an axis from 0 to
// top.
func scale(value float64) (top float64, ticks []tick) {
	power := math.Pow(10, math.Floor(math.Log10(max(1, value))))
	for _, m := range []float64{1, 2, 4, 6, 8, 10} {
		if top = m * power; top >= value {
			break
		}
	}
	return top, []tick{tickAt(0, fmt.Sprintf("%g", top)), tickAt(50, fmt.Sprintf("%g", top/2))}
}

func orZero(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

// moments describes the columns in words, one line for each, the leftmost first. The line of a
// column without a bucket is empty.
func (s *Status) moments() string {
	lines := make([]string, buckets)
	for _, c := range columnsOf(s.Buckets) {
		sums := c.byGroup()
		text := fmt.Sprintf("%s to %s: %d served, %d declined, %d failed; %s to Meta", s.Clock(c.At), s.Clock(c.At.Add(bucketTime)), sums[0], sums[1], sums[2], plural(c.Calls, "call"))
		if c.HitRatio != nil {
			text += fmt.Sprintf("; hit ratio %.0f%%", *c.HitRatio*100)
		}
		for _, l := range []struct {
			name string
			Latency
		}{{"hits", c.Hits}, {"misses", c.Exchanges}} {
			if l.Count > 0 {
				text += fmt.Sprintf("; %s: median %s, 99%% %s", l.name, l.Median(), l.Most())
			}
		}
		lines[c.x] = text
	}
	return strings.Join(lines, "\n")
}
