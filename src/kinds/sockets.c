/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/sockets.h"

#include <errno.h>

#define ONE_BY_ONE 32 /* so many are asked for alone */

/* what was true before may not be when the program's records are saved: others may have connected */
static struct sockets *sockets_of(const struct tree *tree)
{
	struct sockets *k = tree->sockets;
	bool saving = tree->file_id != NULL;

	if (k && k->saving != saving)
		*k = (struct sockets){ .saving = saving };
	return k;
}

static void list(struct op *op, struct sockets *k)
{
	k->listed = true;
	if (proc_unix_all(&op->arena, &k->all) < 0)
		return;
	struct proc_unix *u = k->all.at;
	for (size_t i = 0; i < k->all.n; i++)
		map_set(&op->arena, &k->by_ino, u[i].ino, &u[i]);
}

/* one that comes or goes while they are listed can hide another: what is not in the list is asked for all the same */
static int find(struct op *op, const struct tree *tree, uint64_t ino, struct proc_unix *ret)
{
	struct sockets *k = sockets_of(tree);

	if (k && !k->listed && k->asked++ >= ONE_BY_ONE)
		list(op, k);
	const struct proc_unix *u = k && ino ? map_get(&k->by_ino, ino) : NULL;
	if (!u)
		return proc_unix_read(&op->arena, ino, ret);
	*ret = *u;
	return 0;
}

static int find_listeners(struct op *op, const struct tree *tree, struct span *ret)
{
	struct sockets *k = sockets_of(tree);
	int r = 0;

	if (!k)
		return proc_unix_listeners(&op->arena, ret);
	if (!k->has_listeners)
		r = proc_unix_listeners(&op->arena, &k->listeners);
	k->has_listeners = r == 0;
	if (r == 0)
		*ret = k->listeners;
	return r;
}

int sockets_find(struct op *op, const struct tree *tree, uint64_t ino, struct proc_unix *ret)
{
	tree_lock(tree);
	int r = find(op, tree, ino, ret);
	tree_unlock(tree);
	return r;
}

int sockets_listeners(struct op *op, const struct tree *tree, struct span *ret)
{
	tree_lock(tree);
	int r = find_listeners(op, tree, ret);
	tree_unlock(tree);
	return r;
}
