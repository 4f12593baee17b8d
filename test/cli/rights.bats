#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What root restarts for a user: he gets what the program had, and what he could have himself. He may have put something else at
# the paths meanwhile.
load helper
load mapper

setup_file() {
	: "${MAPPER:?names the program of mapper.c}"
}

USER_ID=65534

# $dir is a place of root's in /run, where only root can change anything; $home is the user's in it
begin() {
	[ "$(id -u)" = 0 ] || skip "only root restarts for others"
	command -v setpriv >/dev/null || skip "there is no setpriv"
	dir=$(mktemp -d /run/stasis-rights.XXXXXX) || skip "there is no /run"
	[ "$(stat -c %u:%a /run)" = 0:755 ] || skip "others may write to /run"
	echo "$dir" >"$BATS_TEST_TMPDIR/dir"
	chmod 755 "$dir"
	home=$dir/home
	mkdir "$home"
	mkdir -m 700 "$dir/private"
	printf secret >"$dir/secret"
	chmod 600 "$dir/secret"
	cp "$MAPPER" "$dir/mapper"
	chown $USER_ID:$USER_ID "$home"
	chmod 755 "$home"
	cd "$home" || return 1
	as=()
	stasis=$STASIS
	user=(setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups --inh-caps=-all)
}

teardown() {
	local pid dir
	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null || true
	done <"$BATS_TEST_TMPDIR/started"
	[ ! -e "$BATS_TEST_TMPDIR/mounted" ] || umount -l "$(cat "$BATS_TEST_TMPDIR/mounted")"
	[ ! -e "$BATS_TEST_TMPDIR/memory" ] || rm -rf "$(cat "$BATS_TEST_TMPDIR/memory")"
	[ -e "$BATS_TEST_TMPDIR/dir" ] || return 0
	read -r dir <"$BATS_TEST_TMPDIR/dir"
	cd /
	for pid in /proc/[0-9]*; do # children of those that were killed
		[[ $(readlink "$pid/cwd" 2>/dev/null) != "$dir"/* ]] || kill -KILL "${pid##*/}" 2>/dev/null || true
	done
	rm -rf "$dir"
}

# as_user COMMAND...
as_user() { "${user[@]}" "$@"; }

# holds REDIRECTIONS: a program of the user that has them open, as root opened them before it became his
holds() {
	in=(sh -c "exec $1; exec $(printf '%q ' "${user[@]}") ../mapper")
	begins
	in=()
}

# opens REDIRECTIONS: the same, opened by himself
opens() {
	in=("${user[@]}" sh -c "exec $1; exec ../mapper")
	begins
	in=()
}

save_and_end() {
	run "$STASIS" checkpoint "$pid" -o "$dir/image"
	expect 0
	kill -KILL "$pid"
	until_true 10 gone "$pid"
}

# refused PATH ARGS...: by name, with a remedy, and nothing is left of the attempt
refused() {
	local path=$1
	shift
	rm -f "$dir/pid"
	run "$STASIS" restart "$dir/image" --detach --pid-file "$dir/pid" "$@"
	expect 121
	says "[file-rights]"
	says "\"$path\""
	says "--file $path=allow"
	gone "$pid"
	[ ! -e "$dir/pid" ]
}

# missing PATH: it is not there
missing() {
	run "$STASIS" restart "$dir/image" --detach
	expect 121
	says "[file-missing]"
	says "\"$1\""
	never_says "=allow"
}

# never_maps PATH
never_maps() { ! grep -qF " $1" "/proc/$pid/maps"; }

# leads N PATH: does descriptor N of the program lead there?
leads() { [ "$(stat -L -c %d:%i "/proc/$pid/fd/$1")" = "$(stat -L -c %d:%i "$2")" ]; }

# ---- what he puts there is not opened for him ----

@test "a symbolic link to a secret in the place of a file" {
	begin
	as_user sh -c 'echo own >f'
	opens '5<f'
	save_and_end
	as_user ln -sf ../secret f
	refused "$home/f"
	refused "$home/f" --file "$home/f=keep"
	rm f
	as_user sh -c 'echo other >f'
	restarts
	leads 5 f
}

@test "a symbolic link in the place of a directory" {
	begin
	as_user sh -c 'mkdir d; echo own >d/secret'
	opens '5<d/secret'
	save_and_end
	as_user sh -c 'mv d e; ln -s .. d'
	refused "$home/d/secret"
}

# his links of proc(5) are those of who follows them
@test "what stasis itself has" {
	begin
	as_user sh -c 'mkdir d e; echo own >d/f'
	opens '5<d/f 6<e'
	save_and_end
	mkdir -p ../private/work
	cd ../private/work
	echo word >f
	chmod 644 f
	as_user ln -sf /proc/self/cwd/f "$home/d/f"
	refused "$home/d/f"
	as_user ln -sf /proc/self/maps "$home/d/f"
	missing "$home/d/f"
	as_user sh -c "rm '$home/d/f'; echo other >'$home/d/f'; mv '$home/e' '$home/old'; ln -s /proc/self/cwd '$home/e'"
	refused "$home/e"
	as_user sh -c "rm '$home/e'; mv '$home/old' '$home/e'"
	restarts
	[ "$(cat "/proc/$pid/fd/5")" = other ]
}

@test "a directory that becomes a FIFO" {
	begin
	as_user mkdir d
	opens '5<d'
	save_and_end
	as_user sh -c 'rmdir d; mkfifo d'
	missing "$home/d"
	as_user sh -c 'rm d; mkdir d'
	restarts
	leads 5 d
	[ "$(sed -n 's/^flags:[[:space:]]*//p' "/proc/$pid/fdinfo/5")" = 0100000 ]
}

@test "another name of a secret" {
	begin
	as_user sh -c 'echo own >f'
	opens '5<f'
	save_and_end
	ln -f ../secret f
	refused "$home/f"
}

@test "a file to be written to, whose content is the same" {
	begin
	as_user sh -c 'printf secret >f; chmod 600 f'
	opens '5>>f'
	save_and_end
	touch -r f ../secret
	as_user ln -sf ../secret f
	refused "$home/f"
	as_user sh -c 'rm f; mkdir d'
	ln -f ../secret f
	refused "$home/f"
	[ "$(cat ../secret)" = secret ]
}

@test "a file, opened only to have its path" {
	begin
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	as_user sh -c 'echo own >f'
	touch ../private/f
	in=("${user[@]}" /usr/bin/python3 -c 'import os, time
os.dup2(os.open("f", os.O_PATH), 5)
open("ready", "w")
time.sleep(1000)')
	begins
	in=()
	save_and_end
	as_user ln -sf ../private/f f
	refused "$home/f"
}

@test "a directory" {
	begin
	as_user mkdir d
	opens '5<d'
	save_and_end
	as_user sh -c 'rmdir d; ln -s ../private d'
	refused "$home/d"
}

@test "an executable that is not mapped" {
	begin
	printf '#!/bin/sh\n: secret' >../private/script
	chmod 755 ../private/script
	cp ../mapper tool
	chown $USER_ID tool
	in=("${user[@]}" ./tool)
	begins x:
	in=()
	never_maps "$home/tool"
	save_and_end
	as_user sh -c 'mv tool old; ln -s ../private/script tool'
	refused "$home/tool"
	rm tool
	as_user ln -s ../mapper tool
	restarts
	[ "$(readlink "/proc/$pid/exe")" = "$dir/mapper" ]
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	as_user mv old tool
	restarts
	[ "$(readlink "/proc/$pid/exe")" = "$home/tool" ]
	save_and_end
	restarts
}

@test "an executable that only root can reach" {
	begin
	cp ../mapper ../private/tool
	in=(../private/tool)
	begins u:$USER_ID x:
	in=()
	never_maps "$dir/private/tool"
	save_and_end
	restarts
	[ "$(readlink "/proc/$pid/exe")" = "$dir/private/tool" ]
	in=(../private/tool)
	begins u:$USER_ID
	in=()
	save_and_end
	restarts
	[ "$(readlink "/proc/$pid/exe")" = "$dir/private/tool" ]
}

@test "a FIFO" {
	begin
	as_user mkfifo f
	mkfifo -m 600 ../private/f ../fifo
	opens '5<>f'
	save_and_end
	as_user ln -sf ../private/f f
	refused "$home/f"
	as_user ln -sf ../fifo f
	refused "$home/f"
}

@test "a FIFO that he may only read, with something in it" {
	begin
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	as_user mkfifo f
	in=("${user[@]}" /usr/bin/python3 -c 'import os, time
r = os.open("f", os.O_RDONLY | os.O_NONBLOCK)
w = os.open("f", os.O_WRONLY)
os.write(w, b"word")
os.close(w)
os.dup2(r, 5)
open("ready", "w")
time.sleep(1000)')
	begins
	in=()
	save_and_end
	mkfifo -m 644 ../fifo
	as_user ln -sf ../fifo f
	refused "$home/f"
	as_user sh -c 'rm f; mkfifo f'
	restarts
	[ "$(timeout 5 head -c 4 0<>"/proc/$pid/fd/5")" = word ]
	mkfifo -m 644 ../empty
	save_and_end
	as_user ln -sf ../empty f
	restarts
	leads 5 ../empty
}

# twin FILE: one of root's, with the same content and time
twin() {
	cp -p "$1" ../secret
	chown 0:0 ../secret
	chmod 600 ../secret
	touch -r "$1" ../secret
}

@test "a mapped file" {
	begin
	as_user sh -c 'printf word >f; truncate -s 8192 f'
	in=("${user[@]}" ../mapper)
	begins p:f
	save_and_end
	twin f
	as_user ln -sf ../secret f
	refused "$home/f"
}

@test "a mapped file, to be written to" {
	begin
	as_user sh -c 'printf word >f; truncate -s 8192 f'
	in=("${user[@]}" ../mapper)
	begins s:f
	save_and_end
	twin f
	chmod 644 ../secret
	as_user ln -sf ../secret f
	refused "$home/f"
	ln -f ../secret f
	refused "$home/f"
}

@test "a working directory" {
	begin
	as_user mkdir d
	in=("${user[@]}" sh -c 'cd d; >../ready; exec sleep 1000')
	begins
	until_true 10 grep -q sleep "/proc/$pid/comm"
	save_and_end
	as_user sh -c 'rmdir d; ln -s ../private d'
	refused "$home/d"
}

@test "a root directory" {
	begin
	as_user mkdir d
	mkdir d/dev
	# shellcheck disable=SC2046 # one word for each library
	cp -L --parents $(ldd "$MAPPER" | grep -o '/[^ ]*') d
	cp "$MAPPER" d/mapper
	chmod 777 d
	in=(chroot "$home/d" /mapper u:$USER_ID)
	rm -f ready
	(
		close_others
		exec "${in[@]}"
	) </dev/null >"$dir/out" 2>&1 &
	pid=$!
	echo $pid >>"$BATS_TEST_TMPDIR/started"
	until_true 10 test -e d/ready
	save_and_end
	cp -a d ../other
	mv d e
	ln -s ../other d
	refused "$home/d"
	rm d
	mv e d
	restarts
	[ "$(readlink "/proc/$pid/root")" = "$home/d" ]
}

@test "a file that a process of root and one of the user have in common" {
	begin
	as_user sh -c 'echo own >f'
	in=(sh -c "exec 5<f; $(printf '%q ' "${user[@]}") sleep 1000 & >ready; wait")
	begins
	until_true 10 pgrep -P "$pid" -x sleep
	save_and_end
	as_user ln -sf ../secret f
	refused "$home/f"
}

@test "a file that is on its way between two processes" {
	begin
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	as_user sh -c 'echo own >f'
	in=("${user[@]}" /usr/bin/python3 -c 'import os, socket, time
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [os.open("f", os.O_RDONLY)])
open("ready", "w")
time.sleep(1000)')
	begins
	in=()
	run "$STASIS" checkpoint "$pid" -o "$dir/image"
	[ "$status" = 0 ] || skip "descriptors in sockets are not kept"
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	as_user ln -sf ../secret f
	refused "$home/f"
}

# ---- sockets ----

# python TEXT: a program of the user that runs TEXT, then says that it is ready
python() {
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	printf 'import os, socket, time\ns = socket.socket(socket.AF_UNIX, socket.%s)\n%s\nopen("ready", "w")\ntime.sleep(1000)' \
		"$1" "$2" >../p.py
	in=("${user[@]}" /usr/bin/python3 ../p.py)
	[ "${3-}" != root ] || in=(/usr/bin/python3 ../p.py)
	begins
	in=()
}

# the kernel tells the file of a socket (SIOCUNIXFILE) to who has CAP_NET_ADMIN
needs_file() {
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	python3 -c 'import fcntl, socket
s = socket.socket(socket.AF_UNIX)
s.bind("../probe")
fcntl.ioctl(s, 0x89e0)' || skip "SIOCUNIXFILE is not for everybody"
}

become="os.setgroups([]); os.setgid($USER_ID); os.setuid($USER_ID)"

@test "a socket is not bound where he may not make one" {
	begin
	as_user mkdir d
	python SOCK_STREAM 's.bind("'"$home"'/d/s"); s.listen()'
	save_and_end
	as_user sh -c 'mv d e; ln -s ../private d'
	refused "$home/d"
	as_user ln -snf .. d
	refused "$home/d"
	[ -z "$(ls ../private)" ]
	[ ! -e ../s ]
	as_user sh -c 'rm d; mkdir d'
	restarts
	[ "$(stat -c %u d/s)" = $USER_ID ]
}

@test "a socket bound by a relative path" {
	begin
	as_user mkdir d
	python SOCK_STREAM 'os.chdir("d"); s.bind("s"); s.listen(); os.chdir("..")'
	run "$STASIS" checkpoint "$pid" -o "$dir/image"
	[ "$status" = 0 ] || skip "it may be anywhere"
}

@test "a socket that root has bound in a directory of his" {
	begin
	python SOCK_STREAM 's.bind("'"$dir"'/private/s"); s.listen(); os.chmod("'"$dir"'/private/s", 0o666); '"$become" root
	local i
	for i in 1 2 3; do
		save_and_end
		restarts
		[ "$(stat -c %u:%a ../private/s)" = 0:666 ]
		[ "$(ls ../private)" = s ]
	done
	save_and_end
	rm -r ../private
	run "$STASIS" restart "$dir/image" --detach
	expect 125
	mkdir -m 700 ../private
	restarts
}

@test "a socket that root has bound in a directory of his, and no path leads to any more" {
	begin
	python SOCK_STREAM 's.bind("'"$dir"'/private/s"); s.listen(); os.unlink("'"$dir"'/private/s"); '"$become" root
	save_and_end
	refused "$dir/private"
	restarts --file "$dir/private=allow"
	[ -z "$(ls ../private)" ]
}

@test "a socket whose path goes through a symbolic link of root" {
	begin
	ln -s private ../link
	python SOCK_STREAM 's.bind("'"$dir"'/link/s"); s.listen(); '"$become" root
	save_and_end
	restarts
	[ -S ../private/s ]
}

@test "a socket that root has bound, which the user may not even write to" {
	begin
	local at mode
	mkdir -m 1777 ../sticky
	for at in home sticky; do
		for mode in 660 755; do
			python SOCK_STREAM 's.bind("'"$dir/$at"'/s"); s.listen(); os.chmod("'"$dir/$at"'/s", 0o'$mode'); '"$become" root
			save_and_end
			restarts
			[ "$(stat -c %u:%a "../$at/s")" = 0:$mode ]
			[ "$(ls ../$at | grep -c '^s')" = 1 ]
			save_and_end
			rm "../$at/s"
		done
	done
}

@test "a path that is led to another directory of root while it is bound" {
	begin
	needs_file
	command -v strace >/dev/null || skip "there is no strace"
	mkdir -m 700 ../other
	as_user ln -s ../private link
	python SOCK_STREAM 's.bind("'"$home"'/link/s"); s.listen(); '"$become" root
	save_and_end
	(until_true 10 compgen -G "../private/s.stasis-*" && as_user ln -sfn ../other link) >/dev/null 3>&- &
	run strace -o "$dir/trace" -e trace=bind -e inject=bind:delay_enter=1000000 \
		"$STASIS" restart "$dir/image" --detach --pid-file "$dir/pid"
	wait $!
	grep -q DELAYED "$dir/trace" || skip "strace cannot delay it"
	expect 121
	says "[file-rights]"
	says "its path leads to another directory"
	[ -z "$(ls ../other)" ]
	[ "$(ls ../private)" = s ]
}

# receivers: $root, a program of root that receives at "$dir/root", which only root may send to, and $his, one of the user at "$home/his"
receivers() {
	python SOCK_DGRAM 's.bind("'"$dir"'/root"); os.chmod("'"$dir"'/root", 0o600)' root
	root=$pid
	rm -f ready
	python SOCK_DGRAM 's.bind("'"$home"'/his")'
	his=$pid
	rm -f ready
}

# loses_receiver: what was sent to his goes nowhere, although his path leads to root's now
loses_receiver() {
	rm his
	as_user ln -s ../root his
	restarts
	says "a socket is not connected any more"
	kill -KILL "$root" "$his"
}

@test "datagrams do not go to whom he may not write" {
	begin
	receivers
	python SOCK_DGRAM 's.connect("'"$home"'/his")'
	save_and_end
	loses_receiver
}

@test "datagrams of a worker of the user, whose master is root" {
	begin
	receivers
	python SOCK_DGRAM '
if os.fork():
    if not os.fork():
        time.sleep(1000) # it comes after the worker
    time.sleep(1000)
'"$become"'
s.connect("'"$home"'/his")' root
	until_true 10 test -e ready
	save_and_end
	loses_receiver
}

@test "a socket in another directory that has the number of its inode" {
	begin
	[ -x /usr/bin/python3 ] || skip "there is no python3"
	unshare -m true || skip "there are no mount namespaces"
	mkdir ../his ../roots
	cat >../p.py <<END
import os, socket, time
os.symlink("$dir/his/d", "d")
s = socket.socket(socket.AF_UNIX)
s.bind("$home/d/s")
s.listen()
os.unlink("d")
os.symlink("$dir/roots/d", "d")
open("ready", "w")
time.sleep(1000)
END
	# inodes of a tmpfs are numbered in the order that they are made in
	cat >../all <<END
set -e
mount -t tmpfs -o mode=755 stasis-test "$dir/roots"
mount -t tmpfs -o mode=755 stasis-test "$dir/his"
mkdir "$dir/roots/d" "$dir/his/d"
chown $USER_ID "$dir/his/d"
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("$dir/roots/d/s")'
${user[*]} /usr/bin/python3 "$dir/p.py" </dev/null >/dev/null 2>&1 &
echo \$! >>"$BATS_TEST_TMPDIR/started"
until [ -e ready ]; do sleep 0.02; done
ls -i "$dir/roots/d" >"$dir/before"
ls -i "$dir/his/d" | cmp - "$dir/before" # else it is no test
"$STASIS" checkpoint \$! -o "$dir/image"
kill -KILL \$!
wait \$! || true
"$STASIS" restart "$dir/image" --detach --pid-file "$dir/pid" || echo "status \$?"
ls -i "$dir/roots/d" | cmp - "$dir/before"
END
	apart() {
		close_others
		unshare -m bash ../all
	}
	run apart
	expect 0
	says "[file-rights]"
	says "status 121"
	[ ! -e "$dir/pid" ]
}

# receives SOCKET...: what a program of python() does when there is a file "go"; got() is what it received, in order
receives() {
	printf 'open("ready", "w")
while not os.path.exists("'"$home"'/go"): time.sleep(0.02)
for r in ('"$*"'): open("'"$home"'/got", "ab").write(r.recv(100, socket.MSG_DONTWAIT))
'
}

got() {
	as_user touch go
	until_true 5 test -s got
	until_true 5 test "$(cat got)" = "$1"
}

@test "datagrams wait again in the socket that they waited in, whatever its path leads to" {
	begin
	needs_file
	python SOCK_DGRAM 's.bind("'"$home"'/s"); s.sendto(b"one ", "'"$home"'/s"); os.unlink("'"$home"'/s")
t = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); t.bind("'"$home"'/s"); t.sendto(b"two ", "'"$home"'/s")
u = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); u.bind("u"); u.sendto(b"three", "u")
'"$(receives s, t, u)"
	save_and_end
	cd /
	restarts
	cd "$home"
	got "one two three"
}

@test "the same, where stasis may not ask for the file of a socket" {
	begin
	as_user mkdir d
	python SOCK_DGRAM 's.bind("s"); s.sendto(b"one ", "s")
t = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); t.bind("'"$home"'/d/t"); t.sendto(b"two", "'"$home"'/d/t")
'"$(receives s, t)"
	save_and_end
	as=(setpriv --bounding-set=-net_admin)
	restarts
	got "one two"
}

