#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Huge pages: a restart that finds too few of them fails, says so, and leaves nothing.
load helper

# other tests have some of the pool as well, but not so many
many=200
pool=/proc/sys/vm/nr_hugepages

# add_pages N: to the pool; "added" has how many that are in all. Other tests do so as well: one at a time
add_pages() {
	local before lock
	exec {lock}<$pool
	flock $lock
	before=$(cat $pool)
	echo $((before + $1)) >$pool
	if [ "$(cat $pool)" -ne $((before + $1)) ]; then
		echo "$before" >$pool
		exec {lock}<&-
		return 1
	fi
	exec {lock}<&-
	echo $(($(cat added) + $1)) >added
}

teardown() {
	local pid
	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null || true
		until_true 10 gone "$pid"
	done <started
	[ ! -s added ] || add_pages -"$(cat added)"
}

# start_pages CODE: a program that has $many huge pages as the python code makes them, and touches all
start_pages() {
	command -v python3 >/dev/null || skip "there is no python3"
	[ -w $pool ] || skip "the pool of huge pages cannot be changed"
	echo 0 >added
	add_pages $many || skip "there is no memory for $many huge pages"
	cat >p.py <<-END
		import ctypes, os, time
		libc = ctypes.CDLL(None, use_errno=True)
		libc.mmap.restype = ctypes.c_void_p
		SHARED, PRIVATE, ANONYMOUS, NORESERVE, HUGETLB = 1, 2, 0x20, 0x4000, 0x40000
		size = $many << 21
		def have(flags, fd=-1):
		    at = libc.mmap(None, ctypes.c_size_t(size), 3, flags, fd, 0)
		    if at is None or at > 1 << 63:
		        raise SystemExit("no huge pages")
		    return (ctypes.c_char * size).from_address(at)
		$1
		for i in range(0, size, 1 << 21):
		    pages[i] = 65 + (i >> 21) % 26
		open("ready", "w").close()
		while True:
		    time.sleep(0.02)
		    if os.path.exists("ask"):
		        os.rename("ask", "same" if all(pages[i][0] == 65 + (i >> 21) % 26 for i in range(0, size, 1 << 21)) else "other")
	END
	start python3 p.py
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || skip "$(tail -n 1 start.err)"
}

# needs_them: without the pages it does not come back, and with them it does, as it was
needs_them() {
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
	add_pages -$many
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 121
	says "there are not enough huge pages"
	says "sysctl vm.nr_hugepages"
	gone $pid
	add_pages $many
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 0
	cat pid >>started
	: >ask
	until_true 10 test ! -e ask
	[ -e same ]
}

@test "shared memory" {
	start_pages 'pages = have(SHARED | ANONYMOUS | HUGETLB)'
	needs_them
}

@test "private memory that nobody was promised" {
	start_pages 'pages = have(PRIVATE | ANONYMOUS | HUGETLB | NORESERVE)'
	needs_them
}

@test "a memfd" {
	start_pages 'fd = libc.memfd_create(b"pages", 4)
os.ftruncate(fd, size)
pages = have(SHARED, fd)'
	needs_them
}

@test "System V shared memory" {
	start_pages 'libc.shmat.restype = ctypes.c_void_p
id = libc.shmget(0, ctypes.c_size_t(size), 0o4600)
pages = (ctypes.c_char * size).from_address(libc.shmat(id, None, 0))
libc.shmctl(id, 0, None)'
	needs_them
}
