#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files in memory that have a name, as POSIX shared memory has: a restart makes them again where they are not there any more.
load helper
load mapper

begin() {
	: "${MAPPER:?names the program of mapper.c}"
	[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || skip "/dev/shm is no tmpfs"
	dir=$(mktemp -d "${TMPDIR:-/tmp}/stasis-shm.XXXXXX")
	chmod 777 "$dir"
	echo "$dir" >"$BATS_TEST_TMPDIR/dir"
	cd "$dir" || return 1
	shm=/dev/shm/${dir##*/}
	as=()
	stasis=$STASIS
	cp "$MAPPER" mapper
}

as_user() {
	[ "$(id -u)" = 0 ] || return 0
	command -v setpriv >/dev/null || skip "there is no setpriv"
	cp "$STASIS" "$dir/stasis"
	stasis=$dir/stasis
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all env XDG_RUNTIME_DIR="$dir" HOME="$dir")
}

teardown() {
	local pid dir
	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null || true
	done <"$BATS_TEST_TMPDIR/started"
	[ -e "$BATS_TEST_TMPDIR/dir" ] || return 0
	read -r dir <"$BATS_TEST_TMPDIR/dir"
	cd /
	rm -rf "$dir" "/dev/shm/${dir##*/}"* "/dev/shm/sem.${dir##*/}"
}

# file PATH WORD [MODE]: two pages that begin with a word
file() {
	"${as[@]}" sh -c 'printf %s "$2" >"$1" && truncate -s 8192 "$1" && chmod "$3" "$1"' sh "$1" "$2" "${3-640}"
}

# writes PATH WORD: into what is there
writes() { printf %s "$2" | dd of="$1" conv=notrunc status=none; }

stop() {
	run "${as[@]}" "$stasis" checkpoint "$pid" -o "$dir/image" --stop "$@"
	expect 0
	until_true 10 gone "$pid"
}

state() { stat -c '%a %u %g %s %Y' "$shm"; }

no_others() { [ "$(find /dev/shm -maxdepth 1 -name "${shm##*/}*" | wc -l)" = "$1" ]; }

comes_back() {
	file "$shm" word
	begins ./mapper "s:$shm" "r:$shm"
	local was
	was=$(state)
	stop
	never_says note:
	rm "$shm"
	restarts
	never_says "$shm"
	sees "word word"
	[ "$(state)" = "$was" ]
	no_others 1
	writes "$shm" more
	sees "more more"
	# and again
	stop
	restarts
	never_says "$shm"
	sees "more more"
}

@test "shared memory that is gone comes back under its name" {
	begin
	comes_back
}

@test "shared memory that is gone comes back under its name by a user" {
	begin
	as_user
	comes_back
}

@test "it has the owner that it had" {
	[ "$(id -u)" = 0 ] || skip "only root may give files away"
	begin
	file "$shm" word 606
	chown 1234:5678 "$shm"
	begins ./mapper "s:$shm"
	local was
	was=$(state)
	stop
	rm "$shm"
	restarts
	[ "$(state)" = "$was" ]
	sees word
}

@test "what is there and the same is used" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm"
	stop
	local was
	was=$(stat -c %i "$shm")
	touch "$shm"
	restarts
	never_says "$shm"
	[ "$(stat -c %i "$shm")" = "$was" ]
	sees word
}

# the program went on after the checkpoint, and died
rolls_back() {
	file "$shm" word
	begins ./mapper "s:$shm" "s:$shm"
	stop
	writes "$shm" later
	restarts
	says "\"$shm\" has again what was in it at the checkpoint"
	sees "word word"
	[ "$(head -c 4 "$shm")" = word ]
	no_others 1
}

@test "what has changed, and nobody uses, is put back as it was, and that is said" {
	begin
	rolls_back
}

@test "what has changed, and nobody uses, is put back as it was by a user" {
	begin
	as_user
	rolls_back
}

@test "what has changed, and others use, stays, and that is said" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm"
	stop
	writes "$shm" later
	local first=$pid
	exec 7<"$shm"
	restarts
	exec 7<&-
	says "goes on with \"$shm\" as it is now"
	sees later
	stop
	writes "$shm" other
	begins ./mapper "r:$shm" # by a mapping alone
	kill -STOP "$pid"
	restarts
	says "goes on with \"$shm\" as it is now"
	sees other
	[ "$first" ]
}

@test "what the program only reads stays as others have made it" {
	begin
	file "$shm" word
	begins ./mapper "r:$shm"
	stop
	writes "$shm" later
	restarts
	says "goes on with \"$shm\" as it is now: it has changed since the checkpoint (--file"
	sees later
}

@test "--file keeps what has changed" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm"
	stop
	writes "$shm" later
	restarts --file "$shm=keep"
	never_says "$shm"
	sees later
}

@test "what has another name as well stays" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm"
	stop
	writes "$shm" later
	ln "$shm" "$shm.too"
	restarts
	says "goes on with \"$shm\" as it is now"
	sees later
	no_others 2
}

