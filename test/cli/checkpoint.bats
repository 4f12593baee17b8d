#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# checkpoint, check, show and restart of one program, as a person would.
load helper

summary='^saved [^ ]+ \([0-9]+ tasks?, ([0-9]+ threads, )?[0-9.]+ [KMG]?i?B\) in [0-9.]+ [mµn]?s, stood still [0-9.]+ [mµn]?s -> '

@test "neither a thread of the kernel nor a link to nothing" {
	[ "$(</proc/2/comm)" = kthreadd ] || skip "no threads of the kernel are seen here"
	run "$STASIS" check 2
	expect 121
	says "[kernel-thread]"
	ln -s nowhere link
	run "$STASIS" checkpoint $$ -o link
	expect 120
	says "[dangling-link]"
}

@test "a checkpoint leaves the program running and names its image" {
	start ./counter out 1000 0
	until_true 10 lines_in out 3
	run "$STASIS" checkpoint $pid
	expect 0
	[[ $output =~ $summary ]]
	says "-> counter.$pid.stasis"
	[ -s counter.$pid.stasis ]
	[ "$(stat -c %a counter.$pid.stasis)" = 600 ]
	[ "$(head -c 6 counter.$pid.stasis)" = STASIS ]
	local n
	n=$(wc -l <out)
	until_true 10 lines_in out $((n + 3))
}

@test "--json is one object on stdout and nothing on stderr" {
	start sleep 30
	run --separate-stderr "$STASIS" checkpoint $pid --json -o a.stasis
	expect 0
	[ -z "$stderr" ]
	echo "$output" >out.json
	json out.json "d['ok'] is True and d['status'] == 0 and d['error'] is None and d['name'] == 'sleep' and d['pid'] == $pid"
	json out.json "d['processes'] == 1 and d['threads'] == 1 and d['memory'] > 0 and d['image_size'] > 0"
	json out.json "d['wall_ns'] >= d['still_ns'] > 0 and d['path'].endswith('a.stasis')"
}

@test "restart --json is one object on stdout" {
	start sleep 100
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
	run --separate-stderr "$STASIS" restart a.stasis --detach --pid-file pid --json
	expect 0
	echo "$output" >out.json
	json out.json "d['ok'] is True and d['processes'] == 1 and d['pid'] == $(cat pid)"
	cat pid >>started
}

@test "-o - sends the image to stdout and --json to stderr" {
	start sleep 30
	"$STASIS" checkpoint $pid -o - --json >a.stasis 2>out.json
	json out.json "d['ok'] is True and d['path'] is None"
	run "$STASIS" show a.stasis
	expect 0
}

@test "--stop ends the program, and only after its image is there" {
	start sleep 30
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	[ -s a.stasis ]
	until_true 10 gone $pid
}

@test "a checkpoint that cannot be written stops nothing" {
	start sleep 30
	run "$STASIS" checkpoint $pid --stop -o no/such/dir/a.stasis
	[ "$status" -ge 120 ]
	[ "$status" -le 125 ]
	says "stasis: cannot"
	goes_on $pid
	[ -c /dev/full ] || skip "no /dev/full here"
	run "$STASIS" checkpoint $pid --stop -o /dev/full
	expect 125
	goes_on $pid
	[ -c /dev/full ]
}

@test "a reader that goes away is an error, and the program goes on" {
	start sleep 30
	run bash -c '"$STASIS" checkpoint "$1" --stop -o - 2>err | true; echo "${PIPESTATUS[0]}"' - $pid
	# the image may be small enough to fit into the pipe before it was closed
	[ "$output" = 125 ] || [ "$output" = 0 ]
	[ "$output" = 0 ] || goes_on $pid
}

@test "what is no regular file is written to, never replaced" {
	start sleep 30
	run "$STASIS" checkpoint $pid -o /dev/null
	expect 0
	[ -c /dev/null ]
	mkfifo fifo
	cat fifo >a.stasis &
	run "$STASIS" checkpoint $pid -o fifo
	expect 0
	wait $!
	[ -p fifo ]
	run "$STASIS" show a.stasis
	expect 0
	touch real.stasis
	ln -s real.stasis link.stasis
	run "$STASIS" checkpoint $pid -o link.stasis
	expect 0
	[ -L link.stasis ]
	[ -s real.stasis ]
}

