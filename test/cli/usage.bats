#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Arguments, help, exit statuses: nothing here needs a program to be saved.
load helper

@test "without arguments: the overview on stderr and 120" {
	run "$STASIS"
	expect 120
	says "usage: stasis COMMAND"
	[ -z "$("$STASIS" 2>/dev/null)" ]
}

@test "--version names the program and a number" {
	run "$STASIS" --version
	expect 0
	[[ $output =~ ^stasis\ [0-9]+\.[0-9]+ ]]
}

@test "--help, -h and help list every command" {
	for how in --help -h help "help help"; do
		run "$STASIS" $how
		expect 0
		for verb in run checkpoint restart check show ls; do
			says "  $verb "
		done
	done
}

@test "help VERB and VERB --help are the same and on stdout" {
	for verb in run checkpoint restart check show ls; do
		run "$STASIS" help $verb
		expect 0
		says "usage: stasis $verb"
		[ "$output" = "$("$STASIS" $verb --help 2>/dev/null)" ]
		[ "$output" = "$("$STASIS" $verb -h 2>/dev/null)" ]
	done
}

@test "an unknown command is told with a remedy" {
	run "$STASIS" chekpoint
	expect 120
	says 'unknown command "chekpoint"'
	says "try:"
	run "$STASIS" help nonsense
	expect 120
}

@test "control characters in arguments do not reach the terminal" {
	run "$STASIS" $'\e[31mred'
	expect 120
	never_says $'\e'
	run "$STASIS" checkpoint $'no\e[2Jjob'
	expect 120
	never_says $'\e'
}

@test "wrong arguments give 120, the usage and a remedy" {
	local -a lines=(
		"checkpoint" "checkpoint 1 2" "checkpoint --nonsense 1" "checkpoint -x 1" "checkpoint 1 -o"
		"checkpoint --json=1 1" "checkpoint --compress=0 1" "checkpoint --compress=20 1"
		"checkpoint --compress= 1" "checkpoint --compress=-1 1" "checkpoint --compress=3x 1" "run --compress=fast true" "restart" "restart a b" "restart --file x a" "restart --file x=keeep a"
		"restart --clock=never a" "restart --clock" "run --clock=2 true"
		"restart --file =keep a" "restart --pid-file" "check" "check 1 2" "check --nonsense 1" "show" "show a b"
		"ls extra" "ls --nonsense" "run" "run --" "run --every" "run --every x -- true" "run --every 0 -- true"
		"run --every -5 -- true" "run --on NONSENSE -- true" "run --on KILL -- true" "run --on STOP -- true"
		"run --keep 0 -- true" "run --keep x -- true" "run --keep -1 -- true" "run --name a/b -- true"
		"run --name 12 -- true" "run --name .. -- true" "run --nonsense -- true"
	)
	for line in "${lines[@]}"; do
		# shellcheck disable=SC2086
		run "$STASIS" $line
		echo "line: $line"
		expect 120
		says "[usage]"
		says "try:"
		says "usage: stasis ${line%% *}"
	done
}

@test "a pid that nobody has, and a job that nobody started" {
	run "$STASIS" checkpoint 4194304999
	expect 120
	says "[no-process]"
	run "$STASIS" check 99999999999999999999999
	expect 120
	says "[no-process]"
	says "the pid 99999999999999999999999"
	run "$STASIS" checkpoint 0
	expect 120
	run "$STASIS" checkpoint no-such-job-at-all
	expect 120
	says "[no-job]"
	says "try:"
}

@test "stasis does not save itself, nor what it is a part of" {
	run sh -c 'exec "$STASIS" checkpoint $$ -o a.stasis'
	expect 120
	says "[self]"
	run sh -c '"$STASIS" checkpoint $$ -o a.stasis; exit $?'
	expect 120
	says "[self]"
	[ ! -e a.stasis ]
}

@test "the same as JSON: one object with all fields" {
	run --separate-stderr "$STASIS" checkpoint --json no-such-job-at-all
	expect 120
	[ -z "$stderr" ]
	echo "$output" >out.json
	json out.json 'd["ok"] is False and d["status"] == 120 and d["slug"] == "no-job" and d["error"] and d["try"]'
	json out.json 'set(d) == set("ok status error slug why try state obstacles notes name pid processes threads memory \
		image_size wall_ns still_ns path own_pidns".split())'
	"$STASIS" check --json no-such-job-at-all >out.json || true
	json out.json 'd["objects"] == [] and d["status"] == 120'
}

@test "an image that is not there, a directory, one that is none" {
	mkdir dir
	head -c 100000 /dev/urandom >noise
	: >empty
	for verb in restart show; do
		run "$STASIS" $verb no-such-file
		expect 120
		says "no-such-file"
		run "$STASIS" $verb dir
		expect 120
		says "[input]"
		for file in noise empty; do
			run "$STASIS" $verb $file
			expect 123
			says "stasis: cannot "
			run "$STASIS" $verb - <$file
			expect 123
			"$STASIS" $verb --json $file >out.json || true
			json out.json 'd["ok"] is False and d["status"] == 123 and d["error"] and d["slug"]'
		done
	done
}

@test "a file that may not be read gives 122" {
	[ "$(id -u)" -ne 0 ] || skip "root may read all files"
	echo x >secret
	chmod 0 secret
	run "$STASIS" restart secret
	expect 122
}

@test "standard output that cannot be written gives 125" {
	[ -c /dev/full ] || skip "no /dev/full here"
	for line in "--help" "--version" "help run" "ls --json"; do
		# shellcheck disable=SC2086
		run bash -c '"$STASIS" "$@" >/dev/full' - $line
		expect 125
		says "standard output"
	done
}

@test "closed standard descriptors do no harm" {
	run bash -c '"$STASIS" --version <&- >&- 2>&-'
	[ "$status" -eq 0 ]
	run bash -c '"$STASIS" checkpoint no-such-job <&- 2>&-'
	[ "$status" -eq 120 ]
}

@test "an image is neither written to nor read from a terminal" {
	command -v script >/dev/null || skip "no script(1) here"
	run script -qec "'$STASIS' checkpoint $$ -o -" /dev/null
	expect 120
	says "[terminal]"
	run script -qec "'$STASIS' checkpoint $$ -o /dev/tty" /dev/null
	expect 120
	says "[terminal]"
	for verb in restart show; do
		run script -qec "'$STASIS' $verb -" /dev/null
		expect 120
		says "[terminal]"
		run script -qec "'$STASIS' $verb /dev/tty" /dev/null
		expect 120
		says "[terminal]"
	done
}

@test "-o with a directory is told" {
	run "$STASIS" checkpoint $$ -o .
	expect 120
	says "[is-directory]"
}
