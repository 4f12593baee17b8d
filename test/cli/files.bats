#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mapped files on file systems of all sorts, and such as their path does not lead to any more.
load helper
load mapper

# each test has a directory that anybody can enter; what is mounted in it goes
setup_file() {
	: "${MAPPER:?names the program of mapper.c}"
}

begin() {
	dir=$(mktemp -d "${TMPDIR:-/tmp}/stasis-files.XXXXXX")
	chmod 777 "$dir"
	echo "$dir" >"$BATS_TEST_TMPDIR/dir"
	cd "$dir" || return 1
	as=()
	stasis=$STASIS
}

needs_root() { [ "$(id -u)" = 0 ] || skip "only root may mount"; }

# as_user: from here on the program and stasis are an ordinary user's
as_user() {
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
	while grep -q " $dir" /proc/self/mounts; do
		umount -l "$(grep -o " $dir[^ ]*" /proc/self/mounts | tail -n 1 | cut -c2-)" || break
	done
	rm -rf "$dir"
}

# file PATH WORD: two pages that begin with a word
file() {
	truncate -s 0 "$1"
	printf %s "$2" >"$1"
	truncate -s 8192 "$1"
	chmod 644 "$1"
}

# begin_mapper HOW:FILE...
begin_mapper() {
	[ -e mapper ] || cp "$MAPPER" mapper
	begins ./mapper "$@"
}

save() {
	run "${as[@]}" "$stasis" checkpoint "$pid" -o "$dir/image" "$@"
	expect 0
}

end() {
	kill -KILL "$pid"
	until_true 10 gone "$pid"
}

# there_and_back WORDS: saved, ended, brought back, twice over; what is seen stays
there_and_back() {
	local i
	sees "$1"
	for i in 1 2; do
		save
		end
		rm -f ready
		restarts
		sees "$1"
	done
}

# mount_tmpfs PATH
mount_tmpfs() {
	mkdir -p "$1"
	mount -t tmpfs -o mode=777 stasis-test "$1"
}

# ---- the path leads elsewhere ----

cover() {
	mkdir place
	file place/f word
	cp "$MAPPER" place/mapper
	chmod 755 place place/mapper
	in=(env)
	ln -s place/mapper mapper
	begin_mapper p:place/f r:place/f
	mount_tmpfs place
	there_and_back "word own word"
	[ "$(readlink "/proc/$pid/exe")" = "$dir/place/mapper (deleted)" ]
}

@test "what something was mounted over comes back, and so does the program that was run from there" {
	needs_root
	begin
	cover
}

@test "the same by a user" {
	needs_root
	begin
	as_user
	cover
}

@test "it is said that a file mapped shared comes back as a copy" {
	needs_root
	begin
	mkdir place
	file place/f word
	begin_mapper r:place/f
	mount_tmpfs place
	save
	says 'maps "'"$dir"'/place/f", but that path leads elsewhere now: at a restart it gets a copy'
	end
	begin_mapper p:place/../mapper
	save
	never_says "copy"
}

detach() {
	mount_tmpfs place
	file place/f word
	cp mapper place/mapper
	begin_mapper p:place/f p:place/mapper r:place/f
	sees "word own "$'\x7fELF\x02\x01\x01'" own word"
	umount -l place
	there_and_back "word own "$'\x7fELF\x02\x01\x01'" own word"
}

@test "what was unmounted while it is used comes back" {
	needs_root
	begin
	cp "$MAPPER" mapper
	detach
}

@test "what was unmounted while it is used comes back by a user" {
	needs_root
	begin
	as_user
	cp "$MAPPER" mapper
	detach
}

# a file of the same number is at the path now
same_number() {
	mount_tmpfs place
	file place/f word
	begin_mapper p:place/f
	local was
	was=$(stat -c %i place/f)
	mount_tmpfs place
	file place/f elsewhere
	[ "$(stat -c %i place/f)" = "$was" ] || skip "two file systems number their files differently"
	there_and_back "word own"
}

@test "another file of the same number at the path is not taken for it" {
	needs_root
	begin
	same_number
}

@test "another file of the same number at the path is not taken for it by a user" {
	needs_root
	begin
	as_user
	same_number
}