@test "check lists every object and changes nothing" {
	start sleep 30
	run --separate-stderr "$STASIS" check $pid
	expect 0
	[[ $output =~ ^ok ]]
	[ "$(echo "$output" | grep -vc '^ok ')" = 0 ]
	[[ $stderr == *"can be checkpointed"* ]]
	"$STASIS" check $pid --json >out.json
	json out.json "d['ok'] and len(d['objects']) > 2 and all(o['can'] and o['kind'] for o in d['objects'])"
}

@test "check gives 121 and the obstacles" {
	python3 -c 'import socket' || skip "no python3 here"
	start python3 -c 'import socket,time; s=socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); open("ready","w"); time.sleep(30)'
	until_true 10 test -e ready
	run "$STASIS" check $pid
	expect 121
	says "NO "
	says "fd 3"
	[[ $output =~ \[[a-z0-9-]+\] ]]
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 121
	says "state:"
	[ ! -e a.stasis ]
	"$STASIS" check $pid --json >out.json || true
	json out.json "d['status'] == 121 and d['obstacles'] and d['obstacles'][0]['slug'] and [o for o in d['objects'] if not o['can']]"
}

@test "show: text and one JSON document" {
	start sleep 30
	"$STASIS" checkpoint $pid -o a.stasis
	run "$STASIS" show a.stasis
	expect 0
	says sleep
	"$STASIS" show --json a.stasis >out.json
	json out.json "isinstance(d, dict)"
	head -c "$(($(stat -c %s a.stasis) - 1))" a.stasis >cut.stasis
	run "$STASIS" show cut.stasis
	expect 123
}

@test "killed and restarted, the program finishes its work" {
	start ./counter out 60 7
	until_true 10 lines_in out 5
	"$STASIS" checkpoint $pid -o a.stasis
	sleep 0.2
	kill -KILL $pid
	wait $pid || true
	run "$STASIS" restart a.stasis
	expect 7
	says "restarted counter ("
	says ", pid "
	seq 60 | diff - out
}

@test "through gzip and back, with the image as standard input" {
	start ./counter out 60 0
	until_true 10 lines_in out 5
	"$STASIS" checkpoint $pid --stop -o - | gzip >a.gz
	until_true 10 gone $pid
	run bash -c 'zcat a.gz | "$STASIS" restart -'
	expect 0
	seq 60 | diff - out
}

@test "--compress: smaller, by file and by pipe, and the program goes on from it" {
	start ./counter out 60 0
	until_true 10 lines_in out 5
	"$STASIS" checkpoint $pid -o raw.stasis
	for level in "" =1 =19; do
		"$STASIS" checkpoint $pid --compress$level -o a.stasis
		[ "$(($(stat -c %s a.stasis) * 3))" -lt "$(($(stat -c %s raw.stasis) * 2))" ]
		run "$STASIS" show a.stasis
		expect 0
	done
	"$STASIS" checkpoint $pid --compress --stop -o - | cat >b.stasis
	until_true 10 gone $pid
	run bash -c 'cat b.stasis | "$STASIS" restart -'
	expect 0
	seq 60 | diff - out
}

@test "a compressed image that is cut or altered is refused" {
	start sleep 30
	"$STASIS" checkpoint $pid --compress -o a.stasis
	size=$(stat -c %s a.stasis)
	for at in 100 1000 $((size / 2)) $((size * 3 / 4)) $((size - 1)); do
		head -c "$at" a.stasis >cut.stasis
		run "$STASIS" restart cut.stasis
		expect 123
		run bash -c '"$STASIS" restart - <cut.stasis'
		expect 123
		cp a.stasis altered.stasis
		printf '\x5a\xa5\x5a' | dd of=altered.stasis bs=1 seek="$at" conv=notrunc status=none
		run "$STASIS" restart altered.stasis
		expect 123
		run bash -c 'cat altered.stasis | "$STASIS" restart -'
		expect 123
	done
	goes_on $pid
}

