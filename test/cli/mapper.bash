# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Programs as mapper.c in a directory $dir of their own, by whom $as says: what is asked of them, and bringing them back by $stasis.

in=()

# begins COMMAND...: a program that makes the file "ready", started by $as and $in
begins() {
	rm -f ready
	: >"$dir/out"
	chmod 666 "$dir/out"
	(
		close_others
		exec "${as[@]}" "${in[@]}" "$@"
	) </dev/null >"$dir/out" 2>&1 &
	pid=$!
	echo $pid >>"$BATS_TEST_TMPDIR/started"
	until_true 10 test -e ready -o ! -d /proc/$pid
	[ -e ready ] || cat "$dir/out"
	[ -e ready ]
}

gone_ask() { [ ! -e ask ]; }

# sees WORDS: what the program says
sees() {
	: >ask
	until_true 10 gone_ask
	cat said
	[ "$(cat said)" = "$1" ]
}

restarts() {
	run "${as[@]}" "$stasis" restart "$dir/image" --detach --pid-file "$dir/pid" "$@"
	expect 0
	pid=$(cat "$dir/pid")
	echo "$pid" >>"$BATS_TEST_TMPDIR/started"
}
