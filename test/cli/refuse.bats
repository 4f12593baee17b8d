#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is not kept: check and checkpoint refuse it by the same word, no image is left, and the program goes on. $OBSTACLE is obstacle.c.
load helper

# obstacle NAME...: a program that has those; SKIP where it cannot
obstacle() {
	rm -f ready
	start "$OBSTACLE" ready "$@"
	until_true 10 has_come
	[ -s ready ] || skip "$(cat start.out)"
}

has_come() { [ -s ready ] || [ -s start.out ]; }

calm() { [ "$(awk '/^TracerPid:/ { print $2 }' "/proc/$1/status")" = 0 ]; }

# refused SLUG...: check and checkpoint name all of them
refused() {
	local what slug
	for what in "check" "checkpoint -o image"; do
		# shellcheck disable=SC2086 # words
		run "$STASIS" $what $pid
		expect 121
		for slug; do
			says "[$slug]"
		done
		calm $pid
		goes_on $pid
	done
	[ ! -e image ]
}

@test "strict seccomp mode" {
	obstacle seccomp-strict
	refused seccomp-strict
	says "is in strict seccomp mode"
	says "read, write, exit and sigreturn"
	run "$STASIS" check --no-freeze $pid
	expect 121
}

@test "seccomp filters" {
	[ "$(id -u)" = 0 ] || {
		obstacle seccomp-notify
		refused seccomp
		return
	}
	obstacle seccomp-notify
	refused seccomp-notify
	run "$STASIS" check $pid
	[[ $output == *"NO "*": seccomp"* ]]
	obstacle seccomp-prctl
	refused seccomp-forbids
	obstacle seccomp-mmap
	refused seccomp-forbids
}

@test "what only a program that stands still shows, and all of it at once" {
	obstacle landlock
	refused landlock
	run "$STASIS" check $pid
	[[ $output == *"NO "*": landlock"* ]]
	run "$STASIS" check --no-freeze $pid
	expect 0
	says "note: was not stopped"
	obstacle landlock signal-queue
	refused landlock signal-queue
	says "2 objects stand against it"
}

@test "syscall user dispatch where no call can be made" {
	obstacle syscall-dispatch
	sleep 0.1
	refused syscall-dispatch
}

@test "segments" {
	obstacle segments
	refused segments
}

@test "I/O ports" {
	obstacle io-ports
	refused io-ports
}

@test "neither a signal nor a place for the stub" {
	obstacle no-signal
	refused no-signal
	obstacle no-vdso
	refused no-vdso
}

@test "what the running program shows" {
	obstacle inotify network cwd-deleted
	refused fd-unknown cwd-deleted
	says "3 objects stand against it"
	obstacle thread-unshare
	refused thread-unshare
}

@test "one of many threads that are alike" {
	obstacle crowd
	run "$STASIS" check $pid
	expect 0
	obstacle crowd landlock
	refused landlock
	obstacle crowd keyring
	refused keyring
	obstacle crowd thread-unshare
	refused thread-unshare
	obstacle crowd registered-ring
	refused io-uring
	obstacle crowd files
	refused thread-unshare
	[ "$(id -u)" = 0 ] || return 0
	obstacle crowd seccomp-notify
	refused seccomp-notify
	obstacle crowd netns
	refused namespace
	says "has another net namespace than its leader"
	obstacle crowd pidns
	refused namespace
	says "has another pid_for_children namespace than its leader"
}

@test "one of few threads: a namespace for its children" {
	[ "$(id -u)" = 0 ] || skip "only root has namespaces without one of users"
	obstacle one-thread pidns
	refused namespace
	says "has another pid_for_children namespace than its leader"
}

@test "it is said which of many threads a call would be the end of" {
	[ "$(id -u)" = 0 ] || skip "filters are shown to root only"
	obstacle crowd seccomp-prctl
	run "$STASIS" check $pid
	expect 121
	[[ $output == *'(pid '$pid'): thread '*' a seccomp filter'* ]]
}

@test "memory that a userfaultfd watches: its owner is named" {
	obstacle userfaultfd
	refused userfaultfd fd-unknown
	says "is watched by a userfaultfd"
	says 'it is fd '
	says ' of "obstacle" (pid '$pid')'
}

@test "memory of drivers" {
	obstacle ring
	refused vma-unknown
	says 'is a mapping of "anon_inode:[io_uring]" that stasis cannot save'
}

@test "an AIO context that is waited for" {
	obstacle aio-busy
	sleep 0.1
	refused aio-busy
	says "try again when they are done"
}

@test "memory of devices" {
	obstacle device
	refused device-mapping
	says 'maps the device "/dev/mem"'
}

@test "a namespace of a child" {
	obstacle namespace
	pgrep -P $pid >>started
	refused namespace
}

@test "a tracer: the list is made all the same" {
	obstacle traced inotify
	pgrep -P $pid >>started
	run "$STASIS" check $pid
	says "[traced]"
	says "[fd-unknown]"
	says "NO "
	refused traced
}

@test "threads sleep on under a filter that allows no restart of the call, whether they are refused or not" {
	obstacle seccomp-restart traced
	pgrep -P $pid >>started
	refused traced
	obstacle seccomp-restart
	for _ in 1 2 3; do
		run "$STASIS" checkpoint $pid -o image
		[ "$(id -u)" != 0 ] || expect 0
		calm $pid
		goes_on $pid
	done
}

@test "programs for 32 bits" {
	echo '.globl _start; _start: mov $29, %eax; int $0x80; jmp _start' >pause32.s
	"${CC:-cc}" -m32 -nostdlib -static -o pause32 pause32.s 2>/dev/null || skip "no compiler for 32 bits here"
	./pause32 &
	pid=$!
	echo $pid >>started
	until_true 1 grep -q pause32 /proc/$pid/comm || skip "this kernel runs no programs for 32 bits"
	refused task-32bit
	says "registers"
	run "$STASIS" check --no-freeze $pid
	expect 121
	says "[task-32bit]"
	start sh -c './pause32 & wait'
	until_true 10 pgrep -P $pid -x pause32
	pgrep -P $pid >>started
	refused task-32bit
	says '"pause32"'
}