@test "restart gives 128 + n, and passes signals on" {
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	start "$STASIS" restart a.stasis
	until_true 10 grep -q restarted start.err
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	expect 143
}

@test "restart --detach returns at once and writes the pid file" {
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	# what it leaves behind must not hold the pipe of bats
	timeout 10 "$STASIS" restart a.stasis --detach --pid-file p </dev/null >err 2>&1 3>&-
	new=$(cat p)
	echo "$new" >>started
	output=$(cat err)
	says "pid $new"
	[ "$(cat /proc/$new/comm)" = sleep ]
	[ -z "$(find . -name 'p.*')" ]
}

@test "a clock that stands between two ticks does not go backwards, however fast the restart" {
	start "$OBSTACLE" ready coarse-clock
	until_true 10 test -s ready
	local i
	for ((i = 0; i < 40; i++)); do
		"$STASIS" checkpoint $pid --stop -o a.stasis
		timeout 10 "$STASIS" restart a.stasis --detach --pid-file p </dev/null >err 2>&1 3>&- || cat err
		pid=$(cat p)
		echo "$pid" >>started
		sleep 0.02
	done
	[ ! -e backwards ]
}

@test "a pid file that cannot be written: nothing is started" {
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	run "$STASIS" restart a.stasis --detach --pid-file no/such/dir/p
	expect 120
	says "[pid-file]"
}

@test "a damaged image is refused, and the pid file does not appear" {
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	head -c 3000 a.stasis >cut.stasis
	run "$STASIS" restart cut.stasis --detach --pid-file p
	expect 123
	says "stasis: cannot restart"
	[ ! -e p ]
	[ -z "$(find . -name 'p.*')" ]
}

@test "a pipe that an outsider holds too is named, and refused by --strict" {
	python3 -c '' || skip "no python3 here"
	local child
	start python3 -c 'import os, time
ends = os.pipe()
child = os.fork()
if child:
	open("new", "w").write(str(child))
	os.rename("new", "child")
time.sleep(300)'
	until_true 10 test -e child
	child=$(cat child)
	echo "$child" >>started
	run "$STASIS" check "$child"
	expect 0
	says "is a pipe that is also held by \"python3\" (pid $pid), outside of the program"
	run "$STASIS" checkpoint "$child" --strict -o a.stasis
	expect 121
	says "is also held by"
	goes_on "$child"
	run "$STASIS" checkpoint "$child" -o a.stasis
	expect 0
	says "is also held by"
	run "$STASIS" show a.stasis
	says "note: "
	run "$STASIS" checkpoint $pid --strict -o b.stasis
	expect 0
	never_says "also held"
}

has_child() { [ -n "$(<"/proc/$1/task/$1/children")" ]; }

@test "an image that is cut while it is read is refused, and nothing remains" {
	[ -e /proc/$$/task/$$/children ] || skip "this kernel does not list children"
	python3 -c '' || skip "no python3 here"
	start python3 -c 'import time; x = b"x" * (128 << 20); open("ready", "w"); time.sleep(300)'
	until_true 10 test -e ready
	"$STASIS" checkpoint $pid --stop -o a.stasis
	local round restart code=0
	# end and index were verified before the first process was made, and 128 MiB are read after
	for round in {1..20}; do
		cp a.stasis cut.stasis
		"$STASIS" restart cut.stasis --detach --pid-file p 3>&- >said 2>&1 &
		restart=$!
		until_true 10 has_child $restart 2>/dev/null
		truncate -s 2M cut.stasis
		code=0
		wait $restart || code=$?
		[ $code -eq 0 ] || break
		kill -KILL "$(cat p)" # it was too late
		until_true 10 gone "$(cat p)"
		rm p
	done
	cat said
	[ $code -eq 123 ]
	grep -q "the image is cut: byte [0-9]* is missing" said
	[ ! -e p ]
	gone $pid
}

@test "--strict refuses what would only be noted" {
	echo text >a.file
	start sh -c 'exec sleep 100 <a.file'
	until_true 10 grep -q sleep /proc/$pid/comm
	run "$STASIS" checkpoint $pid --stop -o a.stasis --strict
	expect 0
	echo changed >>a.file
	run "$STASIS" restart a.stasis --detach --strict
	expect 121
	says "strict"
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 0
	says "a.file"
	cat pid >>started
}

