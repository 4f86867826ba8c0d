/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends in a triple fault: the #GP of a bad INT finds an IDT without a limit. */
#include "lib/guest.h"

void test_main(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) none = { 0, 0 };

	print("about to crash\n");
	__asm__ volatile("lidt %0; int $0x80" ::"m"(none));
}
