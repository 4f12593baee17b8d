/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include <stdint.h>

/** now_ns() - CLOCK_MONOTONIC, in nanoseconds */
uint64_t now_ns(void);
