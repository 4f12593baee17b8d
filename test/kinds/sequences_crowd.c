/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* as sequences, among many threads */
#define CROWD 1
#include "sequences.c"
