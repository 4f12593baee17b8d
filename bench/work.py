# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs there are to be saved and restarted (subject.c makes them), and whether one has come back whole."""
import collections
import os

MIB = 1 << 20


class Failed(Exception):
    pass


class Work(collections.namedtuple("Work", "what n mib", defaults=(0,))):
    @classmethod
    def parse(cls, text):
        what, n, mib = (text.split(":") + ["0"])[:3]
        work = cls(what, int(n), int(mib))
        if what not in COUNTS or work.n < 1 or (what == "shared") != (work.mib > 0):
            raise ValueError(text)
        return work

    def size(self):
        mib = self.n if self.what == "memory" else self.mib
        return "%d GiB" % (mib // 1024) if mib and mib % 1024 == 0 else "%d MiB" % mib if mib else None

    def title(self):
        if self.what == "memory":
            return self.size()
        if self.what == "shared":
            return "%d children sharing %s" % (self.n, self.size())
        if self.what == "files":
            return "%d open files" % self.n
        return "1 process" if self == ("processes", 1, 0) else "%d %s" % (self.n, self.what)

    def argv(self):
        return [self.what, str(self.n)] + ([str(self.mib)] if self.mib else [])

    def memory_mib(self):
        """what the program takes, page tables included; more or less"""
        each = {"memory": 1, "threads": 0.05, "processes": 0.3, "mappings": 0.005, "files": 0.01}
        if self.what == "shared":
            return self.mib + self.n * (0.3 + self.mib / 512)
        return each[self.what] * self.n

    def check(self, pid):
        """is the program there, and all of it?"""
        found = COUNTS[self.what](pid)
        if found < self.n:
            raise Failed("%d are back of %s" % (found, self.title()))


# ---- counting ----

def in_status(pid, key):
    with open("/proc/%d/status" % pid) as f:
        return int(dict(line.split(":", 1) for line in f)[key].split()[0])


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(child) for child in f.read().split()]


def mappings(pid):
    with open("/proc/%d/maps" % pid) as f:
        return sum(1 for _ in f)


COUNTS = {
    "memory": lambda pid: in_status(pid, "RssAnon") // 1024,
    "processes": lambda pid: len(children(pid)) + 1,
    "threads": lambda pid: in_status(pid, "Threads"),
    "shared": lambda pid: len(children(pid)),
    "mappings": mappings,
    "files": lambda pid: len(os.listdir("/proc/%d/fd" % pid)),
}


def pss(pid):
    """the memory of it and its children in bytes, what they share counted once"""
    total = 0
    for one in [pid] + children(pid):
        with open("/proc/%d/smaps_rollup" % one) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    return total * 1024


CASES = [Work("memory", n) for n in (1, 64, 1024, 4096)] + [Work("processes", n) for n in (1, 10, 100, 1000)] + \
        [Work("threads", n) for n in (100, 1000, 10000)] + \
        [Work("shared", 1000, 256), Work("shared", 100, 1024), Work("mappings", 50000), Work("files", 10000)]