@test "the clocks go on, unless --clock=real" {
	[ -e /proc/self/ns/time ] || skip "this kernel has no time namespaces"
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 0
	pid=$(<pid)
	echo "$pid" >>started
	[ "$(readlink /proc/"$pid"/ns/time)" != "$(readlink /proc/self/ns/time)" ]
	[ "$(readlink /proc/"$pid"/ns/time)" = "$(readlink /proc/"$pid"/ns/time_for_children)" ]
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	run "$STASIS" restart a.stasis --detach --pid-file pid --clock=real
	expect 0
	pid=$(<pid)
	echo "$pid" >>started
	[ "$(readlink /proc/"$pid"/ns/time)" = "$(readlink /proc/self/ns/time)" ]
}

@test "where no time namespace can be had a jump of the clocks is named" {
	unshare -Ur true 2>/dev/null || skip "no user namespaces here"
	[ -e /proc/sys/user/max_time_namespaces ] || skip "this kernel has no time namespaces"
	start sleep 30
	"$STASIS" checkpoint $pid --stop -o a.stasis
	# shellcheck disable=SC2016 # for the inner shell
	local without='echo 0 >/proc/sys/user/max_time_namespaces && exec "$@"'
	sleep 1.2
	run unshare -Ur sh -c "$without" sh "$STASIS" restart a.stasis --pidns --detach --pid-file pid
	expect 0
	echo "$(<pid)" >>started
	says "note: its CLOCK_MONOTONIC jumps forward by 1."
	says "(No space left on device)"
	run unshare -Ur sh -c "$without" sh "$STASIS" restart a.stasis --pidns --detach --clock=real --pid-file pid
	expect 0
	echo "$(<pid)" >>started
	never_says CLOCK_MONOTONIC
	run unshare -Ur sh -c "$without" sh "$STASIS" restart a.stasis --pidns --detach --strict
	expect 121
}

state_is() { [ "$(sed 's/.*) //' "/proc/$1/stat" | cut -c1)" = "$2" ]; }

@test "a stopped program in the session of the caller comes back stopped, and nobody hangs it up" {
	start python3 -c 'import os, signal, time
os.setpgid(0, 0)
os.kill(os.getpid(), signal.SIGSTOP)
while True: time.sleep(0.05)'
	until_true 10 state_is $pid T
	run "$STASIS" checkpoint $pid -o image --stop
	expect 0
	wait $pid || true
	run "$STASIS" restart image --detach --pid-file p
	expect 0
	pid=$(cat p)
	echo "$pid" >>started
	sleep 0.2
	state_is "$pid" T
	kill -CONT "$pid"
	until_true 10 state_is "$pid" S
}

@test "a seccomp filter that forbids to ask for continued children is noted, and does not stand against it" {
	[ "$(id -u)" = 0 ] || skip "only root can read filters"
	start python3 -c 'import ctypes, os, signal, struct
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 247), (6, 0, 0, 0x80000000), (6, 0, 0, 0x7fff0000)] # waitid: end the process
filter = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *c) for c in code))
prctl = ctypes.CDLL(None).prctl
prctl(38, 1, 0, 0, 0)
if prctl(22, 2, struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(filter)), 0, 0) == 0:
    os.fork()
    open("ready", "a").write("x\n")
signal.pause()'
	until_true 10 lines_in ready 2
	pgrep -P $pid >>started
	run "$STASIS" checkpoint $pid -o image
	expect 0
	says "cannot be asked which of its children were stopped and continued"
	goes_on $pid
}

@test "a signal that comes while the program stands still ends the call that it waits in" {
	python3 -c 'import select; select.epoll' || skip "no python3 here"
	start python3 -c 'import select, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7)) # called when epoll_wait(2) has returned
e = select.epoll()
open("ready", "w")
e.poll(30)'
	until_true 10 test -e ready
	until_true 10 state_is $pid S
	"$STASIS" checkpoint $pid -o - | { until_true 10 test -e sent && cat >a.stasis; } &
	until_true 10 state_is $pid t
	sleep 0.3 # it has looked by now, and cannot write on
	kill -USR1 $pid
	touch sent
	until_true 10 gone $pid
	status=0
	wait $pid || status=$?
	expect 7
	wait
}

