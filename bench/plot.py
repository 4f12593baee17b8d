# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG: time against size, both axes logarithmic, one panel for saving and one for restarting."""
import math

WIDTH, HEIGHT = 840, 340
TOP, BOTTOM, LEFT, RIGHT, GAP = 44, 44, 56, 66, 66
PANEL = (WIDTH - LEFT - 2 * RIGHT - GAP) / 2
LABEL = 14  # between two labels, at least

STYLE = """
  text { font: 12px sans-serif; fill: #374151 }
  .title { font-weight: bold; font-size: 13px }
  .ground { fill: #ffffff } .grid { stroke: #e5e7eb } .line { fill: none; stroke-width: 2 }
  .stasis { stroke: #2563eb } .criu { stroke: #c2410c } .limit { stroke: #6b7280; stroke-dasharray: 5 4 }
  text.stasis, circle.stasis { fill: #2563eb; stroke: none } text.criu, circle.criu { fill: #c2410c; stroke: none }
  text.limit, circle.limit { fill: #6b7280; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #d1d5db } .ground { fill: #0d1117 } .grid { stroke: #30363d }
    .stasis { stroke: #60a5fa } .criu { stroke: #fb923c } .limit { stroke: #9ca3af }
    text.stasis, circle.stasis { fill: #60a5fa } text.criu, circle.criu { fill: #fb923c }
    text.limit, circle.limit { fill: #9ca3af }
  }
"""


def in_words(ns):
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= unit:
            return "%g %s" % (ns / unit, name)
    return "%g ns" % ns


class Panel:
    def __init__(self, left, title, xs, low, high):
        """@xs: (position, label); @low, @high: of time, in powers of ten"""
        self.left, self.xs, self.low, self.high = left, xs, low, high
        first, last = math.log10(xs[0][0]), math.log10(xs[-1][0])
        self.first, self.per_x = first, PANEL / ((last - first) or 1)
        self.out = ['<text class="title" x="%.1f" y="22">%s</text>' % (left, title)]
        self.axes()

    def x(self, value):
        return self.left + (math.log10(value) - self.first) * self.per_x

    def y(self, ns):
        part = (math.log10(ns) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def axes(self):
        for power in range(self.low, self.high + 1):
            y = self.y(10 ** power)
            self.out.append('<path class="grid" d="M%.1f %.1fh%.1f"/>' % (self.left, y, PANEL))
            self.out.append('<text x="%.1f" y="%.1f" text-anchor="end">%s</text>' %
                            (self.left - 8, y + 4, in_words(10 ** power)))
        for value, label in self.xs:
            x = self.x(value)
            self.out.append('<path class="grid" d="M%.1f %.1fV%.1f"/>' % (x, TOP, HEIGHT - BOTTOM))
            self.out.append('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>' % (x, HEIGHT - BOTTOM + 20, label))

    def lines(self, series):
        """@series: (name, [(position, ns)])"""
        ends = []
        for name, points in series:
            at = [(self.x(x), self.y(ns)) for x, ns in points]
            css = name.lower()
            self.out.append('<path class="line %s" d="M%s"/>' % (css, "L".join("%.1f %.1f" % p for p in at)))
            self.out += ['<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>' % (css, x, y) for x, y in at]
            ends.append((at[-1][1], at[-1][0], name))
        last = -LABEL
        for y, x, name in sorted(ends):
            last = max(y, last + LABEL)
            self.out.append('<text class="%s" x="%.1f" y="%.1f">%s</text>' % (name.lower(), x + 8, last + 4, name))


def plot(title, xs, panels):
    """@xs: (position, label); @panels: (title, [(name, [(position, ns)])]), at most two; returns SVG"""
    values = [ns for _, series in panels for _, points in series for _, ns in points if ns]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">' %
           (WIDTH, HEIGHT, title), "<style>%s</style>" % STYLE,
           '<rect class="ground" width="%d" height="%d"/>' % (WIDTH, HEIGHT)]
    for i, (name, series) in enumerate(panels):
        panel = Panel(LEFT + i * (PANEL + RIGHT + GAP), "%s: %s" % (title, name), xs, low, max(high, low + 1))
        panel.lines([(who, points) for who, points in series if points])
        out += panel.out
    return "\n".join(out + ["</svg>", ""])