# open as well, and mapped or not
opened() {
	mkdir place
	file place/f word
	printf 'one\ntwo\n' >place/lines
	chmod 755 place
	chmod 644 place/*
	in=(sh -c 'exec 5<place/f 6<place/lines 7<place/lines; read -r first <&6; exec ./mapper p:place/f')
	begin_mapper
	mount_tmpfs place
	save
	says 'leads to "'"$dir"'/place/lines", but that path leads elsewhere now: at a restart it gets a copy'
	there_and_back "word own"
	[ "$(head -c 4 /proc/"$pid"/fd/5)" = word ]
	[ "$(cat /proc/"$pid"/fd/7)" = one$'\n'two ]
	grep -q '^pos:[[:space:]]*4$' /proc/"$pid"/fdinfo/6
	[ "$(stat -L -c %i /proc/"$pid"/fd/6)" = "$(stat -L -c %i /proc/"$pid"/fd/7)" ]
	[ "$(stat -L -c %i /proc/"$pid"/fd/5)" = "$(awk '/place\/f/ { print $5; exit }' /proc/"$pid"/maps)" ]
}

@test "what is open to be read, and covered, comes back as a copy" {
	needs_root
	begin
	opened
}

@test "what is open to be read, and covered, comes back as a copy by a user" {
	needs_root
	begin
	as_user
	opened
}

@test "what is open to be written to, and covered, is refused" {
	needs_root
	begin
	mkdir place
	file place/f word
	in=(sh -c 'exec 5<>place/f; exec ./mapper')
	begin_mapper
	mount_tmpfs place
	run "$STASIS" checkpoint "$pid" -o image
	expect 121
	says "[file-unreachable]"
	umount place
	save
}

@test "what is mapped shared to be written to, and covered, is refused" {
	needs_root
	begin
	mkdir place
	file place/f word
	begin_mapper s:place/f
	mount_tmpfs place
	run "$STASIS" checkpoint "$pid" -o image
	expect 121
	says "[file-replaced]"
	says "make the file reachable under its path again"
	sees word
	umount place
	there_and_back word
}

@test "a directory that was renamed or moved takes its files along" {
	needs_root
	begin
	mkdir one
	file one/f word
	mount_tmpfs three
	file three/f more
	begin_mapper p:one/f s:one/f p:three/f s:three/f
	mv one two
	mkdir one four
	file one/f other
	mount --move three four || skip "mounts cannot be moved here"
	there_and_back "word own word more own more"
}

# ---- file systems ----

# overlay LOWER[:LOWER] UPPER WORK: at "merged", with a file of each layer, and one that was changed
overlay() {
	mkdir -p merged
	mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" stasis-test merged || skip "there is no overlayfs"
	chmod 755 merged
	file merged/up upper
	file merged/changed changed
	chmod 666 merged/low merged/up merged/changed merged/deep 2>/dev/null || true
	cp "$MAPPER" merged/mapper
}

overlaid() {
	begin_mapper p:merged/low s:merged/low p:merged/up s:merged/up p:merged/changed r:merged/changed p:merged/deep
	sees "lower own lower upper own upper changed own changed deep own"
	sed 's/.* //' "/proc/$pid/maps" | sort -u >"$dir/names"
	there_and_back "lower own lower upper own upper changed own changed deep own"
	sed 's/.* //' "/proc/$pid/maps" | sort -u | diff "$dir/names" -
}

one_disk() {
	mkdir lower deeper upper work
	file lower/low lower
	file lower/changed before
	file deeper/deep deep
	overlay lower:deeper upper work
	overlaid
}

# the numbers of the files of both are the same
many_disks() {
	mount_tmpfs lower
	mount_tmpfs deeper
	mkdir upper work
	file deeper/deep deep
	file lower/low lower
	file lower/changed before
	overlay lower:deeper upper work
	overlaid
}

@test "overlayfs: files of all layers, mapped in all ways" {
	needs_root
	begin
	one_disk
}

@test "overlayfs: files of all layers, mapped in all ways, by a user" {
	needs_root
	begin
	as_user
	one_disk
}

@test "overlayfs: layers of several file systems" {
	needs_root
	begin
	many_disks
}

@test "overlayfs: layers of several file systems, by a user" {
	needs_root
	begin
	as_user
	many_disks
}

# root: a directory with what the program needs to run there
make_root() {
	local lib
	mkdir -p "$1"
	for lib in $(ldd "$MAPPER" | grep -o '/[^ ]*'); do
		mkdir -p "$1${lib%/*}"
		cp "$lib" "$1$lib"
	done
	mkdir "$1/dev"
	cp "$MAPPER" "$1/mapper"
}

@test "overlayfs: a program in a root directory of its own, with its libraries" {
	needs_root
	begin
	make_root lower
	file lower/data word
	mkdir upper work
	overlay lower upper work
	cd merged
	in=(chroot "$dir/merged")
	begin_mapper p:/data s:/data
	there_and_back "word own word"
}

@test "a bind mount" {
	needs_root
	begin
	mkdir one two
	file one/f word
	mount --bind one two
	begin_mapper p:two/f s:two/f
	there_and_back "word own word"
	umount -l two
	run "$STASIS" check "$pid"
	expect 121
	says "[file-replaced]"
	file one/f2 more
	end
	mount --bind one two
	begin_mapper p:two/f2 r:two/f2
	umount -l two
	there_and_back "more own more"
}

@test "a program in another mount namespace, whose files are where they were" {
	needs_root
	begin
	file f word
	in=(unshare -m)
	begin_mapper p:f s:f
	in=()
	there_and_back "word own word"
}

# a file at the same path here, of the same number
@test "a program in another mount namespace, whose files are others here" {
	needs_root
	begin
	mount_tmpfs place
	file place/f here
	in=(unshare -m sh -c 'mount -t tmpfs stasis-test place; printf word >place/f; truncate -s 8192 place/f; exec "$@"' sh)
	begin_mapper p:place/f
	until_true 10 test -e ready
	sees "word own"
	save
	says "mnt namespace"
	end
	run "$STASIS" restart image --detach
	expect 121
	says "[file-changed]"
}

subvolumes() {
	command -v mkfs.btrfs >/dev/null || skip "there is no mkfs.btrfs"
	truncate -s 120M disk
	mkfs.btrfs -q disk
	mkdir -p place
	mount -o loop disk place || skip "btrfs cannot be mounted"
	btrfs subvolume create place/one >/dev/null
	btrfs subvolume create place/two >/dev/null
	chmod 755 place place/one place/two
	file place/one/f one
	file place/two/f two
	chmod 666 place/*/f
	[ "$(stat -c %i place/one/f)" = "$(stat -c %i place/two/f)" ]
	begin_mapper p:place/one/f p:place/two/f s:place/one/f r:place/two/f s:place/two/f
	there_and_back "one own two own one two two"
	[ "$(grep -c 'deleted' "/proc/$pid/maps")" = 0 ]
}

@test "btrfs: files of two subvolumes have the same number" {
	needs_root
	begin
	subvolumes
}

@test "btrfs: files of two subvolumes have the same number, by a user" {
	needs_root
	begin
	as_user
	subvolumes
}