# a restart that fails when all memory is there: a file that is open is not
@test "a restart that fails leaves nothing behind, and takes nothing away" {
	begin
	[ "$(stat -f -c %T .)" != tmpfs ] || skip "all files are in memory here"
	file "$shm" word
	: >log
	begins sh -c 'exec 4>>log; exec ./mapper "s:$1"' sh "$shm"
	stop
	mv log away
	rm "$shm"
	run "$STASIS" restart image --detach
	expect 121
	says "[file-missing]"
	no_others 0
	file "$shm" later
	run "$STASIS" restart image --detach
	expect 121
	[ "$(head -c 5 "$shm")" = later ]
	no_others 1
	mv away log
	restarts
	sees word
	no_others 1
}

@test "what is no file any more is not touched" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm"
	stop
	rm "$shm"
	ln -s "$dir/elsewhere" "$shm"
	: >elsewhere
	run "$STASIS" restart image --detach
	expect 121
	says "[file-changed]"
	[ ! -s elsewhere ]
	rm "$shm"
	mkdir "$shm"
	run "$STASIS" restart image --detach
	expect 121
	rmdir "$shm"
	restarts
	sees word
}

# the file system itself is not there
@test "a place that is gone is named" {
	[ "$(id -u)" = 0 ] || skip "only root may mount"
	begin
	mkdir place
	mount -t tmpfs stasis-test place
	file place/f word
	begins ./mapper "s:place/f"
	stop
	umount place
	rmdir place
	run "$STASIS" restart image --detach
	expect 121
	says "its directory is not there"
	[ ! -e place ]
	mkdir place
	restarts
	sees word
}

