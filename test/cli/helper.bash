# SPDX-License-Identifier: LGPL-2.1-or-later
# What all files here share. Mind that `! x` and `x && y` do not fail a test when they are false. $STASIS is the program under test.

bats_require_minimum_version 1.5.0

setup() {
	: "${STASIS:?names the stasis to test}"
	cd "$BATS_TEST_TMPDIR" || return 1
	if [ "$(id -u)" -ne 0 ]; then
		export XDG_RUNTIME_DIR="$BATS_TEST_TMPDIR/runtime"
		mkdir -m 700 -p "$XDG_RUNTIME_DIR"
	fi
	: >started
	cat >counter <<'END'
#!/bin/sh
# counter FILE N STATUS: writes 1 to N to FILE, slowly
exec 3>>"$1"
i=0
while [ $i -lt "$2" ]; do
	i=$((i + 1))
	echo $i >&3
	sleep 0.02
done
exit "$3"
END
	chmod +x counter
}

teardown() {
	local pid
	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null || true
	done <started
}

# close_others: descriptors that whoever runs the tests may have left open; they would lead outside of the program
close_others() {
	local fd
	for fd in /proc/"$BASHPID"/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || eval "exec $fd>&-"
	done
}

# start COMMAND...: in the background, away from bats; its pid is in $pid; teardown ends it
start() {
	(
		close_others
		exec "$@"
	) </dev/null >start.out 2>start.err &
	pid=$!
	echo $pid >>started
	while cmp -s /proc/$pid/cmdline /proc/$BASHPID/cmdline; do # not yet the command
		sleep 0.01
	done
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

lines_in() { [ -s "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

goes_on() { if gone "$1"; then return 1; fi; }

gone() { ! kill -0 "$1" 2>/dev/null || [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)" = Z ]; }

# json FILE EXPRESSION: true when the python expression over the document d holds
json() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"; }

# status of the last `run` is $1; says all on a mismatch
expect() {
	[ "$status" -eq "$1" ] && return
	echo "status $status, expected $1; output:"
	echo "$output"
	return 1
}

says() {
	case $output in *"$1"*) return 0 ;; esac
	echo "missing: $1; output:"
	echo "$output"
	return 1
}

never_says() {
	case $output in *"$1"*) ;; *) return 0 ;; esac
	echo "not wanted: $1; output:"
	echo "$output"
	return 1
}
