/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <asm/termbits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "lib/witness.h"

enum { ODD, PACKET, NEVER, LEFT, STOPPED, TYPED, BLOCKED, PAIRS };

static int master[PAIRS], slave[PAIRS], again, hung_up, reopened;
static pid_t child;

static void nothing(void)
{
}

static const char *name_of(int fd)
{
	static char name[32];
	unsigned int n;

	snprintf(name, sizeof(name), "/dev/pts/%u", ioctl(fd, TIOCGPTN, &n) == 0 ? n : ~0u);
	return name;
}

static int open_master(int flags)
{
	int unlocked = 0, fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | flags);

	if (fd < 0 || ioctl(fd, TIOCSPTLCK, &unlocked) < 0)
		_exit(4);
	return fd;
}

static void change(int fd, unsigned int iflag, unsigned int lflag, int raw)
{
	struct termios2 t;

	if (ioctl(fd, TCGETS2, &t) < 0)
		_exit(4);
	t.c_iflag ^= iflag;
	t.c_lflag ^= lflag;
	if (raw)
		t.c_oflag = 0;
	if (ioctl(fd, TCSETS2, &t) < 0)
		_exit(4);
}

static void make_odd(void)
{
	struct winsize size = { 33, 77, 330, 770 };
	struct termios2 t;

	slave[ODD] = open(name_of(master[ODD]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	again = open(name_of(master[ODD]), O_WRONLY | O_NOCTTY | O_NONBLOCK);
	reopened = ioctl(master[ODD], TIOCGPTPEER, O_RDONLY | O_NOCTTY);
	if (ioctl(slave[ODD], TCGETS2, &t) < 0)
		_exit(4);
	t.c_iflag = ICRNL | IXANY | IMAXBEL;
	t.c_oflag = OPOST | ONLCR | OLCUC;
	t.c_cflag = (t.c_cflag & ~(unsigned int)CBAUD) | BOTHER | HUPCL | CSTOPB;
	t.c_lflag = ISIG | IEXTEN | ECHO | NOFLSH | TOSTOP;
	for (int i = 0; i < 19; i++)
		t.c_cc[i] = (unsigned char)(i + 65);
	t.c_cc[VMIN] = 3;
	t.c_cc[VTIME] = 7;
	t.c_ispeed = t.c_ospeed = 12345;
	if (ioctl(slave[ODD], TCSETS2, &t) < 0 || ioctl(master[ODD], TIOCSWINSZ, &size) < 0)
		_exit(4);
	fchmod(slave[ODD], 0640);
}

static void make(void)
{
	char stop = 'S' & 037;
	int yes = 1, brief;

	for (int i = 0; i < PAIRS; i++)
		master[i] = open_master(i == PACKET ? O_NONBLOCK : 0);
	make_odd();
	for (int i = PACKET; i < PAIRS; i++)
		slave[i] = i == NEVER ? -1 : open(name_of(master[i]), O_RDWR | O_NOCTTY);
	change(slave[PACKET], IXON, ECHO | ICANON, 1);
	ioctl(master[PACKET], TIOCPKT, &yes);
	ioctl(slave[PACKET], TIOCEXCL);
	ioctl(master[NEVER], TIOCSPTLCK, &yes);
	close(slave[LEFT]);
	ioctl(slave[STOPPED], TCXONC, TCOOFF);
	change(slave[STOPPED], IXON, 0, 1);
	if (write(master[TYPED], &stop, 1) != 1)
		_exit(4);
	ioctl(master[BLOCKED], TCXONC, TCOOFF);
	brief = open_master(0);
	hung_up = open(name_of(brief), O_RDWR | O_NOCTTY);
	close(brief);
	child = witness_child(nothing);
	witness_nap();
}

static void say_file(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };
	char path[64], link[64] = "";
	struct stat st = { 0 };
	int exclusive = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		link[0] = 0;
	if (fd != hung_up) /* whose number may be another's */
		SAY(link);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(fstat(fd, &st));
	SAY(st.st_mode);
	SAY(st.st_nlink);
	SAY(major(st.st_rdev) == 136 ? st.st_uid : 0); /* a user in a namespace cannot see whose /dev/ptmx is */
	SAY(fd == hung_up ? 0 : minor(st.st_rdev));
	SAY(poll(&p, 1, 0));
	SAY(p.revents);
	SAY(ioctl(fd, TIOCGEXCL, &exclusive));
	SAY(exclusive);
}

static void say_modes(int fd)
{
	struct termios2 t = { 0 };
	struct winsize size = { 0 };
	int discipline = -1;

	SAY(ioctl(fd, TCGETS2, &t));
	SAY(t.c_iflag);
	SAY(t.c_oflag);
	SAY(t.c_cflag);
	SAY(t.c_lflag);
	SAY(t.c_line);
	for (int i = 0; i < 19; i++)
		SAY(t.c_cc[i]);
	SAY(t.c_ispeed);
	SAY(t.c_ospeed);
	SAY(ioctl(fd, TIOCGWINSZ, &size));
	SAY(size.ws_row);
	SAY(size.ws_col);
	SAY(size.ws_xpixel);
	SAY(size.ws_ypixel);
	SAY(ioctl(fd, TIOCGETD, &discipline));
	SAY(discipline);
}

/* a few bytes the one way: they arrive, perhaps one after the other, and nothing is left; each read has @before in front */
static int passes(int from, int to, int before)
{
	struct pollfd p = { .fd = to, .events = POLLIN };
	ssize_t got = 0, n = 0;
	int good = 1;

	if (write(from, "xyz", 3) != 3)
		return -1;
	for (; got < 3 && n >= 0; got += n) {
		char bytes[8] = { 0 };

		n = poll(&p, 1, 1000) == 1 ? read(to, bytes, sizeof(bytes)) - before : -1;
		good &= n > 0 && bytes[before] == (before ? "xyz" : "XYZ")[got % 3];
	}
	return good && got == 3;
}

static void say_pair(int i)
{
	int locked = -1, packet = -1, session = -1;
	unsigned int number = ~0u;

	SAY(i);
	SAY(name_of(master[i]));
	SAY(ioctl(master[i], TIOCGPTN, &number));
	SAY(number);
	SAY(ioctl(master[i], TIOCGPTLCK, &locked));
	SAY(locked);
	SAY(ioctl(master[i], TIOCGPKT, &packet));
	SAY(packet);
	SAY(ioctl(master[i], TIOCGSID, &session));
	say_file(master[i]);
	say_modes(master[i]);
	if (i != NEVER && i != LEFT)
		say_file(slave[i]);
}

/* stopped output goes on when it is let, and is stopped again */
static int lets_go(int i)
{
	struct pollfd p = { .fd = slave[i], .events = POLLOUT };
	char go = 'Q' & 037, stop = 'S' & 037;
	int was = poll(&p, 1, 0);

	if (i == STOPPED)
		ioctl(slave[i], TCXONC, TCOON);
	else if (write(master[i], &go, 1) != 1)
		return -1;
	int is = poll(&p, 1, 1000);
	if (i == STOPPED)
		ioctl(slave[i], TCXONC, TCOOFF);
	else if (write(master[i], &stop, 1) != 1)
		return -1;
	for (int n = 0; n < 500 && poll(&p, 1, 0) == 1; n++)
		witness_nap();
	return was * 100 + is * 10 + poll(&p, 1, 0);
}

static void look(void)
{
	for (int i = 0; i < PAIRS; i++)
		say_pair(i);
	say_modes(slave[ODD]);
	SAY(passes(slave[ODD], master[ODD], 0));
	SAY(passes(again, master[ODD], 0));
	SAY(passes(slave[PACKET], master[PACKET], 1));
	SAY(lets_go(STOPPED));
	SAY(lets_go(TYPED));
	say_file(again);
	say_file(reopened);
	say_file(hung_up);
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, master[ODD], master[ODD]));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, slave[ODD], slave[ODD]));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, slave[ODD], again) != 0);
}

WITNESS(make, look)
