#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Ctrl-C, TERM and HUP to stasis itself: it rolls back and says so. A full pipe, or an empty one, makes it wait for us.
load helper

@test "a checkpoint that waits for its reader is interrupted, and the program goes on" {
	mkfifo fifo
	exec 9<>fifo
	for signal in TERM INT HUP; do
		rm -f out
		start ./counter out 100000 0
		until_true 10 lines_in out 3
		run timeout -k 10 --preserve-status -s $signal 1 "$STASIS" checkpoint $pid --stop -o fifo 9<&-
		echo "signal: $signal"
		expect $((128 + $(kill -l $signal)))
		says "interrupted: SIG$signal"
		says "[interrupted]"
		says "state:"
		n=$(wc -l <out)
		until_true 10 lines_in out $((n + 3))
		kill -KILL $pid
		exec 9<&- 9<>fifo
	done
}

@test "the same as JSON" {
	mkfifo fifo
	exec 9<>fifo
	start sleep 30
	run --separate-stderr timeout -k 10 --preserve-status -s TERM 1 "$STASIS" checkpoint $pid --json -o fifo 9<&-
	expect 143
	echo "$output" >out.json
	json out.json "d['ok'] is False and d['status'] == 143 and d['slug'] == 'interrupted'"
}

@test "a restart that waits for the rest of its image is interrupted and leaves nothing" {
	start sleep 4242
	"$STASIS" checkpoint $pid --stop -o a.stasis
	until_true 10 gone $pid
	mkfifo fifo
	exec 9<>fifo
	head -c 5000 a.stasis >fifo
	run timeout -k 10 --preserve-status -s TERM 1 "$STASIS" restart - <fifo 9<&-
	expect 143
	says "interrupted: SIGTERM"
	run pgrep -f 'sleep 4242'
	expect 1
}

@test "what the caller ignores does not interrupt" {
	mkfifo fifo
	start sleep 30
	# nobody reads for a second; the hangup in between must do nothing
	(sleep 1.5; cat fifo >a.stasis) 3>&- &
	reader=$!
	bash -c 'trap "" HUP; exec "$STASIS" checkpoint "$1" -o fifo' - $pid 2>err 3>&- &
	saver=$!
	sleep 0.5
	kill -HUP $saver
	status=0
	wait $saver || status=$?
	output=$(cat err)
	expect 0
	wait $reader
	run "$STASIS" show a.stasis
	expect 0
}

@test "Ctrl-Z waits until the program runs on" {
	mkfifo fifo
	exec 9<>fifo
	start ./counter out 100000 0
	until_true 10 lines_in out 3
	bash -mc 'exec "$STASIS" checkpoint "$1" -o fifo' - $pid 2>err 3>&- 9<&- &
	saver=$!
	sleep 0.5
	kill -TSTP $saver
	sleep 0.2
	cat <&9 >a.stasis 3>&- &
	reader=$!
	status=0
	wait $saver || status=$?
	sleep 0.2
	kill $reader
	output=$(cat err)
	expect 0
	run "$STASIS" show a.stasis
	expect 0
}
