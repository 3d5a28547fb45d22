package main

import (
	"fmt"
	"strings"
)

// The picture has two groups of bars, drawn from the rows for 10,000 tokens.
const (
	width     = 760
	labels    = 110 // the x at which the labels end and the bars start
	widestBar = 500
	barHeight = 20
	barStep   = 30
)

const style = `<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600 } .note { font-size: 12px; fill: #59636e }
  rect { fill: #b6bec9 } .ours { fill: #0969da } .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    rect { fill: #4b535d } .ours { fill: #4493f8 } .page { fill: #0d1117 }
  }
</style>
`

// picture returns the content of docs/performance.svg.
func (r *report) picture() string {
	var w strings.Builder
	y := 34
	for _, group := range []struct{ key, title, note string }{
		{"hit10k.cpu", "CPU for a million hits, in seconds", "less is better"},
		{"hit10k.rps", "Hits a second on one core", "more is better"},
	} {
		row, _ := r.row(group.key)
		fmt.Fprintf(&w, `<text class="head" x="16" y="%d">%s</text>`+"\n", y, group.title)
		fmt.Fprintf(&w, `<text class="note" x="%d" y="%d" text-anchor="end">%s</text>`+"\n", width-16, y, group.note)
		y += 14
		largest := 0.0
		for _, c := range r.columns() {
			value, _ := row.median(c.key)
			largest = max(largest, value)
		}
		for _, c := range r.columns() {
			value, ok := row.median(c.key)
			if !ok {
				continue
			}
			class := ""
			if c.key == sidecarName {
				class = ` class="ours"`
			}
			long := value / largest * widestBar
			fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labels-8, y+15, c.head)
			fmt.Fprintf(&w, `<rect%s x="%d" y="%d" width="%.1f" height="%d" rx="3"/>`, class, labels, y, long, barHeight)
			fmt.Fprintf(&w, `<text x="%.1f" y="%d">%s</text>`+"\n", labels+long+8, y+15, number(value))
			y += barStep
		}
		y += 28
	}
	fmt.Fprintf(&w, `<text class="note" x="16" y="%d">10,000 known tokens, 64 connections; %s. %s.</text>`+"\n", y-8, r.Machine.CPU, r.When)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="igproxy beside other servers">`+"\n",
		width, y+8) + style + fmt.Sprintf(`<rect class="page" width="%d" height="%d" rx="6"/>`+"\n", width, y+8) + w.String() + "</svg>\n"
}
