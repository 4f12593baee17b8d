#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# stasis run with images: every, on, keep, fresh; the same line continues.
load helper

# ./job OPTIONS: the line that is repeated; $code is the exit status of the program
job_line() {
	cat >job <<-'END'
		#!/bin/sh
		exec "$STASIS" run --name j --dir d "$@" -- ./counter out 80 "${code:-0}"
	END
	chmod +x job
}

images() { find d -name 'j.*.stasis' 2>/dev/null | sort | sed 's,.*/,,' | tr '\n' ' '; }
has_images() { [ "$(images | wc -w)" -ge "$1" ]; }

@test "--on TERM saves, ends and exits 75; the same line finishes the work" {
	job_line
	start ./job --on TERM
	until_true 10 lines_in out 5
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	output=$(cat start.err)
	expect 75
	says "saved counter ("
	says "SIGTERM"
	[ "$(images)" = "j.000001.stasis " ]
	run ./job --on TERM
	expect 0
	says "restarted counter ("
	seq 80 | diff - out
	[ -z "$(images)" ]
	[ ! -e d/.j.lock ]
}

@test "again and again, each time with a higher number" {
	job_line
	for n in 1 2 3; do
		start ./job --on USR1 --on TERM
		until_true 10 lines_in out $((n * 15))
		kill -USR1 $pid
		status=0
		wait $pid || status=$?
		output=$(cat start.err)
		expect 75
		[ "$(images | awk '{ print $NF }')" = "j.00000$n.stasis" ]
		[ "$(images | wc -w)" -le 2 ]
	done
	run ./job --on USR1 --on TERM
	expect 0
	seq 80 | diff - out
}

