#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# journey.sh STASIS WITNESS JOURNEY - sends a witness (test/lib/witness.h) on a journey; what it says must stay the same
#
#   none     it goes nowhere: the witness must agree with itself
#   stay     a checkpoint, and it runs on
#   return   a checkpoint, kill -9, restart
#   often    twenty checkpoints, and it runs on
#   again    three checkpoints, and it runs on; then twice as return
#   thrice   as return, three times over
#   pipe     as return; the image goes through gzip and gunzip, and is never a file that can be read at will
#   compress as return, by a compressed image
#   pidns    as return, into a pid namespace of its own
#   user     as return, by an ordinary user
#   vdso     as thrice, and each image is made one of a kernel with another vdso
#
# Before each checkpoint `stasis check` says what the checkpoint will: both must agree. Witnesses that sleep are checked after
# it: of a call that a stop interrupts for the second time nothing tells how long it has slept (src/kinds/task/regs.c).
#
# Where this kernel does not show what the witness has made ("hidden") it only stays. Where a checkpoint must see that it cannot see
# or reach all ("barred") it must refuse as well, and the witness runs on.
#
# Speaks TAP. $OTHER_VDSO is the program of other_vdso.c. $REAP is the program of test/scenes/reap.c: it is the reaper of all that is started here, and ends what is
# left. $KEEP=yes keeps the directory of a journey that failed. $AWAY is how many seconds it is away between kill and restart.
set -u -o pipefail

if [ $# != 3 ]; then
	echo "usage: journey.sh STASIS WITNESS JOURNEY" >&2
	exit 120
fi
stasis=$1 witness=$2 journey=$3
: "${REAP:?names the program of test/scenes/reap.c}"
if [ -z "${JOURNEY_REAPED-}" ]; then
	JOURNEY_REAPED=yes exec "$REAP" run -t 100 bash "$0" "$@"
fi

name="$(basename "$witness") $journey"
as=() how=() pid=0 streams=0 dir='' checked='' expected=0 sleeps=no stream=1
case $witness in *-sleep*) sleeps=yes ;; esac

