# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the scenes with a supervisor share. Two services in $WORK/run/services: "idle" notes its starts in the file "starts",
# "count" prints numbers, which a logger of the supervisor appends to log/current. A scene sets `program`, the supervisor, and
# `logger`, and has functions: status SERVICE (the pid of a service that is up), up, down SERVICE, end.
. "$(dirname "$0")/lib.sh"
logger=()

# service NAME - what it runs is read from here
service() {
	mkdir -p "run/services/$1"
	{ echo "#!/bin/sh" && cat; } >"run/services/$1/run"
	chmod 755 "run/services/$1/run"
}

# make_services - with the command of $logger
make_services() {
	service idle <<-'END'
		echo $$ >>../../starts
		exec sleep 1000
	END
	service count <<-'END'
		echo counting >>../../starts
		exec awk 'BEGIN { for (;;) { print ++n; fflush(); system("sleep 0.05") } }'
	END
	service count/log <<-END
		exec ${logger[*]} ./main
	END
	mkdir run/services/count/log/main
	log=$WORK/run/services/count/log/main/current
}

# starts - how often "idle" was started
starts() {
	awk '/^[0-9]/ { n++ } END { print n + 0 }' run/starts 2>/dev/null || echo 0
}

has_started() {
	[ "$(starts)" -ge "$1" ] && is_up idle
}

# is_up SERVICE - its supervisor says so, and names a process that lives, and is below the supervisor
is_up() {
	local vpid
	vpid=$(status "$1") && [ -n "$vpid" ] && [ -n "$(below "$vpid")" ]
}

is_down() {
	! is_up "$1"
}

# below VPID - the process below $pid that counts itself as VPID
below() {
	local p
	for p in $(descendants "$pid"); do
		[ "$(own_pid "$p" 2>/dev/null)" != "$1" ] || echo "$p"
	done
}

descendants() {
	local child children
	children=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
	for child in $children; do
		echo "$child"
		descendants "$child"
	done
}

have_ended() {
	local p
	for p; do
		! is_alive "$p" || return 1
	done
}

# kill_service - "idle", from outside; the supervisor must start it again, and it alone
kill_service() {
	local n count
	n=$(starts)
	count=$(status count)
	kill -KILL "$(below "$(status idle)")" || die "the service cannot be killed"
	until_true 10 has_started $((n + 1)) || die "the service that was killed is not started again: $(tail -n 3 run/log)"
	[ "$(tail -n 1 run/starts)" = "$(status idle)" ] || die "the supervisor says pid $(status idle), it is $(tail -n 1 run/starts)"
	[ "$(status count)" = "$count" ] || die "the other service had pid $count, it has $(status count)"
}

# counts - "count" and its logger go on
counts() {
	until_true 10 is_longer $(($(wc -l <"$log") + 5)) || die "nothing comes to the log: $(tail -n 3 run/log)"
}

is_longer() {
	[ "$(wc -l <"$log")" -gt "$1" ]
}

supervise() {
	local n all
	gap=600
	make_services
	begin
	until_true 10 has_started 1 || die "the services are not started: $(tail -n 5 run/log)"
	for n in 1 2 3; do
		counts
		save "$n"
		restart "$n"
		counts
		kill_service
	done
	down idle
	until_true 10 is_down idle || die "the service does not go down"
	up idle
	until_true 10 has_started 5 || die "the service does not come up"
	mapfile -t all < <(descendants "$pid")
	end
	until_true 10 have_ended "$pid" "${all[@]}" || die "not all of it ends"
	[ "$(starts)" = 5 ] || die "the service was started $(starts) times, not 5"
	[ "$(grep -c counting run/starts)" = 1 ] || die "the other service was started again"
	awk '$1 != NR { exit 1 }' "$log" || die "the numbers in the log are not 1, 2, 3, ...: $(awk '$1 != NR' "$log" | head -n 3)"
}
