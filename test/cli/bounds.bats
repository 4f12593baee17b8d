#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# How much memory stasis takes, how large images are, and how much memory the program takes afterwards; never how long it lasts.
load helper

peak_kib=16384 # of stasis, whatever the size of the program

# make WHAT MIB [N]: a program of bounds.c; its pid is in $pid
make() {
	start "$BOUNDS" "$@"
	until_true 60 lines_in start.out 1
}

family() { echo "$1" && cat "/proc/$1/task/$1/children"; }

# kib FIELD PID: the sum of it in smaps_rollup over the program and its children
kib() {
	local one
	for one in $(family "$2"); do
		cat "/proc/$one/smaps_rollup"
	done | awk -v field="$1:" '$1 == field { sum += $2 } END { print sum }'
}

image_kib() { echo $(($(stat -c %s "$1") / 1024)); }

# at_most WHAT VALUE BOUND
at_most() {
	echo "# $1: $2 of at most $3" >&3
	[ "$2" -le "$3" ]
}

# peak_at_most WHAT: of the command that was run
peak_at_most() {
	[ "$SANITIZED" = none ] || return 0 # that takes memory of its own
	at_most "peak memory of $1, KiB" "$(cat peak)" $peak_kib
}

save() {
	run "$BOUNDS" peak peak "$STASIS" checkpoint "$pid" -o "$1"
	expect 0
}

# bring_back IMAGE: after the program was ended
bring_back() {
	local one all
	all=$(family "$pid")
	kill -KILL "$pid"
	for one in $all; do
		until_true 30 gone "$one"
	done
	run "$BOUNDS" peak peak "$STASIS" restart "$1" --detach --pid-file pid
	expect 0
	read -r pid <pid
	echo "$pid" >>started
}

@test "what stasis takes does not grow with the memory that it saves" {
	make private 96
	local before
	before=$(kib Anonymous "$pid")
	at_most "96 MiB are really there, KiB" 98304 "$before"
	save a.stasis
	peak_at_most checkpoint
	at_most "image, KiB" "$(image_kib a.stasis)" $((before * 101 / 100))
	bring_back a.stasis
	peak_at_most restart
	at_most "memory after the restart, KiB" "$(kib Anonymous "$pid")" $((before * 101 / 100))
	at_most "memory before the restart, KiB" "$before" $(($(kib Anonymous "$pid") * 101 / 100))
}

@test "what 100 children share with their parent is there once" {
	local mib n before
	for mib in 1 32; do
		for n in 1 100; do
			make fork $mib $n
			before=$(kib Pss "$pid")
			save $mib.$n
			[ "$mib.$n" = 32.100 ] || kill -KILL "$pid"
		done
	done
	# what a child costs by itself is seen where there is little to share
	local differs=$(($(image_kib 1.100) - $(image_kib 1.1)))
	at_most "image, KiB" "$(image_kib 32.100)" $((($(image_kib 32.1) + differs) * 11 / 10))
	at_most "memory of all after the checkpoint, KiB" "$(kib Pss "$pid")" $((before * 11 / 10))
	bring_back 32.100
	at_most "memory of all after the restart, KiB" "$(kib Pss "$pid")" $((before * 11 / 10))
	[ "$(family "$pid" | wc -w)" = 101 ]
}

@test "pages of zeros and what is but reserved cost nothing" {
	make zeros 64
	at_most "64 MiB of zeros are really there, KiB" 65536 "$(kib Anonymous "$pid")"
	save a.stasis
	peak_at_most checkpoint
	at_most "image, KiB" "$(image_kib a.stasis)" 1024
	bring_back a.stasis
	peak_at_most restart
	at_most "memory after the restart, KiB" "$(kib Anonymous "$pid")" 4096
	grep -q "^VmSize:.*[0-9]\{10\} kB" "/proc/$pid/status" # the TiB is there
}

# records of make threads 64 N: bytes of the image beside the memory
records() {
	make threads 64 "$1"
	run "$STASIS" checkpoint "$pid" -o a.stasis --json
	expect 0
	kill -KILL "$pid"
	echo $(($(stat -c %s a.stasis) - $(sed 's/.*"memory":\([0-9]*\).*/\1/' <<<"$output")))
}

@test "a thread that is like others takes a few records" {
	[ "$(id -u)" = 0 ] || skip "that threads are alike is seen by root"
	[ -e /sys/kernel/btf/vmlinux ] && [ "$(readlink /proc/self/ns/pid)" = "pid:[4026531836]" ] ||
		skip "what this kernel keeps of threads is not to be read here"
	local few many
	few=$(records 200)
	many=$(records 1200)
	at_most "bytes of a thread in the image, beside its memory" $(((many - few) / 1000)) 1600
}

@test "what processes share for good is stored once" {
	make shared 32 10
	local before
	before=$(kib Pss "$pid")
	at_most "32 MiB are really there, KiB" 32768 "$before"
	save a.stasis
	peak_at_most checkpoint
	at_most "image, KiB" "$(image_kib a.stasis)" $((32768 * 110 / 100))
	bring_back a.stasis
	at_most "memory of all after the restart, KiB" "$(kib Pss "$pid")" $((before * 11 / 10))
	[ "$(family "$pid" | wc -w)" = 11 ]
	# it is one object: all map the same file
	[ "$(for one in $(family "$pid"); do awk '$2 == "rw-s" { print $4, $5 }' "/proc/$one/maps"; done | sort -u | wc -l)" = 1 ]
}
