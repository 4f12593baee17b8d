#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Programs on a terminal: saved on one, brought back on another. terminal.py is the person at both.
load helper

# at_terminal: a python program, on standard input, that has terminal.py at hand
at_terminal() {
	run timeout 60 env PYTHONPATH="$BATS_TEST_DIRNAME" PYTHONDONTWRITEBYTECODE=1 python3 -
	expect 0
}

keys_program() {
	cat >keys <<'END'
#!/usr/bin/python3
# keys: says each key that is pressed, at once, and the size of the terminal when that changes
import os, signal, sys, tty
signal.signal(signal.SIGWINCH, lambda *_: print("size", os.get_terminal_size().lines, flush=True))
signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
tty.setcbreak(0)
print("pid", os.getpid(), flush=True)
while True:
    print("key <%s>" % os.read(0, 1).decode(), flush=True)
END
	chmod +x keys
}

@test "a program in raw mode gets its terminal back, and the shell its own" {
	keys_program
	at_terminal <<'END'
import os, subprocess
from terminal import *
stasis = os.environ["STASIS"]
one, two = Terminal("bash", "--norc", "-i"), Terminal("bash", "--norc", "-i", rows=30)
one.type("./keys\n")
pid = one.sees(r"pid (\d+)").group(1).decode()
one.type("a")
one.sees("key <a>")
subprocess.run([stasis, "checkpoint", pid, "--stop", "-o", "image"], check=True)
one.sees(r"ready\$ ")
two.sees(r"ready\$ ")
two.type(stasis + " restart image\n")
two.sees("size 29")
two.sees("size 30")
check(two.is_raw(), "the terminal is not raw")
two.type("b")
two.sees("key <b>")
two.type("\x1a")
two.sees("Stopped")
two.sees(r"ready\$ ")
two.type("stty -a | grep -o .icanon\n")
two.sees(" icanon")
two.type("fg\n")
two.sees("restart image\r\n") # the shell is out of the way
wait_for(two.is_raw)
two.type("c")
two.sees("key <c>")
two.type("\x03")
two.sees(r"ready\$ ")
two.type("echo status $?; stty -a | grep -o .icanon\n")
two.sees("status 5")
two.sees(" icanon")
END
}

@test "a shell with jobs becomes the foreground of the terminal" {
	at_terminal <<'END'
import os, subprocess
from terminal import *
stasis = os.environ["STASIS"]
one, two = Terminal("bash", "--norc", "-i"), Terminal("bash", "--norc", "-i")
one.sees(r"ready\$ ")
one.type("PS1='again$ '; word=here; cat\n")
one.sees("cat\r\n")
time.sleep(0.5)
one.type("line\n")
one.sees("line\r\nline")
one.type("\x1a")
one.sees("Stopped")
one.type("sleep 600 & echo half")
one.sees("again. sleep 600 & echo half")
subprocess.run([stasis, "checkpoint", str(one.pid), "--stop", "-o", "image"], check=True)
two.sees(r"ready\$ ")
two.type(stasis + " restart image\n")
two.sees("again. sleep 600 & echo half")
two.type("-$word\n")
two.sees("half-here")
two.type("jobs\n")
two.sees("Stopped +cat")
two.sees("Running +sleep")
two.type("fg %1\n")
two.sees("cat\r\n")
time.sleep(0.5)
two.type("more\n")
two.sees("more\r\nmore")
two.type("\x03")
two.sees("again. ")
two.type("kill %2; exit\n")
two.sees(r"ready\$ ")
two.type("echo status $?\n")
two.sees("status")
END
}

@test "a program that holds a pseudoterminal, with a shell on it, whose number another has" {
	at_terminal <<'END'
import os, subprocess
from terminal import *
stasis = os.environ["STASIS"]
spawn = ["python3", "-c", "import pty; pty.spawn(['bash', '--norc', '-i'])"]
outer = subprocess.Popen(spawn, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
one = Terminal(*spawn)
one.sees(r"ready\$ ")
one.type("word=here; tty\n")
name = one.sees(r"/dev/pts/\d+").group(0).decode()
one.type("sleep 600\n")
time.sleep(0.3)
one.type("\x1a")
one.sees("Stopped")
one.sees(r"ready\$ ")
subprocess.run([stasis, "checkpoint", str(one.pid), "--stop", "-o", "image"], check=True)
taken = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)]
while not os.path.exists(name):
    taken.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
two = Terminal("bash", "--norc", "-i")
two.sees(r"ready\$ ")
two.type(stasis + " restart image\n")
two.sees("restarted")
two.type("tty; echo $word\n")
two.sees("\n" + name + "\r")
two.sees("here")
two.type("kill %1; fg\n")
two.sees("sleep 600")
two.type("exit\n")
two.sees(r"ready\$ ")
outer.kill()
END
}

@test "without a terminal of its own a restart leaves the caller's as it is" {
	keys_program
	at_terminal <<'END'
import os, subprocess
from terminal import *
stasis = os.environ["STASIS"]
one, two = Terminal("bash", "--norc", "-i"), Terminal("bash", "--norc", "-i")
one.type("./keys\n")
pid = one.sees(r"pid (\d+)").group(1).decode()
subprocess.run([stasis, "checkpoint", pid, "--stop", "-o", "image"], check=True)
two.sees(r"ready\$ ")
two.type(stasis + " restart image --detach --pid-file pid; echo status $?\n")
two.sees("status 0")
two.type("stty -a | grep -o .icanon\n")
two.sees(" icanon")
os.kill(int(open("pid").read()), 9)
END
}
