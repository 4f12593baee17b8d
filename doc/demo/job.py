#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""job.py OUT [SECONDS] - statistics over the header files of this system, appended to OUT as they are found.

The work is spread as in many programs: a thread reads the files, a child process that is fed through a pipe counts their
words, the main thread gathers what comes back. What it has found lives in memory only: nothing is read back from OUT.
"""
import glob
import hashlib
import json
import queue
import subprocess
import sys
import threading
import time

LINES = 14
PER_LINE = 20

CHILD = r"""
import collections, json, re, sys
seen = collections.Counter()
for line in sys.stdin:
    seen.update(re.findall(r"[a-z_]{4,}", json.loads(line)))
    print(json.dumps([len(seen), sum(seen.values())]), flush=True)
"""


def read_files(paths, texts):
    for path in paths:
        with open(path, errors="replace") as f:
            texts.put(f.read())


def main():
    out_path, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 15.0
    found = sorted(glob.glob("/usr/include/*.h") + glob.glob("/usr/include/linux/*.h"))
    paths = (found * (LINES * PER_LINE // len(found) + 1))[:LINES * PER_LINE]
    texts = queue.Queue(maxsize=8)
    threading.Thread(target=read_files, args=(paths, texts), daemon=True).start()
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    digest = hashlib.sha256()
    with open(out_path, "a") as out:
        for n in range(1, len(paths) + 1):
            text = texts.get()
            digest.update(text.encode())
            child.stdin.write(json.dumps(text) + "\n")
            child.stdin.flush()
            words, total = json.loads(child.stdout.readline())
            if n % PER_LINE == 0:
                out.write("%3d files %6d words %5d different %s\n" % (n, total, words, digest.hexdigest()[:4]))
                out.flush()
            time.sleep(seconds / len(paths))
    child.stdin.close()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
