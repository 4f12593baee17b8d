# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the scenes share. A scene sets
#
#   program=(CMD ARGS...)   run in a directory of its own; leaves its result there in a file called "out", and exits 0
#   files=(NAME...)         files there that it writes without O_APPEND, from front to back: cut back at the restart
#   ready=NAME              a file there that it makes when it has started: no checkpoint before
#   stop=yes                it rewrites files in place: the checkpoint itself ends it, as later changes could not be undone
#
# and calls `scene`, or `halts N`: then the program says with a file "at.n", for n from 1 to N, that it is where it is to be
# saved, and goes on when there is a file "go.n". test/scenes/run sets STASIS, REAP and WORK, an empty directory.
set -u -o pipefail
: "${STASIS:?}" "${REAP:?}" "${WORK:?}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$WORK" || exit 1
program=() files=() ready='' stop=no

skip() {
	echo "SKIP $*"
	exit 77
}

die() {
	echo "scene: $*" >&2
	exit 1
}

needs() {
	local c
	for c; do
		command -v "$c" >/dev/null || skip "there is no $c here"
	done
}

# compile NAME FLAGS... - NAME.c of this directory
compile() {
	needs gcc
	gcc -D_GNU_SOURCE -O2 -pthread -o "$WORK/$1" "$here/$1.c" "${@:2}" || die "cannot compile $1.c"
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

pause_ms() {
	sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
}

# is_alive PID - a process, and not a dead one
is_alive() {
	local line
	line=$(grep '^State:' "/proc/$1/status" 2>/dev/null) && [[ $line != *Z* && $line != *X* ]]
}

# own_pid PID - as the process counts itself
own_pid() {
	awk '/^NSpid:/ { print $NF }' "/proc/$1/status"
}

# launch DIR - the program in DIR, as $pid
launch() {
	mkdir -p "$1"
	(cd "$1" && exec setsid "${program[@]}" </dev/null >>log 2>&1) &
	pid=$!
}

# reference - an uninterrupted run; $took is its time in ms
reference() {
	local begin
	begin=$(now_ms)
	launch ref
	wait "$pid" || die "the program fails by itself: $(tail -n 3 ref/log)"
	took=$(($(now_ms) - begin))
}

# save N - checkpoint $pid as image.N and end it with SIGKILL, now or after it went on for a while
save() {
	local more=()
	if [ "$stop" = yes ] || [ "$1" = 2 ]; then
		more=(--stop)
	fi
	"$STASIS" checkpoint "$pid" -o "image.$1" "${more[@]}" || die "checkpoint $1 gives $?"
	if [ ${#more[@]} = 0 ]; then
		is_alive "$pid" || is_over || die "the program did not outlive checkpoint $1"
		pause_ms $((gap / 3))
	fi
	"$REAP" kill "$pid" || die "it cannot be killed"
	"$STASIS" show "image.$1" >/dev/null || die "image $1 is refused: $?"
	rm -f "image.$(($1 - 1))"
}

# restart N - go on from image.N, as $pid; the process counts as $self, as before
restart() {
	"$STASIS" restart "image.$1" --detach --pid-file pid-file "${rules[@]}" </dev/null || die "restart $1 gives $?"
	read -r pid <pid-file || die "restart $1 wrote no pid file"
	is_alive "$pid" || die "the program is gone after restart $1: $(tail -n 3 run/log)"
	[ "$(own_pid "$pid")" = "$self" ] || die "its pid was $self, after restart $1 it is $(own_pid "$pid")"
}

# begin - the program, as $pid and $self, and the rules for its files
begin() {
	local f
	rules=()
	for f in "${files[@]}"; do
		rules+=(--file "$WORK/run/$f=truncate")
	done
	launch run
	disown "$pid"
	self=$pid
	while [ -n "$ready" ] && [ ! -e "run/$ready" ] && is_alive "$pid"; do
		pause_ms 20
	done
}

compare() {
	[ -e ref/out ] || die "the program leaves no result"
	cmp ref/out run/out || die "the result differs from that of an uninterrupted run"
	cmp ref/log run/log || die "what it printed differs from an uninterrupted run"
}

# is_over - the program is gone because it has come to its end: its result is there and right
is_over() {
	! is_alive "$pid" && cmp -s ref/out run/out
}

# thrice - checkpoint, kill -9, restart twice, and a third checkpoint, $gap ms apart; 1: the program was faster than that
thrice() {
	local n
	rm -rf run
	begin
	for n in 1 2 3; do
		pause_ms "$gap"
		if is_over; then
			return 1
		fi
		is_alive "$pid" || die "the program ended before checkpoint $n (alone it takes $took ms): $(tail -n 3 run/log)"
		save "$n"
		[ "$n" = 3 ] || restart "$n"
	done
}

# scene - checkpoint, kill -9, restart, thrice; then the result must be that of an uninterrupted run
scene() {
	reference
	gap=$((took / 7 < 1000 ? took / 7 : 1000))
	until thrice; do
		gap=$((gap / 2)) # the first run was a slow one
		[ "$gap" -ge 20 ] || die "the program is over too soon to be saved three times"
	done
	"$STASIS" restart image.3 "${rules[@]}" </dev/null || die "restart 3, or the program at its end, gives $?: $(tail -n 3 run/log)"
	compare
}

# until_true SECONDS CMD... - waits for it
until_true() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(now_ms)" -lt "$end" ] || return 1
		pause_ms 20
	done
}

# halts N - as `scene`, with N points at which the program waits to be saved
halts() {
	local n
	mkdir ref
	for ((n = 1; n <= $1; n++)); do
		touch "ref/go.$n"
	done
	reference
	gap=300
	begin
	for ((n = 1; n <= $1; n++)); do
		until_true 30 test -e "run/at.$n" || die "the program does not come to point $n: $(tail -n 3 run/log)"
		is_alive "$pid" || die "the program ended before checkpoint $n: $(tail -n 3 run/log)"
		save "$n"
		touch "run/go.$n"
		[ "$n" = "$1" ] || restart "$n"
	done
	"$STASIS" restart "image.$1" "${rules[@]}" </dev/null || die "restart $1, or the program at its end, gives $?: $(tail -n 3 run/log)"
	compare
}