# what a witness has mounted in its directory it cannot unmount where it has mounts of its own by now
unmount() {
	local at
	while read -r _ at _; do
		[[ $at != "$dir"/* ]] || umount -l "$at"
	done < <(tac /proc/self/mounts)
}

result() {
	[ "$pid" = 0 ] || { [ -d "/proc/$pid" ] && "$REAP" kill "$pid"; }
	if [ "$streams" != 0 ]; then
		exec 9>&-
		wait "$streams"
	fi
	[ -z "$dir" ] || unmount
	if [ -n "$dir" ] && { [ "$1" = ok ] || [ "${KEEP-}" != yes ]; }; then
		rm -rf "$dir"
	elif [ -n "$dir" ]; then
		echo "# its directory is $dir"
	fi
	echo "$1 1 - $name${2-}"
	if [ "$1" = ok ]; then
		exit 0
	fi
	exit 1
}

skip() {
	result ok " # SKIP $*"
}

bad() {
	echo "# $*"
	[ -z "$dir" ] || sed 's/^/# /' "$dir/log"
	result 'not ok'
}

try() {
	"$@" >>"$dir/log" 2>&1 || bad "gives $?: $*"
}

# wait_until COMMAND... - true within ten seconds
wait_until() {
	local i
	for ((i = 0; i < 2000; i++)); do
		"$@" && return
		sleep 0.005
	done
	return 1
}

is_gone() { [ ! -e "$1" ]; }

is_dead() { [ ! -d "/proc/$1" ] || grep -q '^State:.[ZX]' "/proc/$1/status" 2>/dev/null; }

# shellcheck disable=SC2317 # called by wait_until
answered() { is_gone "$dir/place/ask" || is_dead "$pid"; }

look() {
	: >"$dir/place/ask"
	wait_until answered || bad "the witness (pid $pid) does not answer"
	is_gone "$dir/place/ask" || bad "the witness (pid $pid) is dead"
}

launch() {
	(exec "${as[@]}" setsid "$dir/witness" "$dir/place" </dev/null >&9 2>&9 9>&-) &
	pid=$!
	disown "$pid"
}

# check - what it says is what the checkpoint is to say
check() {
	"${as[@]}" "$stasis" check "$pid" >"$dir/out/objects" 2>"$dir/out/check"
	checked=$?
	cat "$dir/out/check" >>"$dir/log"
	is_dead "$pid" && bad "the witness did not outlive the check"
}

# saves COMMAND... - a checkpoint with its check; a stream goes to $stream
saves() {
	[ "$sleeps" = yes ] || check
	"$@" 2>"$dir/out/checkpoint" 1>&"$stream"
	local status=$?
	[ "$sleeps" = no ] || check
	cat "$dir/out/checkpoint" >>"$dir/log"
	[ "$status" = "$checked" ] || bad "check gives $checked, the checkpoint $status"
	[ "$status" = "$expected" ] || bad "gives $status instead of $expected: stasis checkpoint"
	[ "$status" = 0 ] || return
	! grep '^NO' "$dir/out/objects" >>"$dir/log" || bad "check says no of something, and yes of all"
	diff -U1 <(grep '^note:' "$dir/out/check") <(grep '^note:' "$dir/out/checkpoint") >>"$dir/log" ||
		bad "check and the checkpoint note other things"
}

checkpoint() {
	saves "${as[@]}" "$stasis" checkpoint "$pid" -o "$dir/out/image" "${how[@]}"
	is_dead "$pid" && bad "the witness did not outlive the checkpoint"
}

kill_witness() {
	try "$REAP" kill "$pid"
	sleep "${AWAY-0}"
}

# restart IMAGE ARGS... - the standard streams are those that the witness had at first
restart() {
	rm -f "$dir/out/pid"
	"${as[@]}" "$stasis" restart "$@" --detach --pid-file "$dir/out/pid" </dev/null >&9 2>>"$dir/log" 9>&- ||
		bad "gives $?: stasis restart $*"
	read -r pid <"$dir/out/pid" || bad "there is no pid file"
	is_dead "$pid" && bad "the witness (pid $pid) is dead after the restart"
}

there_and_back() {
	checkpoint
	kill_witness
	[ "$journey" != vdso ] || try "$OTHER_VDSO" "$dir/out/image"
	restart "$dir/out/image" "$@"
	rm -f "$dir/out/image"
}

through_pipe() {
	exec {stream}> >(exec gzip -1 >"$dir/out/image.gz")
	local gzip=$!
	saves "${as[@]}" "$stasis" checkpoint "$pid" -o -
	exec {stream}>&-
	wait "$gzip" || bad "gzip gives $?"
	kill_witness
	rm -f "$dir/out/pid"
	gunzip <"$dir/out/image.gz" |
		"${as[@]}" "$stasis" restart - --detach --pid-file "$dir/out/pid" >&9 2>>"$dir/log" 9>&- || bad "restart gives $?"
	read -r pid <"$dir/out/pid" || bad "there is no pid file"
	look
}

become_ordinary() {
	[ "$(id -u)" = 0 ] || return
	command -v setpriv >/dev/null || skip "there is no setpriv here to become an ordinary user by"
	cp "$stasis" "$dir/stasis"
	stasis=$dir/stasis
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
	chown 65534:65534 "$dir/place" "$dir/out"
	export HOME=$dir/out XDG_RUNTIME_DIR=$dir/out
}

# compare - each look against the first
compare() {
	local n i
	n=$(grep -c '^look$' "$dir/place/said")
	[ "$n" = "$1" ] || bad "the witness said something $n times instead of $1"
	awk -v dir="$dir/out" '/^look$/ { n++ } { print > (dir "/said." n) }' "$dir/place/said"
	[ "$(wc -l <"$dir/out/said.1")" -gt 1 ] || bad "the witness states no fact"
	for ((i = 2; i <= n; i++)); do
		if ! diff -U1 "$dir/out/said.1" "$dir/out/said.$i" >"$dir/out/diff"; then
			sed 's/^/# /' "$dir/out/diff"
			bad "look $i differs from the first (-)"
		fi
	done
}

echo 1..1
[ -x "$witness" ] || bad "there is no witness $witness"
[ "$journey" = none ] || [ -x "$stasis" ] || skip "there is no stasis at $stasis"
dir=$(mktemp -d) || exit 1
chmod 755 "$dir"
mkdir -m 755 "$dir/place" "$dir/out"
cp "$witness" "$dir/witness"
: >"$dir/log"
exec 9> >(exec cat >>"$dir/streams")
streams=$!
[ "$journey" != user ] || become_ordinary
chmod 777 "$dir/place"
: >"$dir/place/said"
chmod 666 "$dir/place/said"
launch
look
for why in "$dir"/place/{hidden,barred}; do
	if [ -e "$why" ] && [[ $journey != @(none|stay|often) ]]; then
		skip "$(cat "$why")"
	fi
done
[ ! -e "$dir/place/barred" ] || expected=121
looks=2
case $journey in
none) look ;;
stay)
	checkpoint
	look
	;;
often)
	for ((i = 0; i < 20; i++)); do
		checkpoint
	done
	look
	;;
return | user)
	there_and_back
	look
	;;
compress)
	how=(--compress)
	there_and_back
	look
	;;
pidns)
	there_and_back --pidns
	look
	;;
again)
	checkpoint
	checkpoint
	checkpoint
	there_and_back
	there_and_back
	look
	;;
thrice | vdso)
	for looks in 2 3 4; do
		there_and_back
		look
	done
	;;
pipe) through_pipe ;;
*) bad "there is no journey $journey" ;;
esac
: >"$dir/place/end"
wait_until is_dead "$pid" || bad "the witness does not end"
pid=0
compare $looks
result ok