# a file that is not there any more ends the restart when all directories have been made
directories() {
	"${as[@]}" mkdir -p "$shm/a/b c"
	"${as[@]}" chmod 1770 "$shm/a"
	"${as[@]}" touch log
	file "$shm/a/b c/f" word
	file "$shm/a/g" line
	begins sh -c 'exec 4>>log 5<"$1/a/g"; exec ./mapper "s:$1/a/b c/f"' sh "$shm"
	local was
	was=$(stat -c '%n %a %u %g' "$shm" "$shm"/a "$shm"/a/*)
	stop
	rm -r "$shm"
	if [ "$(stat -f -c %T .)" != tmpfs ]; then
		mv log away
		run "${as[@]}" "$stasis" restart "$dir/image" --detach
		expect 121
		no_others 0
		mv away log
	fi
	restarts
	never_says "$shm"
	sees word
	[ "$(stat -c '%n %a %u %g' "$shm" "$shm"/a "$shm"/a/*)" = "$was" ]
	[ "$(head -c 4 "$shm/a/g")" = line ]
}

@test "directories in memory are made again as well" {
	begin
	directories
}

@test "directories in memory are made again as well by a user" {
	begin
	as_user
	directories
}

# what is open: a shell that reads a line of it at each "ask", and writes one
open_files() {
	cat >reader <<-'END'
		exec 3<"$1" 4>>"$1" 5<"$1"
		: >ready
		while :; do
			if [ -e ask ]; then
				read -r line <&3
				echo "$line" >said
				rm ask
			fi
			sleep 0.05
		done
	END
	"${as[@]}" sh -c 'umask 027; printf "one\ntwo\nthree\n" >"$1"' sh "$shm"
	begins sh reader "$shm"
	sees one
	local was
	was=$(state)
	stop
	never_says note:
	rm "$shm"
	restarts
	never_says "$shm"
	[ "$(state)" = "$was" ]
	sees two
	echo four >>"$shm"
	sees three
	sees four
	[ "$(wc -l <"$shm")" = 4 ]
}

@test "files that are open come back, with their offsets" {
	begin
	open_files
}

@test "files that are open come back by a user" {
	begin
	as_user
	open_files
}

@test "what is large, and not written to by a mapping, is not in the image, and that is said" {
	begin
	file "$shm" word
	truncate -s 40M "$shm"
	begins ./mapper "r:$shm"
	stop
	says "\"$shm\" is in memory, and not in the image"
	rm "$shm"
	run "$STASIS" restart image --detach
	expect 121
	says "[file-missing]"
	file "$shm" word
	truncate -s 40M "$shm"
	restarts
	sees word
	stop
	begins sh -c 'exec 4<"$1"; exec ./mapper' sh "$shm"
	stop
	says "\"$shm\" is in memory, and not in the image"
	begins ./mapper "s:$shm" "r:$shm"
	stop
	never_says "$shm"
	rm "$shm"
	restarts
	never_says "$shm"
	sees "word word"
	[ "$(stat -c %s "$shm")" = $((40 << 20)) ]
	[ "$(stat -c %b "$shm")" -lt 100 ]
}

semaphore() {
	command -v python3 >/dev/null || skip "there is no python3"
	cat >sem.py <<-'END'
		import ctypes, os, sys, time
		libc = ctypes.CDLL(None, use_errno=True)
		libc.sem_open.restype = ctypes.c_void_p
		sem = libc.sem_open(sys.argv[1].encode(), os.O_CREAT, 0o600, 3)
		value = ctypes.c_int()
		open("ready", "w").close()
		while True:
		    if os.path.exists("ask"):
		        libc.sem_getvalue(ctypes.c_void_p(sem), ctypes.byref(value))
		        with open("said.new", "w") as f: f.write(str(value.value))
		        os.rename("said.new", "said")
		        os.unlink("ask")
		    if os.path.exists("post"):
		        libc.sem_post(ctypes.c_void_p(sem))
		        os.unlink("post")
		    time.sleep(0.01)
	END
	local name=/${dir##*/}
	shm=/dev/shm/sem.${dir##*/}
	begins python3 sem.py "$name"
	sees 3
	stop
	restarts
	never_says "$shm"
	sees 3
	: >post
	until_true 10 test ! -e post
	sees 4
	stop
	rm "$shm"
	restarts
	never_says "$shm"
	sees 4
	# who opens it by its name has the same one
	mkdir -m 777 other
	cd other
	begins python3 ../sem.py "$name"
	sees 4
	: >post
	until_true 10 test ! -e post
	cd ..
	sees 5
}

@test "a named semaphore" {
	begin
	semaphore
}

@test "a named semaphore by a user" {
	begin
	as_user
	semaphore
}

# the program is an ordinary user's, who saves and restarts it is root
as_both() {
	[ "$(id -u)" = 0 ] || skip "only root acts for others"
	as_user
	user=("${as[@]}")
	as=()
}

@test "a directory that has become a symbolic link is not followed" {
	begin
	as_both
	"${user[@]}" mkdir "$shm"
	"${user[@]}" sh -c 'printf word >"$1" && truncate -s 8192 "$1"' sh "$shm/f"
	as=("${user[@]}")
	begins ./mapper "s:$shm/f"
	as=()
	stop
	mkdir roots
	"${user[@]}" rm -r "$shm"
	"${user[@]}" ln -s "$dir/roots" "$shm"
	run "$STASIS" restart image --detach
	expect 121
	says "symbolic link"
	[ -z "$(ls roots)" ]
}

@test "what another user has put there stays" {
	begin
	as_both
	as=("${user[@]}")
	file "$shm" word
	begins ./mapper "s:$shm"
	as=()
	stop
	rm "$shm"
	file "$shm" roots 600
	run "$STASIS" restart image --detach
	expect 121
	says "[file-rights]"
	chmod 666 "$shm"
	restarts
	says "goes on with \"$shm\" as it is now"
	[ "$(head -c 5 "$shm")" = roots ]
	[ "$(stat -c '%a %u' "$shm")" = "666 0" ]
	no_others 1
}

@test "what the program's own memory depends on must be the same" {
	begin
	file "$shm" word
	begins ./mapper "s:$shm" "p:$shm"
	stop
	restarts
	sees "word word own"
	stop
	writes "$shm" later
	exec 7<"$shm"
	run "$STASIS" restart image --detach
	exec 7<&-
	expect 121
	says "[file-changed]"
	restarts --file "$shm=keep"
	sees "later later own"
}

@test "a log that is mapped as well is cut back" {
	begin
	printf 'word\n' >"$shm"
	begins sh -c 'exec 4>>"$1"; exec ./mapper "r:$1"' sh "$shm"
	stop
	echo later >>"$shm"
	restarts
	[ "$(cat "$shm")" = word ]
}

@test "a file of holes takes no room" {
	begin
	truncate -s 30M "$shm" "$shm.2" "$shm.3"
	printf x | dd of="$shm.3" bs=1 seek=8000 conv=notrunc status=none
	begins sh -c 'exec 4<>"$1" 5<>"$1.2" 6<>"$1.3"; : >ready; while :; do sleep 1; done' sh "$shm"
	stop
	[ "$(stat -c %s image)" -lt 2000000 ]
	rm "$shm" "$shm.2" "$shm.3"
	restarts
	[ "$(stat -c '%s' "$shm" "$shm.2" "$shm.3" | sort -u)" = 31457280 ]
	[ "$(stat -c %b "$shm" "$shm.2" "$shm.3" | awk "{ n += \$1 } END { print n }")" -lt 100 ]
	[ "$(tail -c +8001 "$shm.3" | head -c 1)" = x ]
}