# ---- files in memory, which are made again ----

# $mem is a directory of root's in memory
in_memory() {
	begin
	[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || skip "/dev/shm is no tmpfs"
	mem=$(mktemp -d /dev/shm/stasis-rights.XXXXXX)
	echo "$mem" >"$BATS_TEST_TMPDIR/memory"
	chmod "${1:-755}" "$mem"
	another=(setpriv --reuid=65533 --regid=65533 --clear-groups)
}

# maps HOW:FILE...: a program of the user that has mapped them
maps() {
	in=("${user[@]}" ../mapper)
	begins "$@"
	in=()
}

@test "a file in memory of root, which root has removed" {
	in_memory
	echo "no logins" >"$mem/nologin"
	opens "5<$mem/nologin"
	save_and_end
	rm "$mem/nologin"
	refused "$mem/nologin"
	[ -z "$(ls "$mem")" ]
	restarts --file "$mem/nologin=allow"
	[ "$(cat "$mem/nologin")" = "no logins" ]
	[ "$(stat -c %u:%a "$mem/nologin")" = 0:644 ]
}

@test "a file in memory is not set-user-ID when it is made again" {
	in_memory 1777
	cp ../mapper "$mem/f"
	chmod 6755 "$mem/f"
	opens "5<$mem/f"
	save_and_end
	rm "$mem/f"
	restarts
	says "not set-user-ID"
	[ "$(stat -c %u:%a "$mem/f")" = 0:755 ]
	rm "$mem/f"
	printf word >"$mem/f"
	chmod 6755 "$mem/f"
	maps "r:$mem/f"
	save_and_end
	rm "$mem/f"
	restarts
	says "not set-user-ID"
	[ "$(stat -c %u:%a "$mem/f")" = 0:755 ]
}

@test "no file in memory is made in a directory of another user" {
	in_memory 1777
	as_user sh -c "mkdir -m 777 $mem/d; printf evil >$mem/d/f"
	maps "s:$mem/d/f"
	save_and_end
	rm -r "$mem/d"
	"${another[@]}" mkdir "$mem/d"
	refused "$mem/d/f"
	[ -z "$(ls "$mem/d")" ]
	rmdir "$mem/d"
	restarts
	[ "$(cat "$mem/d/f")" = evil ]
	[ "$(stat -c %u:%a "$mem/d")" = $USER_ID:777 ]
}

@test "an open file in memory is not made in a directory of another user" {
	in_memory 1777
	as_user sh -c "mkdir $mem/d; printf evil >$mem/d/f"
	opens "5<>$mem/d/f"
	save_and_end
	rm -r "$mem/d"
	"${another[@]}" mkdir "$mem/d"
	refused "$mem/d/f"
	[ -z "$(ls "$mem/d")" ]
	rmdir "$mem/d"
	restarts
	[ "$(cat "$mem/d/f")" = evil ]
	[ "$(stat -c %u "$mem/d")" = $USER_ID ]
}

@test "a mapped file in memory, where he may not go" {
	in_memory 1777
	as_user sh -c "mkdir $mem/d; printf own >$mem/d/f"
	maps "r:$mem/d/f"
	save_and_end
	rm -r "$mem/d"
	"${another[@]}" sh -c "mkdir -m 700 $mem/d; printf secret >$mem/d/f"
	refused "$mem/d/f"
}

@test "a file in memory that is not open to him any more stays as it is" {
	in_memory 1777
	printf evil >"$mem/f"
	chmod 666 "$mem/f"
	maps "s:$mem/f"
	save_and_end
	rm "$mem/f"
	printf secret >"$mem/f"
	chmod 600 "$mem/f"
	refused "$mem/f"
	[ "$(cat "$mem/f")" = secret ]
	chmod 666 "$mem/f"
	restarts
	says "as it is now"
	[ "$(cat "$mem/f")" = secret ]
	sees secret
}

@test "his file in memory has again what was in it" {
	in_memory 1777
	as_user sh -c "printf own >$mem/f"
	maps "s:$mem/f"
	save_and_end
	as_user sh -c "printf other >$mem/f"
	restarts
	says "has again"
	[ "$(cat "$mem/f")" = own ]
	save_and_end
	as_user sh -c "rm $mem/f; printf other >$mem/f"
	restarts
	says "has again"
	[ "$(cat "$mem/f")" = own ]
	[ "$(ls "$mem")" = f ]
}

@test "a log in memory of root's, opened before it became the user's" {
	in_memory
	mkdir -m 700 "$mem/log"
	holds "5>>$mem/log/f"
	printf word >"$mem/log/f"
	chmod 640 "$mem/log/f"
	save_and_end
	rm -r "$mem/log"
	[ "$(stat -c %a /dev/shm)" != 1777 ] || refused "$mem/log/f"
	restarts --file "$mem/log/f=allow"
	[ "$(stat -c %u:%a "$mem/log")" = 0:700 ]
	[ "$(stat -c %u:%a "$mem/log/f")" = 0:640 ]
	[ "$(cat "$mem/log/f")" = word ]
}

# /run is no tmpfs everywhere, and /dev/shm is open to everybody: so one is mounted where only root can put anything
@test "a file in memory of root's, where only root can put one" {
	begin
	mkdir "$dir/mem"
	mount -t tmpfs -o mode=755 none "$dir/mem" || skip "a tmpfs cannot be mounted"
	echo "$dir/mem" >"$BATS_TEST_TMPDIR/mounted"
	mkdir -m 700 "$dir/mem/log"
	holds "5>>$dir/mem/log/f 4<$dir/mem/log/f"
	printf word >"$dir/mem/log/f"
	save_and_end
	rm -r "$dir/mem/log"
	restarts
	[ "$(stat -c %u:%a "$dir/mem/log")" = 0:700 ]
	[ "$(cat "$dir/mem/log/f")" = word ]
	kill -KILL "$pid"
	until_true 10 gone "$pid"
	printf other >"$dir/mem/g"
	chmod 600 "$dir/mem/g"
	holds "4<$dir/mem/g"
	rm -r "$dir/image"
	save_and_end
	rm "$dir/mem/g"
	refused "$dir/mem/g"
}

# ---- what it had, it gets, although it could not open it ----

@test "a log of root, opened before it became the user's" {
	begin
	touch ../private/log ../log
	chmod 640 ../log
	holds '5>>../log 6>>../private/log 7<../secret'
	local i
	for i in 1 2 3; do
		save_and_end
		restarts
		leads 5 ../log
		leads 6 ../private/log
		leads 7 ../secret
	done
	chmod 644 ../secret
	save_and_end
	restarts
	leads 7 ../secret
}

@test "what of root is not there any more, or is no such thing" {
	begin
	printf x >../private/f
	holds '5<../private/f'
	save_and_end
	rm ../private/f
	mkdir ../private/f
	missing "$dir/private/f"
	says "not a regular file any more"
	rmdir ../private/f
	missing "$dir/private/f"
	rm -r ../private
	touch ../private
	missing "$dir/private/f"
}

@test "a directory and a FIFO of root" {
	begin
	mkfifo -m 600 ../fifo
	holds '5<../private 6<>../fifo'
	save_and_end
	restarts
	leads 5 ../private
	leads 6 ../fifo
}

@test "mapped files of root" {
	begin
	printf word >../private/f
	truncate -s 8192 ../private/f
	in=(../mapper)
	begins p:../private/f s:../private/f u:$USER_ID
	in=()
	sees "word own word"
	save_and_end
	restarts
	sees "word own word"
}

@test "a working directory that only root can enter" {
	begin
	in=(sh -c "cd ../private && >../home/ready && exec $(printf '%q ' "${user[@]}") sleep 1000")
	begins
	until_true 10 grep -q sleep "/proc/$pid/comm"
	save_and_end
	restarts
	[ "$(readlink "/proc/$pid/cwd")" = "$dir/private" ]
}

@test "a log of root that is another one of the same kind, where only root can put one" {
	begin
	touch ../log
	chmod 640 ../log
	holds '5>>../log'
	save_and_end
	mv ../log ../log.1
	touch ../log
	chmod 640 ../log
	restarts --file "$dir/log=keep"
	leads 5 ../log
	save_and_end
	chmod 600 ../log
	refused "$dir/log"
}

@test "a log of root that is another one, where others can put one" {
	begin
	touch log
	holds '5>>log'
	save_and_end
	rm log
	touch log
	chmod 600 log
	refused "$home/log"
	restarts --file "$home/log=allow"
	leads 5 log
	save_and_end
	as_user sh -c 'mv log log.1; ln -s ../secret log'
	run "$STASIS" restart "$dir/image" --detach --file "$home/log=allow"
	expect 121
	says "[file-rights]"
}

@test "a log of root that is another one, of a server of root that is the user for the moment" {
	begin
	touch log
	chmod 600 log
	python SOCK_STREAM '
log = os.open("log", os.O_WRONLY | os.O_APPEND)
os.seteuid('$USER_ID')' root
	save_and_end
	rm log
	touch log
	chmod 600 log
	restarts
	until_true 10 grep -q "$home/log" <(readlink /proc/"$pid"/fd/*)
}

# ---- what it could open, it gets ----

@test "other files of the user" {
	begin
	as_user sh -c 'echo own >f; mkdir d; mkfifo p'
	opens '5<f 6<d 7<>p'
	save_and_end
	as_user sh -c 'mv f real; ln -s real f; rmdir d; mkdir d; rm p; mkfifo p'
	restarts
	leads 5 real
	leads 6 d
	leads 7 p
}

@test "what a group of it may read" {
	begin
	user=(setpriv --reuid=$USER_ID --regid=$USER_ID --groups=4242 --inh-caps=-all)
	echo own >../f
	chgrp 4242 ../f
	chmod 640 ../f
	opens '5<../f'
	save_and_end
	echo other >../g
	chgrp 4242 ../g
	chmod 660 ../g
	mv ../g ../f
	restarts
	leads 5 ../f
	[ "$(sed -n 's/^Groups:[[:space:]]*//p' "/proc/$pid/status" | tr -d ' ')" = 4242 ]
}

@test "what all may read who have it" {
	begin
	as_user sh -c 'echo own >f'
	in=(sh -c "exec 5<f; $(printf '%q ' "${user[@]}") sleep 1000 & exec setpriv --reuid=65533 --regid=65533 --clear-groups sleep 1000")
	(
		close_others
		exec "${in[@]}"
	) </dev/null >"$dir/out" 2>&1 &
	pid=$!
	echo $pid >>"$BATS_TEST_TMPDIR/started"
	until_true 10 pgrep -P "$pid" -x sleep
	until_true 10 grep -q sleep "/proc/$pid/comm"
	save_and_end
	as_user sh -c 'echo other >g; chmod 600 g; mv g f'
	refused "$home/f"
	chmod 644 f
	restarts
	leads 5 f
}

@test "a master of root and a worker of the user with one log" {
	begin
	touch ../log
	chmod 640 ../log
	in=(sh -c "exec 5>>../log; $(printf '%q ' "${user[@]}") sleep 1000 & >ready; wait")
	begins
	until_true 10 pgrep -P "$pid" -x sleep
	save_and_end
	restarts
	leads 5 ../log
}

@test "what its capabilities let it read" {
	begin
	user=(setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override)
	as_user sh -c 'echo own >f'
	opens '5<f'
	save_and_end
	as_user ln -sf ../secret f
	restarts
	leads 5 ../secret
}
