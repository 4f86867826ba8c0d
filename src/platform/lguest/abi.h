/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between lguest and its guests, Linux 2.6.31 to 3.x, as
 * numbers: hypercalls, the page data that both sides share, device
 * descriptors. docs/lguest-platform.md tells how they are used.
 */
#ifndef LGUEST_PLATFORM_LGUEST_ABI_H
#define LGUEST_PLATFORM_LGUEST_ABI_H

#include <stdint.h>

#define LG_TRAP_HYPERCALL 31 /* int $0x1f */

enum lg_hypercall {
	LG_FLUSH_ASYNC = 0,
	LG_INIT = 1,
	LG_SHUTDOWN = 2,
	LG_NEW_PGTABLE = 4,
	LG_FLUSH_TLB = 5,
	LG_LOAD_IDT_ENTRY = 6,
	LG_SET_STACK = 7,
	LG_TS = 8,
	LG_SET_CLOCKEVENT = 9,
	LG_HALT = 10,
	LG_SET_PMD = 13,
	LG_SET_PTE = 14,
	LG_SET_PGD = 15,
	LG_LOAD_TLS = 16,
	LG_NOTIFY = 17,
	LG_LOAD_GDT_ENTRY = 18,
	LG_SEND_INTERRUPTS = 19,
};

#define LG_SHUTDOWN_POWEROFF 1
#define LG_SHUTDOWN_RESTART  2

/*
 * struct lguest_data, in the guest's memory: the part that is the same in all
 * versions, then the words whose place depends on whether there is a pgdir (2.6.3x).
 */
#define LG_RING              64
#define LG_DATA_IRQ_ENABLED  0 /* bit 9 counts */
#define LG_DATA_BLOCKED      4
#define LG_DATA_CR2          8
#define LG_DATA_TIME_SEC     12
#define LG_DATA_TIME_NSEC    16
#define LG_DATA_IRQ_PENDING  20
#define LG_DATA_HCALL_STATUS 24
#define LG_DATA_HCALLS       88 /* LG_RING of 5 words */
#define LG_DATA_RESERVE_MEM  1368
#define LG_DATA_TSC_KHZ      1372
#define LG_DATA_PGDIR        1376 /* old layout only; everything behind moves by 4 */
#define LG_DATA_NOIRQ_START  1376
#define LG_DATA_NOIRQ_END    1380
#define LG_DATA_KERNEL       1384
#define LG_DATA_SYSCALL      1388
#define LG_DATA_SIZE         1392
#define LG_DATA_SIZE_OLD     1396

#define LG_HCALL_DONE 0xff
#define LG_IRQ_ON     0x200u

/* Top of the virtual address space that the guest is asked to leave alone: one page directory entry. */
#define LG_RESERVE_MEM 0x400000u

#define LG_IRQS       32
#define LG_IRQ_VECTOR 32 /* of irq 0, the timer */
#define LG_SYSCALL    0x80

#define LG_GDT_ENTRIES 32
#define LG_GDT_TLS     6    /* three of them */
#define LG_KERNEL_CS   0x61 /* entry 12, RPL 1 */
#define LG_KERNEL_DS   0x69 /* entry 13 */

/* What a page directory entry may have besides its frame: present, writable, user, accessed, dirty. */
#define LG_PDE_FLAGS 0x067u
/* There are no large pages. */
#define LG_PTE_PSE 0x080u

/* Device page and rings, above RAM. */
#define LG_DEVICE_PAGES 256

#define LG_DESC_TYPE        0
#define LG_DESC_NUM_VQ      1
#define LG_DESC_FEATURE_LEN 2
#define LG_DESC_CONFIG_LEN  3
#define LG_DESC_STATUS      4
#define LG_DESC_HEAD        5
#define LG_VQCONFIG         8 /* u16 entries, u16 irq, u32 page frame */

#define LG_RING_ALIGN 4096

#endif
