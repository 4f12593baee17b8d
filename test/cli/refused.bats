#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What no descriptor and no mapping leads to: it is refused by name, and the program runs on.
load helper

# start_python TEXT: it runs until "ready" is there
start_python() {
	command -v python3 >/dev/null || skip "there is no python3"
	printf 'import ctypes, mmap, os, socket, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n%s\n' "$1" >p.py
	printf 'open("ready", "w").close()\nwhile True: time.sleep(1)\n' >>p.py
	start python3 p.py
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || skip "the kernel has no such thing: $(tail -n 1 start.err)"
}

# is_refused SLUG
is_refused() {
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 121
	says "[$1]"
	[ ! -e a.stasis ]
	kill -0 $pid
}

@test "a process that was the last to change a semaphore, perhaps with SEM_UNDO" {
	start_python '
set = libc.semget(0, 1, 0o600)
if set < 0 or libc.semctl(set, 0, 16, 1) < 0 or libc.semop(set, b"\0\0\xff\xff\0\x10", 1) < 0:
    sys.exit("no semaphores")
open("set", "w").write(str(set))'
	is_refused sysvsem-undo
	ipcrm -s "$(cat set)"
}

@test "a keyring of a process" {
	start_python '
if libc.syscall(248, b"user", b"name", b"text", 4, -2) < 0:
    sys.exit("no keyrings")'
	is_refused keyring
}

@test "a user namespace of its own" {
	start unshare -U sleep 100
	until_true 10 grep -q sleep /proc/$pid/comm || skip "user namespaces are not to be had"
	is_refused namespace
	says "user namespace"
}

@test "a socket of a network is called by its kind" {
	start_python '
s = socket.socket(socket.AF_INET)
'
	is_refused fd-unknown
	says "a TCP socket"
}

@test "packets in a pipe that is in packet mode no more" {
	start_python '
import fcntl
r, w = os.pipe2(os.O_DIRECT)
os.write(w, b"1")
os.write(w, b"22")
fcntl.fcntl(w, fcntl.F_SETFL, 0)
fcntl.fcntl(r, fcntl.F_SETFL, 0)'
	is_refused pipe-packets
}

@test "a memfd that another program holds as well: that is noted" {
	start_python '
fd = os.memfd_create("of both")
open("fd", "w").write(str(fd))
other = os.memfd_create("of both")'
	local program=$pid
	sleep 100 7<"/proc/$program/fd/$(cat fd)" &
	echo $! >>started
	until_true 10 grep -q sleep /proc/$!/comm
	run "$STASIS" checkpoint "$program" -o a.stasis
	expect 0
	says 'memfd "of both" that is also held by "sleep"'
	[ "$(grep -c 'cuts that off' <<<"$output")" = 1 ]
}

@test "secret memory that another program holds as well: that is noted" {
	start_python '
fd = libc.syscall(447, 0)
if fd < 0: sys.exit("no secret memory")
open("fd", "w").write(str(fd))
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)'
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 0
	says "is in the image as any other"
	[ "$(grep -c 'cuts that off' <<<"$output")" = 0 ]
	local child
	child=$(cat /proc/$pid/task/$pid/children)
	echo $child >>started
	run "$STASIS" checkpoint $child -o a.stasis
	expect 0
	says 'secret memory that is also held by "python3"'
}

@test "a memfd with a lease, which to look at it might break" {
	start_python '
import fcntl, signal
signal.signal(signal.SIGIO, signal.SIG_DFL)
made = os.memfd_create("leased")
fd = os.open("/proc/self/fd/%d" % made, os.O_RDWR)
os.close(made)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)'
	is_refused file-lease
}

# start_user TEXT: python3 by an ordinary user; what asks as root sees more than $as stasis
start_user() {
	[ "$(id -u)" = 0 ] || skip "only root can become another"
	command -v setpriv >/dev/null || skip "there is no setpriv"
	command -v /usr/bin/python3 >/dev/null || skip "there is no python3 for all"
	as="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
	all=$(mktemp -d)
	chmod 755 "$all"
	cp "$STASIS" "$all/stasis"
	printf 'import mmap, os, time\nfd = os.memfd_create("x")\nos.truncate(fd, 4096)\n%s\n' "$1" >"$all/p.py"
	printf 'os.close(0)\nwhile True: time.sleep(1)\n' >>"$all/p.py"
	start $as sh -c "cd / && exec /usr/bin/python3 $all/p.py"
	until_true 10 test ! -e /proc/$pid/fd/0
}

@test "a memfd that its owner may not open to read" {
	start_user 'os.fchmod(fd, 0)'
	run $as "$all/stasis" check $pid
	expect 121
	says "[memfd-mode]"
	run "$STASIS" check $pid
	expect 0
	rm -r "$all"
}

@test "a memfd that is mapped privately and closed, of an ordinary user" {
	start_user '
m = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)
os.closerange(3, 99)'
	run $as "$all/stasis" check $pid
	expect 121
	says "[memfd-unreachable]"
	says "save it as root"
	run "$STASIS" check $pid
	expect 0
	rm -r "$all"
}

