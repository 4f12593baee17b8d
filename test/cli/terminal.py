# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal with a person at it: types, and waits for what comes.

    t = Terminal("bash", "--norc", "-i")
    t.type("less file\n")
    t.sees("file")      # within ten seconds, behind what was seen before; else the test has failed
"""
import fcntl, os, pty, re, select, signal, struct, sys, termios, time


class Terminal:
    def __init__(self, *command, rows=24, columns=80):
        self.said = b""
        self.all = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1024)
            os.environ.update(PS1="ready$ ", TERM="dumb", INPUTRC="/dev/null", HISTFILE="")
            try:
                os.execvp(command[0], command)
            finally:
                os._exit(127)
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def hear(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            said = os.read(self.fd, 4096)
        except OSError:
            said = b""
        self.said += said
        self.all += said
        return bool(said)

    def sees(self, what, seconds=10):
        end = time.monotonic() + seconds
        while True:
            found = re.search(what.encode(), self.said)
            if found:
                self.said = self.said[found.end():]
                return found
            if time.monotonic() > end or not self.hear(0.1) and self.ended():
                sys.exit("does not see %r in %r" % (what, self.all.decode(errors="replace")))

    def ended(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def is_raw(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            sys.exit("waits in vain")
        time.sleep(0.01)


def check(what, why):
    if not what:
        sys.exit("wrong: " + why)