@test "--compress: the images are compressed, and the same line goes on" {
	start "$STASIS" run --name j --dir d --every 150ms --on TERM --compress -- ./counter out 60 0
	until_true 10 lines_in out 10
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	expect 75
	for image in d/*.stasis; do
		[ "$(od -An -tu4 -j12 -N4 "$image")" -eq 1 ] # the flag of the header
	done
	run "$STASIS" run --name j --dir d --compress=3 -- ./counter out 60 0
	expect 0
	seq 60 | diff - out
}

@test "--every saves now and then and keeps --keep images; kill -9 of the group loses nothing" {
	job_line
	start setsid "$STASIS" run --name j --dir d --every 150ms --keep 2 -- ./counter out 80 0
	until_true 10 test -e d/j.000003.stasis
	kill -KILL -- -$pid
	wait $pid || true
	[ "$(images | wc -w)" -le 3 ]
	run ./job --every 10m
	expect 0
	seq 80 | diff - out
	[ -z "$(images)" ]
}

@test "after a failure the images stay and are named" {
	job_line
	code=5
	export code
	start ./job --every 200ms
	status=0
	wait $pid || status=$?
	output=$(cat start.err)
	expect 5
	says "--fresh"
	has_images 1
}

@test "a damaged newest image: said, and the older one is used" {
	job_line
	start ./job --every 200ms --on TERM
	until_true 20 has_images 1
	kill -TERM $pid
	wait $pid || true
	newest=$(images | awk '{ print $NF }')
	has_images 2 || cp "d/$newest" d/j.000099.stasis
	newest=$(images | awk '{ print $NF }')
	head -c 3000 "d/$newest" >d/x
	mv d/x "d/$newest"
	run ./job
	expect 0
	says "$newest is not usable"
	says "restarted counter ("
	seq 80 | diff - out
}

@test "only damaged images: 123, and --fresh starts anew" {
	job_line
	mkdir d
	echo rubbish >d/j.000001.stasis
	echo rubbish >d/j.000002.stasis
	run ./job
	expect 123
	says "--fresh"
	[ ! -e out ]
	run ./job --fresh
	expect 0
	seq 80 | diff - out
	[ -z "$(images)" ]
}

@test "another command line in the same directory is noted" {
	job_line
	start ./job --on TERM
	until_true 10 lines_in out 5
	kill -TERM $pid
	wait $pid || true
	run "$STASIS" run --name j --dir d -- ./counter out 81 0
	expect 0
	says "another command line"
	seq 80 | diff - out
}

@test "when nothing can be saved, the program gets the signal" {
	cat >program <<-'END'
		#!/usr/bin/env python3
		import signal, socket, sys, time
		s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
		signal.signal(signal.SIGTERM, lambda *a: sys.exit(33))
		open("ready", "w").close()
		while True: time.sleep(1)
	END
	chmod +x program
	start "$STASIS" run --name j --dir d --every 100ms --on TERM -- ./program
	until_true 10 test -e ready
	sleep 0.5
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	output=$(cat start.err)
	expect 33
	says "the program gets the signal"
	# the periodic failure is told once
	[ "$(grep -c 'the next checkpoint is tried' start.err)" = 1 ]
}

@test "a job is a target by its name, and ls shows its newest image" {
	local name=jobtest-$$
	start "$STASIS" run --name $name --dir d --every 200ms -- sleep 30
	until_true 10 test -e d/$name.000001.stasis
	run "$STASIS" ls
	says "$name.00000"
	run "$STASIS" check $name
	expect 0
	run "$STASIS" checkpoint $name -o here.stasis
	expect 0
	[ -s here.stasis ]
	"$STASIS" ls --json >out.json
	json out.json "[j for j in d['jobs'] if j['name'] == '$name' and j['images'] and j['images'][-1]['size'] > 0]"
}

@test "processes that outlived their parent, and one that began a session, come back" {
	cat >family <<-'END'
		#!/bin/bash
		( (while :; do echo o >>orphan; sleep 0.05; done) & )
		( setsid bash -c 'while :; do echo s >>session; sleep 0.05; done' & )
		for ((i = 0; i < 60; i++)); do sleep 0.05; done
		echo end >>out
	END
	chmod +x family
	start "$STASIS" run --name f --dir d --on TERM -- ./family
	until_true 10 lines_in orphan 5
	until_true 10 lines_in session 5
	kill -TERM $pid
	wait $pid || true
	local before
	before=$(wc -l <orphan)
	before_session=$(wc -l <session)
	run "$STASIS" run --name f --dir d --on TERM -- ./family
	expect 0
	[ "$(cat out)" = end ]
	[ "$(wc -l <orphan)" -gt "$before" ]
	[ "$(wc -l <session)" -gt "$before_session" ]
}

@test "sessions and groups whose first process has ended, also unreaped, come back with their numbers" {
	cat >clan <<-'END'
		#!/usr/bin/perl
		use POSIX;
		# say NAME: what I am, whenever asked
		sub say_it {
			my ($name) = @_;
			for (;;) {
				if (-e "ask" && ! -e "said.$name") {
					open my $out, ">", "said.$name.new";
					printf $out "%s %d of %d in group %d of session %d\n", $name, $$, getppid, getpgrp, syscall(124, 0); # getsid
					close $out;
					rename "said.$name.new", "said.$name";
				}
				exit 0 if -e "end";
				select undef, undef, undef, 0.02;
			}
		}
		# end of a session's first process; reaped
		my $leader = fork;
		if (!$leader) {
			POSIX::setsid();
			if (!fork) {
				if (!fork) { setpgrp; say_it("daemon-group"); }
				say_it("daemon");
			}
			exit 0;
		}
		waitpid $leader, 0;
		# end of a group's first process; reaped
		$leader = fork;
		if (!$leader) {
			setpgrp;
			say_it("group-member") if !fork;
			say_it("group-member-2") if !fork;
			exit 0;
		}
		waitpid $leader, 0;
		# the same, by a subreaper that is not the root: its orphans stay with it
		if (!fork) {
			my $pr = 36;
			syscall(157, $pr, 1, 0, 0, 0);
			my $dead = fork;
			if (!$dead) {
				POSIX::setsid();
				say_it("reaped") if !fork;
				exit 0;
			}
			say_it("subreaper"); # and waits for nobody: its child is a zombie and was the first of its session
		}
		say_it("root");
	END
	chmod +x clan
	local round before
	asks() {
		rm -f said.*
		touch ask
		until_true 10 eval '[ "$(ls said.* 2>/dev/null | grep -vc new)" = 7 ]'
		rm ask
		cat said.*
	}
	start "$STASIS" run --name c --dir d --on TERM -- ./clan
	sleep 0.5
	before=$(asks)
	[[ $before == *"daemon-group"* ]]
	for round in 1 2; do
		kill -TERM $pid
		wait $pid || true
		start "$STASIS" run --name c --dir d --on TERM -- ./clan
		sleep 0.3
		[ "$(asks)" = "$before" ]
	done
	touch end
	wait $pid
}

@test "a zombie keeps its name and its status" {
	cat >widow <<-'END'
		#!/usr/bin/perl
		my $pid = fork // die;
		if (!$pid) {
			open my $comm, ">", "/proc/self/comm" or die;
			print $comm "dearly missed";
			close $comm;
			$ARGV[0] ? kill($ARGV[0], $$) : exit 7;
		}
		select undef, undef, undef, 0.1 until -e "go";
		open my $comm, "<", "/proc/$pid/comm" or die "$pid: $!";
		my $name = <$comm>;
		waitpid $pid, 0;
		open my $out, ">", "out";
		print $out "$? $name";
	END
	chmod +x widow
	local signo child
	for signo in 0 9; do
		rm -f go out
		start ./widow $signo
		until_true 10 grep -q '[0-9]' /proc/$pid/task/$pid/children
		child=$(awk '{ print $1 }' /proc/$pid/task/$pid/children)
		until_true 10 grep -q '^State:.Z' /proc/"$child"/status
		run "$STASIS" checkpoint $pid -o image --stop
		expect 0
		touch go
		run "$STASIS" restart image
		expect 0
		[ "$(cat out)" = "$((signo ? signo : 7 << 8)) dearly missed" ]
	done
}

@test "a parent of a zombie still does on the end of a child what it did" {
	cat >parent <<-'END'
		#!/usr/bin/perl
		my $ends = 0;
		defined(my $pid = fork) or die;
		exit 7 if !$pid;
		select undef, undef, undef, 0.1 until `cat /proc/$pid/stat` =~ / Z /;
		$SIG{CHLD} = $ARGV[0] eq "count" ? sub { $ends++ } : "IGNORE";
		open my $ready, ">", "ready";
		select undef, undef, undef, 0.1 until -e "go";
		my $zombie = -e "/proc/$pid/stat";
		my $before = $ends;
		exit 0 if !fork;
		select undef, undef, undef, 0.5;
		open my $out, ">", "out";
		print $out "$before $ends $zombie";
	END
	chmod +x parent
	local does
	for does in count ignore; do
		rm -f go out ready
		start ./parent $does
		until_true 10 test -e ready
		run "$STASIS" checkpoint $pid -o image --stop
		expect 0
		touch go
		run "$STASIS" restart image
		expect 0
		if [ $does = count ]; then [ "$(cat out)" = "0 1 1" ]; else [ "$(cat out)" = "0 0 1" ]; fi
	done
}

@test "what the caller lends as a stream stays his: nothing in it is taken back" {
	job_line
	sed 's,>&3,,' counter >talker
	chmod +x talker
	"$STASIS" run --name t --dir d --on TERM -- ./talker unused 60 0 >log 2>err &
	pid=$!
	echo $pid >>started
	until_true 10 lines_in log 10
	kill -TERM $pid
	wait $pid || true
	echo "somebody else" >>log
	"$STASIS" run --name t --dir d --on TERM -- ./talker unused 60 0 >>log 2>err
	grep -qx "somebody else" log
	grep -vx "somebody else" log | diff - <(seq 60)
}

@test "a program of a job has a control group of its own, which goes with it" {
	local mount group
	mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$mount" ] || skip "no cgroup v2 here"
	group=$mount$(sed -n 's,^0::,,p' /proc/self/cgroup)
	[ -w "$group" ] || skip "this user may not make control groups"
	start "$STASIS" run --name g --dir d -- sleep 1
	until_true 10 test -e d/.g.lock
	sleep 0.3
	local own
	own=$(find "$group" -maxdepth 1 -name 'stasis.*' -newer started | head -n 1)
	[ -n "$own" ]
	[ "$(wc -l <"$own/cgroup.procs")" -ge 2 ]
	wait $pid
	[ ! -e "$own" ]
}

@test "an image beyond the limit of file sizes is a warning, not the end of the program" {
	run bash -c 'ulimit -f 8; exec "$STASIS" run --name j --dir d --every 150ms -- sh -c "sleep 1; exit 3"'
	expect 3
	says "File too large"
	says "the program goes on"
	[ -z "$(images)" ]
}

@test "a program whose first thread has ended is listed, warned of, and gets the signal of --on" {
	cat >headless.py <<-'END'
		import ctypes, threading, time
		def work():
		    time.sleep(0.5)
		    open("there", "w").close()
		    time.sleep(30)
		threading.Thread(target=work).start()
		ctypes.CDLL(None).pthread_exit(None)
	END
	start "$STASIS" run --name j --dir d --every 200ms --on TERM -- python3 headless.py
	until_true 10 test -e there
	run "$STASIS" ls
	says "j "
	sleep 0.5
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	# either it cannot be saved, and then that was said, or it was
	output=$(cat start.err)
	if [ $status -ne 75 ]; then
		expect 143
		says "cannot save"
		says "the program gets the signal"
	fi
}

@test "a time for --every beyond all clocks is never" {
	run "$STASIS" run --name j --dir d --every 18446744073s -- sh -c 'sleep 0.5; exit 3'
	expect 3
	[ -z "$(images)" ]
}
