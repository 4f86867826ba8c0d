/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that is not needed for now, given back to the host by fast C, which must not call the C library. */
#ifndef LGUEST_SOFT_GIVE_BACK_H
#define LGUEST_SOFT_GIVE_BACK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/*
 * The private anonymous pages [@p, @p + @size), page aligned, read as zeros from now on, and take no memory until
 * they are written to. False: nothing has changed.
 */
static inline bool give_back(void *p, size_t size)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"((long)SYS_madvise), "D"(p), "S"(size), "d"((long)MADV_DONTNEED)
			 : "rcx", "r11", "memory");
	return !ret;
}

#endif
