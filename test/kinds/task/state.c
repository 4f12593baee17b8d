/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "lib/witness.h"

static int oom_score_adj(void)
{
	int value = -1;
	FILE *f = fopen("/proc/self/oom_score_adj", "re");

	if (f) {
		if (fscanf(f, "%d", &value) != 1)
			value = -2;
		fclose(f);
	}
	return value;
}

/* what a file below /proc/self says behind the last blank */
static int last_number(const char *path)
{
	char text[128] = "";
	FILE *f = fopen(path, "re");

	if (f) {
		if (!fgets(text, sizeof(text), f))
			text[0] = '\0';
		fclose(f);
	}
	char *blank = strrchr(text, ' ');
	return (int)strtol(blank ? blank : text, NULL, 10);
}

/* autogroups may be changed ten times a second on the whole host by who is not root */
static void set_number(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	for (int turn = 0; fd >= 0 && turn < 1000; turn++) {
		if (write(fd, value, strlen(value)) > 0 || errno != EAGAIN)
			break;
		witness_nap();
	}
	close(fd);
}

static void make(void)
{
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", getuid());
	set_number("/proc/self/loginuid", uid);
	set_number("/proc/self/autogroup", "7");
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (f) {
		fprintf(f, "500");
		fclose(f);
	}
}

static void look(void)
{
	SAY(oom_score_adj());
	SAY(last_number("/proc/self/loginuid"));
	SAY(last_number("/proc/self/autogroup"));
}

WITNESS(make, look)
