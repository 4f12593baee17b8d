# SPDX-License-Identifier: LGPL-2.1-or-later
"""From what was measured to tables, plots, and what the issue that asked for them has set as targets."""
import os
import re
import statistics

import plot
from work import MIB, Work

BEGIN, END = "<!-- begin of what bench/run --readme writes -->", "<!-- end of it -->"


# ---- numbers ----

def at(sample, path):
    for key in path:
        sample = sample.get(key) if sample else None
    return sample


def middle(samples, *path):
    """the median of what is at @path in each, None where one lacks it"""
    found = [at(s, path) for s in samples]
    return None if None in found or not found else statistics.median(found)


def ratio(samples, above, below):
    """the median of the ratios of each round"""
    pairs = [(at(s, above), at(s, below)) for s in samples]
    if not pairs or any(a is None or not b for a, b in pairs):
        return None
    return statistics.median(a / b for a, b in pairs)


def summary(samples):
    out = {}
    for act in ("save", "restart"):
        row = {"limit": middle(samples, "limit", act)}
        for name in ("stasis", "CRIU"):
            row[name] = {key: middle(samples, name, act, key)
                         for key in ("wall", "still", "image", "peak", "first", "memory")}
        row["of_criu"] = ratio(samples, ("stasis", act, "wall"), ("CRIU", act, "wall"))
        row["of_limit"] = ratio(samples, ("stasis", act, "wall"), ("limit", act))
        row["still_of_limit"] = ratio(samples, ("stasis", act, "still"), ("limit", act))
        out[act] = row
    return out


class Result:
    """a case: ->work, ->samples, ->summary, ->missing (by contestant: why there are no numbers)"""

    def __init__(self, work, samples, missing):
        self.work, self.samples, self.missing = work, samples, missing
        self.summary = summary(samples)

    def raw(self):
        return {"work": self.work.what, "n": self.work.n, "mib": self.work.mib, "missing": self.missing,
                "rounds": self.samples, "summary": self.summary}


# ---- targets ----

CRIU_WALL, LIMIT = "of CRIU's wall", "of the limit"
OVER = {CRIU_WALL: lambda act: ("CRIU", act, "wall"), LIMIT: lambda act: ("limit", act)}
TARGETS = [
    (Work("processes", 1000), "save", "wall", CRIU_WALL, 1 / 5),
    (Work("processes", 1000), "restart", "wall", CRIU_WALL, 1 / 5),
    (Work("threads", 10000), "save", "wall", CRIU_WALL, 1 / 10),
    (Work("threads", 10000), "restart", "wall", CRIU_WALL, 1 / 10),
    (Work("memory", 1024), "save", "still", LIMIT, 1.3),
    (Work("memory", 1024), "restart", "wall", LIMIT, 1.3),
    (Work("memory", 1024), "restart", "wall", CRIU_WALL, 0.6),
    (Work("processes", 1), "save", "wall", CRIU_WALL, 1 / 8),
    (Work("processes", 1), "restart", "wall", CRIU_WALL, 1 / 8),
    (Work("shared", 100, 1024), "save", "image", "GiB", 1.1),
    (Work("shared", 100, 1024), "restart", "memory", "GiB", 1.1),
]
WHAT = {"wall": "wall", "still": "stood still", "image": "image", "memory": "memory of all"}


def measured(samples, act, key, unit):
    path = ("stasis", act, key)
    if unit in OVER:
        return ratio(samples, path, OVER[unit](act))
    size = middle(samples, *path)
    return size and size / 1024 / MIB


def targets(results):
    yield ["target", "", "at most", "measured", "verdict"]
    for work, act, key, unit, bound in TARGETS:
        result = next((r for r in results if r.work == work), None)
        if not result:
            continue
        value = measured(result.samples, act, key, unit)
        verdict = "not measured" if value is None else "met" if value <= bound else "not met"
        yield [work.title(), "%s: %s" % (act, WHAT[key]), "%.3g %s" % (bound, unit), show(value, form="%.3g"), verdict]


# ---- tables ----

def show(value, unit=1.0, form="%.1f"):
    return "-" if value is None else form % (value / unit)


def row(result, act, *keys):
    cells, s = [], result.summary[act]
    for key in keys:
        unit = MIB if key in ("image", "peak", "memory") else 1e6
        cells += [show(s[name][key], unit) if s[name][key] is not None else result.missing.get(name, "-")
                  for name in ("stasis", "CRIU")]
    return cells


def table(results, act, *keys):
    heads = {"wall": act + " ms", "still": "still ms", "first": "first ms", "image": "image MiB", "peak": "peak MiB"}
    head = ["work", heads["wall"], "CRIU", "of CRIU", "limit ms", "of limit"]
    for key in keys:
        head += [heads[key], "CRIU"]
    yield head
    for r in results:
        s = r.summary[act]
        yield ([r.work.title()] + row(r, act, "wall") + [show(s["of_criu"], form="%.2f"), show(s["limit"], 1e6),
                                                       show(s["of_limit"])] + row(r, act, *keys))


def markdown(rows):
    rows = list(rows)
    width = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * (w - 1) + ":" if i else "-" * w for i, w in enumerate(width)])
    return "".join("| %s |\n" % " | ".join(cell.rjust(w) if i else cell.ljust(w)
                                           for i, (cell, w) in enumerate(zip(r, width))) for r in rows)


def tables(machine, results):
    intro = ("%(date)s, Linux %(kernel)s, %(cpus)d × %(cpu)s, %(memory_mib)d MiB of memory, %(rounds)d rounds, "
             "images on %(scratch)s, %(criu)s.\n" % machine)
    parts = [table(results, "save", "still", "image", "peak"), table(results, "restart", "first", "peak"),
             targets(results)]
    return "\n".join([intro] + [markdown(p) for p in map(list, parts) if len(p) > 1])


# ---- plots ----

PLOTS = (("memory", "Private memory"), ("processes", "Processes"), ("threads", "Threads"))


def series(results, act):
    for name in ("stasis", "CRIU", "limit"):
        values = [(r.work.n, r.summary[act]["limit"] if name == "limit" else r.summary[act][name]["wall"])
                  for r in results]
        yield name, [(n, ns) for n, ns in values if ns]


def plots(results):
    """(name, SVG), of works that were measured with two counts or more"""
    for what, title in PLOTS:
        some = sorted((r for r in results if r.work.what == what and r.summary["save"]["limit"]),
                      key=lambda r: r.work.n)
        if len(some) < 2:
            continue
        xs = [(r.work.n, r.work.size() or str(r.work.n)) for r in some]
        yield what, plot.plot(title, xs, [(act, list(series(some, act))) for act in ("save", "restart")])


def write_plots(results, folder):
    os.makedirs(folder, exist_ok=True)
    names = []
    for name, svg in plots(results):
        with open(os.path.join(folder, name + ".svg"), "w", encoding="utf-8") as f:
            f.write(svg)
        names.append(name + ".svg")
    return names


def write_readme(path, machine, results):
    """the part between the marks is ours"""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    names = write_plots(results, os.path.dirname(path))
    ours = tables(machine, results) + "".join("\n![time against %s](%s)\n" % (n[:-4], n) for n in names)
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    text, n = re.subn(pattern, lambda _: "%s\n\n%s\n%s" % (BEGIN, ours, END), text, flags=re.DOTALL)
    if n != 1:
        raise ValueError("%s lacks the marks between which to write" % path)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
