#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Huge pages: a restart that finds too few of them fails, says so, and leaves nothing. And what is refused.
load helper

# other tests have some of the pool as well, but not so many; and while they end they need some that are free
many=200
more=240
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
	if [ -d pages ]; then
		umount -l pages
	fi
}

# start_pages CODE: a program that has $many huge pages as the python code makes them, and touches all
start_pages() {
	command -v python3 >/dev/null || skip "there is no python3"
	[ -w $pool ] || skip "the pool of huge pages cannot be changed"
	echo 0 >added
	add_pages $more || skip "there is no memory for $more huge pages"
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
	add_pages -$more
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 121
	says "there are not enough huge pages"
	says "sysctl vm.nr_hugepages"
	gone $pid
	add_pages $more
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

# start_file CODE: a program that has a file of a hugetlbfs at f, and then runs the python code
start_file() {
	command -v python3 >/dev/null || skip "there is no python3"
	mkdir pages
	mount -t hugetlbfs -o pagesize=2M none pages || { rmdir pages && skip "no hugetlbfs can be mounted"; }
	cat >p.py <<-END
		import mmap, os, time
		f = os.open("pages/f", os.O_RDWR | os.O_CREAT)
		os.ftruncate(f, 4 << 20)
		def have():
		    return mmap.mmap(f, 4 << 20, flags=mmap.MAP_SHARED | 0x4000)
		$1
		open("ready", "w").close()
		while True: time.sleep(1)
	END
	start python3 p.py
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || skip "$(tail -n 1 start.err)"
}

is_refused() {
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 121
	says "[$1]"
	goes_on $pid
	[ ! -e a.stasis ]
}

@test "a deleted file that nobody maps is refused" {
	start_file 'os.unlink("pages/f")'
	is_refused hugetlb-file
	says "of huge pages"
}

@test "what is mapped beyond the end of a file is refused" {
	start_file 'm = have(); os.ftruncate(f, 2 << 20)'
	is_refused hugetlb-file
	says "beyond the end"
}

@test "what is mapped beyond the end of a deleted file is refused" {
	start_file 'm = have(); os.unlink("pages/f"); os.ftruncate(f, 2 << 20)'
	is_refused hugetlb-file
	says "beyond the end"
}

@test "a file that is shorter at the restart is not made longer" {
	start_file 'm = have()'
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
	truncate -s 2M pages/f
	run "$STASIS" restart a.stasis --detach --file "$PWD/pages/f=keep"
	expect 121
	says "beyond its end"
	[ "$(stat -c %s pages/f)" = $((2 << 20)) ]
}

@test "shared memory that nobody was promised is refused to who may not open it" {
	command -v python3 >/dev/null || skip "there is no python3"
	setpriv --bounding-set -cap_40,-sys_admin true || skip "there are no capabilities to do without"
	start python3 -c 'import mmap, time
m = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x44000)
open("ready", "w").close()
time.sleep(1000)'
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || skip "$(tail -n 1 start.err)"
	run setpriv --bounding-set -cap_40,-sys_admin "$STASIS" check $pid
	expect 121
	says "[hugetlb-unreachable]"
	run "$STASIS" check $pid
	expect 0
}
