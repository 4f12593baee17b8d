#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# System V shared memory: in which ipc namespace it comes back, and what is left when it does not.
load helper

# start_segment NAME FLAGS...: a program that has attached a segment; "id" and "key" have its numbers
start_segment() {
	command -v python3 >/dev/null || skip "there is no python3"
	cat >p.py <<-END
		import ctypes, os, time
		libc = ctypes.CDLL(None, use_errno=True)
		libc.shmat.restype = ctypes.c_void_p
		key = 0x53000000 | os.getpid()
		def make(key):
		    id = libc.shmget(key, 1 << 16, 0o1600)
		    at = libc.shmat(id, None, 0)
		    if id < 0 or at is None or at > 1 << 63:
		        raise SystemExit("no System V shared memory")
		    ctypes.memset(at, 65, 5000)
		    return id
		$1
		open("key", "w").write(str(key))
		open("id", "w").write(str(id))
		os.rename("id", "ready")
		while True: time.sleep(1)
	END
	start python3 p.py
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || skip "$(tail -n 1 start.err)"
	id=$(cat ready) key=$(cat key)
}

removed='id = make(0); libc.shmctl(id, 0, None)'
keyed='id = make(key)'

# is_here ID: has this ipc namespace such a segment?
is_here() { awk -v id="$1" '$2 == id { found = 1 } END { exit !found }' /proc/sysvipc/shm; }

is_away() { if is_here "$1"; then return 1; fi; }

save() {
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
}

restart() {
	run "$STASIS" restart a.stasis --detach --pid-file pid "$@"
	expect 0
	pid=$(cat pid)
	echo "$pid" >>started
}

# change: what is left of the segment is no more what the image has
change() {
	python3 -c 'import ctypes, sys; libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
ctypes.memset(libc.shmat(int(sys.argv[1]), None, 0), 66, 1)' "$id"
}

# in_its_namespace COMMAND...
in_its_namespace() { nsenter -t "$pid" -i "$@"; }

is_in_own() { [ "$(readlink /proc/$pid/ns/ipc)" != "$(readlink /proc/self/ns/ipc)" ]; }

is_root() { [ "$(id -u)" = 0 ] && [ -w /proc/sys/kernel/shm_next_id ]; }

@test "one that goes with the program comes back on this host" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$removed"
	save
	is_away "$id"
	restart
	never_says "namespace"
	is_here "$id"
	kill -KILL "$pid"
	until_true 10 is_away "$id"
}

@test "one with a key comes back on this host, and stays when the program ends" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$keyed"
	save
	is_here "$id"
	ipcrm -m "$id"
	restart
	never_says "namespace"
	[ "$(awk -v id="$id" '$2 == id { print $1, $3, $4, $5, $7 }' /proc/sysvipc/shm)" = "$key 600 65536 $pid 1" ]
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	is_here "$id"
	ipcrm -m "$id"
}

@test "what was left of it is taken again" {
	start_segment "$keyed"
	save
	is_here "$id"
	restart
	if is_in_own; then false; fi
	[ "$(awk -v id="$id" '$2 == id { print $1, $3, $4, $7 }' /proc/sysvipc/shm)" = "$key 600 65536 1" ]
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	is_here "$id"
	mv a.stasis b.stasis
	head -c 50000 b.stasis >a.stasis
	run "$STASIS" restart a.stasis --detach
	expect 123
	is_here "$id"
	ipcrm -m "$id"
}

@test "what was left of it, and has changed, stays so: the program gets another one, and that is said" {
	start_segment "$keyed"
	save
	change
	restart
	is_in_own
	says "ipcrm -m $id"
	[ "$(awk -v id="$id" '$2 == id { print $7 }' /proc/sysvipc/shm)" = 0 ]
	ipcrm -m "$id"
	"$STASIS" checkpoint "$pid" -o b.stasis
	if [ "$(id -u)" = 0 ]; then
		in_its_namespace ipcs -m -i "$id"
		# it has one of its own again, though nobody has the number here
		"$STASIS" checkpoint "$pid" --stop -o a.stasis
		until_true 10 gone "$pid"
		restart
		is_in_own
		is_away "$id"
	fi
}

@test "a key that another has" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$keyed"
	save
	ipcrm -m "$id"
	other=$(python3 -c 'import ctypes, sys; print(ctypes.CDLL(None).shmget(int(sys.argv[1]), 4096, 0o1600))' "$key")
	restart
	is_in_own
	in_its_namespace ipcs -m -i "$id"
	ipcrm -m "$other"
}

@test "a restart that fails leaves none" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$keyed; f = open('data', 'w')"
	save
	ipcrm -m "$id"
	rm data
	run "$STASIS" restart a.stasis --detach
	expect 121
	until_true 10 is_away "$id"
	: >data
	restart
	is_here "$id"
	ipcrm -m "$id"
}

@test "a restart that is killed leaves none" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$keyed"
	save
	ipcrm -m "$id"
	mkfifo fifo
	exec 9<>fifo
	"$STASIS" restart - --detach <fifo 9<&- 3>&- &
	stasis=$!
	# the pages come last, and the index behind them
	head -c $(($(stat -c %s a.stasis) - 20000)) a.stasis >fifo
	until_true 10 is_here "$id"
	kill -KILL $stasis
	wait $stasis || true
	until_true 10 is_away "$id"
}

