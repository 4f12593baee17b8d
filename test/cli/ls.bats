#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# stasis ls and the register of jobs behind it.
load helper

registry() {
	if [ "$(id -u)" -eq 0 ]; then echo /run/stasis/jobs; else echo "$XDG_RUNTIME_DIR/stasis/jobs"; fi
}

listed() { "$STASIS" ls | grep -q "^$1 "; }

@test "a job is listed while it runs" {
	local name=lstest-$$-a
	start "$STASIS" run --name $name --dir d -- sleep 30
	until_true 10 listed $name
	"$STASIS" ls --json >out.json
	json out.json "[j for j in d['jobs'] if j['name'] == '$name' and j['dir'] == '$PWD/d' and j['command'] == 'sleep 30'
		and j['pid'] > 0 and j['images'] == [] and j['since'] > 1600000000]"
	[ "$(stat -c %a "$(registry)")" = 700 ]
	kill -TERM $pid
	wait $pid || true
	run "$STASIS" ls
	expect 0
	never_says $name
}

@test "a job whose supervisor was killed is not listed, and its entry goes" {
	local name=lstest-$$-b
	start "$STASIS" run --name $name --dir d -- sleep 30
	until_true 10 listed $name
	kill -KILL $pid
	wait $pid || true
	not_listed() { ! listed $name; }
	until_true 10 not_listed
	run grep -l "^name $name\$" "$(registry)" -r
	expect 1
}

@test "an entry for a pid that was used again, and rubbish, are ignored and removed" {
	"$STASIS" ls >/dev/null
	local dir
	dir=$(registry)
	printf 'pid %d\nstart 1\nsince 1\nname lstest-old\ndir /\ncommand x\n' $$ >"$dir/$$"
	printf 'rubbish\n' >"$dir/4194999"
	head -c 1000 /dev/urandom >"$dir/4194998"
	run "$STASIS" ls
	expect 0
	never_says lstest-old
	[ ! -e "$dir/$$" ]
	[ ! -e "$dir/4194999" ]
	[ ! -e "$dir/4194998" ]
}

@test "names and commands may hold anything" {
	local name=lstest-$$-c
	start "$STASIS" run --name "$name" --dir $'d\n e%' -- sh -c $'sleep 30 # \e[31m\t%41 "é'
	until_true 10 listed "$name"
	run "$STASIS" ls
	never_says $'\e'
	"$STASIS" ls --json >out.json
	json out.json "[j for j in d['jobs'] if j['name'] == '$name' and j['dir'].endswith('d\\n e%')
		and j['command'] == 'sh -c sleep 30 # \\x1b[31m\\t%41 \"é']"
}

@test "two jobs of one name: neither is taken" {
	local name=lstest-$$-d
	start "$STASIS" run --name $name --dir d1 -- sleep 30
	start "$STASIS" run --name $name --dir d2 -- sleep 30
	two() { [ "$("$STASIS" ls | grep -c "^$name ")" = 2 ]; }
	until_true 10 two
	run "$STASIS" checkpoint $name
	expect 120
	says "[ambiguous]"
}

@test "a register that others can write to is not trusted" {
	[ "$(id -u)" -ne 0 ] || skip "root's register is shared with what runs on this host"
	mkdir -p "$XDG_RUNTIME_DIR/stasis"
	chmod 777 "$XDG_RUNTIME_DIR/stasis"
	run "$STASIS" ls
	expect 122
	says "[registry]"
	run "$STASIS" run -- true
	expect 0
}