@test "much secret memory that is closed: it would have to be kept in memory" {
	start_python '
fd = libc.syscall(447, 0)
if fd < 0: sys.exit("no secret memory")
os.truncate(fd, 65 << 20)
libc.mmap.restype = ctypes.c_void_p
at = libc.mmap(None, 65 << 20, 3, 1, fd, 0)
if at == 2 ** 64 - 1: sys.exit("so much secret memory")
os.close(fd)
ctypes.memset(at, 1, 65 << 20)'
	is_refused secret-large
	says "keep the descriptor open"
}

@test "a file that the program has mapped shared, and that has changed: it is named" {
	start_python '
fd = os.open("data", os.O_RDWR | os.O_CREAT)
os.truncate(fd, 4096)
libc.mmap.restype = ctypes.c_void_p
at = libc.mmap(None, 4096, 3, 1, fd, 0)
os.close(fd)'
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	echo changed >>data
	run "$STASIS" restart a.stasis --detach --strict
	expect 121
	says "[strict]"
	says "$PWD/data"
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 0
	says "$PWD/data"
	kill -9 "$(cat pid)"
	until_true 10 test ! -d "/proc/$(cat pid)" || true
	run "$STASIS" restart a.stasis --detach --strict --pid-file pid --file "$PWD/data=keep"
	expect 0
	cat pid >>started
}

@test "a restart that fails leaves no socket, and brings back the one that was there" {
	start_python '
s = socket.socket(socket.AF_UNIX)
s.bind("socket")
s.listen(3)
f = os.open("zz", os.O_RDWR | os.O_CREAT)'
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	rm zz socket
	run "$STASIS" restart a.stasis --detach
	expect 121
	[ ! -e socket ]
	python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
	chmod 640 socket
	run "$STASIS" restart a.stasis --detach
	expect 121
	[ "$(stat -c %a socket)" = 640 ]
	[ -z "$(find . -name 'socket.*')" ]
	: >zz
	run "$STASIS" restart a.stasis --detach --pid-file pid --file "$PWD/zz=keep"
	expect 0
	cat pid >>started
	[ -S socket ]
	[ -z "$(find . -name 'socket.*')" ]
}

@test "a deleted file that has another name, and is shared under that" {
	start_python '
f = open("one", "w+b")
f.truncate(8192)
at = mmap.mmap(f.fileno(), 8192, trackfd=False) if sys.version_info >= (3, 13) else libc.mmap
if at is libc.mmap:
    at.restype = ctypes.c_void_p
    at(None, ctypes.c_size_t(8192), 3, 1, f.fileno(), 0)
os.link("one", "two")
os.unlink("one")
f.close()'
	is_refused file-deleted
	says "another name"
	rm two
	run "$STASIS" check $pid
	expect 0
}

# in_vdso: is the stopped process in the middle of the vdso?
in_vdso() {
	python3 - $pid <<'END'
import sys
pc = int(open("/proc/%s/syscall" % sys.argv[1]).read().split()[-1], 16)
for line in open("/proc/%s/maps" % sys.argv[1]):
    if "[vdso]" in line:
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
sys.exit(not start < pc < end)
END
}

@test "under another vdso: one that stood in the middle of the old one" {
	command -v python3 >/dev/null || skip "there is no python3"
	start "$OBSTACLE" ready clock
	until_true 10 test -s ready
	local i
	for ((i = 0; i < 100; i++)); do
		kill -STOP $pid
		until_true 10 grep -q '^State:.T' /proc/$pid/status
		if in_vdso; then break; fi
		kill -CONT $pid
	done
	in_vdso || skip "it cannot be stopped there"
	"$STASIS" checkpoint $pid -o a.stasis
	kill -KILL $pid
	until_true 10 gone $pid
	run "$STASIS" restart --detach --pid-file pid a.stasis
	expect 0
	cat pid >>started
	kill -KILL "$(cat pid)"
	until_true 10 gone "$(cat pid)"
	"$OTHER_VDSO" a.stasis
	run "$STASIS" restart --detach --pid-file pid a.stasis
	expect 121
	says "[vdso-inside]"
	gone $pid
}

@test "a child that /proc hides from who asks is not left out" {
	[ "$(id -u)" = 0 ] || skip "only root can make a program of two users"
	command -v setpriv >/dev/null || skip "there is no setpriv"
	all=$(mktemp -d)
	chmod 755 "$all"
	cp "$STASIS" "$all/stasis"
	cat >hidden <<-'end'
		mount --make-rprivate / && mount -t proc -o "hidepid=$1" proc /proc || exit 77
		as="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
		sh -c "sleep 1000 & exec $as sleep 1000" </dev/null >/dev/null 2>&1 3>&- 4>&- &
		pid=$!
		sleep 0.5
		child=$(cat /proc/$pid/task/$pid/children)
		$as "$2" checkpoint $pid -o /dev/null
		status=$?
		kill $pid $child
		exit $status
	end
	for how in 1 2; do
		run unshare -m bash hidden $how "$all/stasis"
		[ "$status" -ne 77 ] || skip "no /proc of its own here"
		[ "$status" -eq 122 ]
		[[ $output == *"[hidden]"* ]]
	done
	rm -r "$all"
}