@test "others have attached it: they keep it, and the program has a copy" {
	start_segment "$keyed"
	python3 -c 'import ctypes, sys, time; ctypes.CDLL(None).shmat(int(sys.argv[1]), None, 0); open("attached", "w"); time.sleep(60)' \
		"$id" 3>&- &
	echo $! >>started
	until_true 10 test -e attached
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	says "others outside of the program have attached its System V shared memory $id"
	restart
	is_in_own
	[ "$(awk -v id="$id" '$2 == id { print $7 }' /proc/sysvipc/shm)" = 1 ]
	ipcrm -m "$id"
}

@test "what nobody has attached would be lost with a namespace of its own: it is refused" {
	start_segment "$keyed"
	save
	change
	restart
	is_in_own
	ipcrm -m "$id"
	[ "$(id -u)" = 0 ] || skip "needs root to enter its namespace"
	in_its_namespace ipcmk -S 3
	run "$STASIS" checkpoint "$pid" -o b.stasis
	expect 121
	says "[sysvipc-namespace]"
	says "1 sets of System V semaphores, 0 message queues and 0 pieces"
	in_its_namespace ipcrm --all=sem
	in_its_namespace ipcmk -M 4096
	run "$STASIS" checkpoint "$pid" -o b.stasis
	expect 121
	says "1 pieces"
}

@test "in part attached: what nobody has attached is said to be lost" {
	start_segment "$removed; libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
line = [l for l in open('/proc/self/maps') if 'SYSV' in l][0]
libc.munmap(int(line.split('-')[0], 16) + (1 << 15), 1 << 15)"
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 0
	says "attached only in part"
}

@test "semaphores of the host are out of reach from there: that is said" {
	start_segment "$keyed
set = libc.semget(0, 1, 0o600)
libc.semop(set, b'\\0\\0\\1\\0\\0\\0', 1)
open('set', 'w').write(str(set))"
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	says "1 sets"
	change
	restart
	is_in_own
	says "semaphores (1 sets), message queues (0) and shared memory (0 pieces)"
	ipcrm -m "$id" -s "$(cat set)"
}

@test "what it has made and not attached stays on the host" {
	start_segment "$removed
other = libc.shmget(0, 4096, 0o600)
open('other', 'w').write(str(other))"
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	says "(1 pieces) that it has made and no process has attached"
	restart
	if is_in_own; then
		says "semaphores (0 sets), message queues (0) and shared memory (1 pieces)"
	else
		never_says "shared memory (1 pieces)"
	fi
	ipcrm -m "$(cat other)"
}

@test "a seccomp filter forbids it to ask: it is looked at from outside" {
	is_root || skip "ids of this ipc namespace cannot be chosen"
	start_segment "$keyed
import struct
code = struct.pack('HBBIHBBIHBBIHBBI', 32, 0, 0, 0, 21, 0, 1, 31, 6, 0, 0, 0x50001, 6, 0, 0, 0x7fff0000)
at = ctypes.create_string_buffer(code)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, struct.pack('HxxxxxxQ', 4, ctypes.addressof(at)), 0, 0):
    raise SystemExit('no seccomp')
if libc.shmctl(id, 2, ctypes.create_string_buffer(200)) == 0:
    raise SystemExit('the filter does nothing')"
	save
	ipcrm -m "$id"
	restart
	[ "$(awk -v id="$id" '$2 == id { print $1, $3, $4, $5, $7 }' /proc/sysvipc/shm)" = "$key 600 65536 $pid 1" ]
	ipcrm -m "$id"
}

@test "attached in an ipc namespace that the program has left" {
	is_root || skip "needs root to leave it"
	start_segment "$removed; libc.unshare(0x08000000)"
	run "$STASIS" checkpoint $pid -o a.stasis
	expect 121
	says "[sysvshm]"
	says "shared memory $id"
}

@test "in an ipc namespace that stasis has not made" {
	is_root || skip "needs root to make it"
	start_segment "libc.unshare(0x08000000); $keyed"
	[ "$id" = 0 ]
	run "$STASIS" checkpoint $pid --stop -o a.stasis
	expect 0
	says "another ipc namespace than stasis: a restart gives it the one of the caller, or a new one"
	until_true 10 gone $pid
	restart
	is_in_own
	in_its_namespace ipcs -m -i 0
}

@test "a deleted file that it has open and mapped is one file still, in namespaces of its own" {
	[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || skip "/dev/shm is no tmpfs"
	cat >more.py <<-END
		import mmap
		name = "/dev/shm/stasis-test-%d" % os.getpid()
		fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
		os.unlink(name)
		os.write(fd, b"hello" + bytes(4091))
		m = mmap.mmap(fd, 4096)
		def look(nap=time.sleep):
		    nap(0.1)
		    m[5] = (m[5] + 1) % 200
		    same = os.pread(fd, 6, 0) == m[:6] and m[:5] == b"hello"
		    open("looked", "w").write("same" if same else "differs")
		time.sleep = lambda s: look()
	END
	start_segment "$keyed; exec(open('more.py').read())"
	"$STASIS" checkpoint $pid -o a.stasis
	restart # the segment of the first one is there still
	is_in_own
	rm -f looked
	kill -KILL $(head -n 1 started)
	until_true 10 test -s looked
	[ "$(cat looked)" = same ]
	kill -KILL "$pid"
	ipcrm -m "$id" 2>/dev/null || true
}
