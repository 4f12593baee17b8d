#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# stasis run, as far as it needs no image: exit statuses, signals, the lock, the directory.
load helper

@test "the exit status is the program's" {
	for n in 0 1 42 120 255; do
		run "$STASIS" run -- sh -c "exit $n"
		expect "$n"
	done
}

@test "128 + n when the program dies of signal n" {
	# as the first process of a shell would: the shell itself dies
	run "$STASIS" run -- sh -c 'kill -KILL $$'
	expect 137
	run "$STASIS" run -- sh -c 'kill -TERM $$'
	expect 143
}

@test "stdin, stdout and stderr are the caller's" {
	run --separate-stderr bash -c 'echo in | "$STASIS" run -- sh -c "cat; echo err >&2"'
	expect 0
	[ "$output" = in ]
	[ "$stderr" = err ]
}

@test "arguments arrive as they are, with and without --" {
	run "$STASIS" run -- printf '<%s>' 'a b' --every ''
	expect 0
	[ "$output" = "<a b><--every><>" ]
	run "$STASIS" run printf '<%s>' --name x
	expect 0
	[ "$output" = "<--name><x>" ]
}

@test "a command that is not there gives 127, one that cannot be executed 126" {
	run -127 "$STASIS" run -- no-such-command-at-all
	expect 127
	says 'cannot run "no-such-command-at-all": command not found'
	run -127 "$STASIS" run -- ./no-such-file
	expect 127
	echo text >text
	run "$STASIS" run -- ./text
	expect 126
	says "[not-executable]"
	run "$STASIS" run -- "$PWD"
	expect 126
	printf '#!/no/such/interpreter\n' >script
	chmod +x script
	status=0
	output=$("$STASIS" run -- ./script 2>&1) || status=$?
	[ "$status" -eq 126 ] || [ "$status" -eq 127 ]
	says "ended at once"
}

@test "nothing remains after a success, and no directory after a run without images" {
	run "$STASIS" run --name j -- true
	expect 0
	[ ! -e j.stasis.d ]
	run "$STASIS" run --name j -- false
	expect 1
	[ ! -e j.stasis.d ]
	[ -z "$output" ]
}

@test "a directory of --dir is made, for the caller alone, and stays" {
	run "$STASIS" run --dir a/b/c -- true
	expect 0
	[ "$(stat -c %a a/b/c)" = 700 ]
	[ -z "$(ls -A a/b/c)" ]
}

@test "files of others in the directory are left alone" {
	mkdir d
	touch d/j.txt d/j.1.stasis d/j.x00001.stasis d/jj.000001.stasis d/.j.tmp d/.j.000001.stasis.keep d/.jj.000001.stasis.x.tmp
	touch d/j.000001.stasis.bak d/.j.000007.stasis.abcdef.tmp
	run "$STASIS" run --name j --dir d -- true
	expect 0
	[ "$(ls -A d | tr '\n' ' ')" = "$(printf '%s\n' .j.000001.stasis.keep .j.tmp .jj.000001.stasis.x.tmp j.000001.stasis.bak \
		j.1.stasis j.txt j.x00001.stasis jj.000001.stasis | sort | tr '\n' ' ')" ]
}

@test "a directory that cannot be made is told" {
	: >file
	run "$STASIS" run --dir file/d -- true
	[ "$status" -ge 120 ]
	[ "$status" -le 125 ]
	says "[dir]"
}

@test "signals are forwarded" {
	for signal in TERM HUP USR1 USR2 ALRM WINCH XCPU; do
		rm -f ready
		start "$STASIS" run --name "sig$signal" -- sh -c "trap 'exit 33' $signal; touch ready; while :; do sleep 0.05; done"
		until_true 10 test -e ready
		kill -$signal $pid
		status=0
		wait $pid || status=$?
		echo "signal: $signal"
		output=$(cat start.err)
		expect 33
	done
}

@test "INT and QUIT are forwarded, also from a foreground group" {
	for signal in INT QUIT; do
		cat >program <<-END
			#!/usr/bin/env python3
			import signal, sys, time
			signal.signal(signal.SIG$signal, lambda *a: sys.exit(33))
			open("ready", "w").close()
			while True: time.sleep(1)
		END
		chmod +x program
		rm -f ready
		run python3 - "$STASIS" $signal <<-'END'
			import os, signal, subprocess, sys, time
			signal.signal(signal.SIGINT, signal.SIG_DFL)
			signal.signal(signal.SIGQUIT, signal.SIG_DFL)
			p = subprocess.Popen([sys.argv[1], "run", "--", "./program"], start_new_session=True)
			while not os.path.exists("ready"): time.sleep(0.02)
			p.send_signal(getattr(signal, "SIG" + sys.argv[2]))
			sys.exit(p.wait())
		END
		expect 33
	done
}

@test "Ctrl-C on a terminal reaches the program once" {
	cat >program <<-'END'
		#!/usr/bin/env python3
		import signal, sys, time
		n = 0
		def got(*a):
		    global n
		    n += 1
		signal.signal(signal.SIGINT, got)
		open("ready", "w").close()
		end = time.time() + 1
		while time.time() < end: time.sleep(0.05)
		open("count", "w").write(str(n))
		sys.exit(7)
	END
	chmod +x program
	cat >terminal <<-'END'
		import os, pty, sys, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.execv(sys.argv[1], [sys.argv[1], "run", "--", "./program"])
		while not os.path.exists("ready"): time.sleep(0.02)
		os.write(fd, b"\x03")
		while True:
		    try:
		        if not os.read(fd, 4096): break
		    except OSError: break
		sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	END
	run python3 terminal "$STASIS"
	expect 7
	[ "$(cat count)" = 1 ]
}

@test "the program starts with the caller's signal mask and dispositions" {
	grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status >without
	"$STASIS" run -- grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status >with
	diff without with
	trap '' HUP QUIT USR1
	grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status >without
	"$STASIS" run -- grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status >with
	trap - HUP QUIT USR1
	diff without with
}

@test "a second supervisor of the same job is refused, another name is not" {
	start "$STASIS" run --name j --dir d -- sleep 30
	until_true 10 grep -q '^pid ' d/.j.lock
	run "$STASIS" run --name k --dir d -- true
	expect 0
	run timeout 30 "$STASIS" run --name j --dir d -- true
	expect 125
	says "[job-runs]"
	says "pid $pid"
	kill -TERM $pid
	wait $pid || true
	run "$STASIS" run --name j --dir d -- true
	expect 0
}

@test "the program ends when its supervisor is killed, and the next one starts" {
	start "$STASIS" run --name j --dir d -- sh -c 'while :; do echo x >>beat; sleep 0.02; done'
	until_true 10 lines_in beat 3
	kill -KILL $pid
	wait $pid || true
	run "$STASIS" run --name j --dir d -- sh -c 'a=$(wc -l <beat); sleep 0.3; b=$(wc -l <beat); [ $a = $b ]'
	expect 0
}