@test "a program that has its system calls sent back to it keeps its handler" {
	start python3 -c 'import ctypes, signal
signal.signal(signal.SIGSYS, print)
selector = ctypes.c_char(0)
if ctypes.CDLL(None).prctl(59, 1, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.byref(selector)) == 0:
    open("ready", "w").write("x\n")
selector.value = 1
while True: pass'
	until_true 10 lines_in ready 1
	sleep 0.2
	run "$STASIS" checkpoint $pid -o image
	expect 121
	says "[syscall-dispatch]"
	(((0x$(sed -n 's/^SigCgt:.//p' /proc/$pid/status) >> 30) & 1))
	goes_on $pid
}

@test "whoever has started it, at whatever remove, is no program that it could stop" {
	run timeout 20 sh -c 'top=$$; (sh -c "$STASIS checkpoint $top -o a.stasis; exit \$?"); exit $?'
	expect 120
	says "was not stopped"
	[ ! -e a.stasis ]
}

@test "a signal that the stub stops by, sent by others, is not taken for its own" {
	start python3 -c '
import os, signal, socket, time
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in b"one", b"two", b"three":
    a.send(text)
open("ready", "w").close()
while True:
    time.sleep(1)'
	until_true 10 test -e ready
	awk '{ print $1, $2 }' /proc/$pid/maps >before
	python3 -c '
import os, signal, sys
pid, until = int(sys.argv[1]), sys.argv[2]
while not os.path.exists(until):
    for i in range(100):
        os.kill(pid, signal.SIGURG)' $pid enough &
	storm=$!
	for i in 1 2 3 4 5 6 7 8 9 10; do
		run "$STASIS" checkpoint $pid -o a.stasis
		[ "$status" -eq 0 ] || break
	done
	touch enough
	wait $storm
	expect 0
	awk '{ print $1, $2 }' /proc/$pid/maps >after
	diff before after
	goes_on $pid
}

@test "killed when a signal has just ended a call: the program has its own signal mask again" {
	command -v strace >/dev/null || skip "there is no strace"
	start python3 -c '
import select, signal, sys
def caught(signo, frame):
    open("caught", "a").write("x")
signal.signal(signal.SIGUSR1, caught)
p = select.epoll()
open("ready", "w").close()
while True:
    p.poll()'
	until_true 10 test -e ready
	sleep 0.2
	# it is slow to ask the first thread, and dies when it writes down what that has said
	strace -f -o calls -e trace=landlock_create_ruleset,get_robust_list -e inject=landlock_create_ruleset:delay_enter=1s \
		-e inject=get_robust_list:signal=KILL "$STASIS" checkpoint $pid -o a.stasis 3>&- 4>&- &
	until_true 10 grep -q landlock calls
	kill -USR1 $pid
	wait $! || true
	grep -q 'killed by SIGKILL' calls || skip "stasis makes other calls here"
	kill -USR1 $pid
	until_true 10 test -s caught
	[ "$(awk '/^SigBlk/ { print $2 }' /proc/$pid/status)" = 0000000000000000 ]
	goes_on $pid
}

@test "a signal that comes while the program is being looked at is in the image" {
	command -v strace >/dev/null || skip "there is no strace"
	start python3 -c '
import signal
signal.signal(signal.SIGUSR1, lambda signo, frame: open("caught", "a").write("x"))
open("ready", "w").close()
while True:
    signal.pause()'
	until_true 10 test -e ready
	sleep 0.2
	strace -f -o calls -e trace=pidfd_open -e inject=pidfd_open:delay_enter=1s \
		"$STASIS" checkpoint $pid --stop -o a.stasis 3>&- 4>&- &
	until_true 10 grep -q pidfd_open calls
	kill -USR1 $pid
	wait $!
	[ ! -e caught ]
	run "$STASIS" restart a.stasis --detach --pid-file pid
	expect 0
	pid=$(<pid)
	until_true 10 test -s caught
}
