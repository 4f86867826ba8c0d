/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table from enum sysop_id to handler, made from the one list in sysop.h.
 * Fast C.
 */
#include "engine/soft/sysop.h"

sysop_fn *const sysop_table[SYSOP_COUNT] = {
#define X(name, fn) [SYSOP_##name] = fn,
	SYSOP_LIST(X)
#undef X
};
