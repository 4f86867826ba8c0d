/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tester's guest kernel: what stub.S and guest.c must agree on. */
#ifndef LGUEST_TESTS_DIFF_GUEST_LAYOUT_H
#define LGUEST_TESTS_DIFF_GUEST_LAYOUT_H

/* Pages from STUB_BASE up, in this order, supervisor only. */
#define STUB_CODE   0x0000
#define STUB_IDT    0x1000
#define STUB_INBOX  0x2000
#define STUB_OUTBOX 0x3000
#define STUB_GDT    0x4000
#define STUB_TSS    0x4800
#define STUB_PAGES  5

#define STUB_PORT 0x5d1
#define STUB_IRQ  32 /* the one interrupt vector */

#define USER32_CS 0x23
#define USER_DS   0x2b
#define USER_CS   0x33

#define IN_XSAVE  0
#define IN_REGS   1024
#define IN_FRAME  1152
#define IN_FSBASE 1192
#define IN_GSBASE 1200
#define IN_FLUSH  1208

#define OUT_XSAVE  0
#define OUT_TOP    1280 /* RSP0: SS RSP RFLAGS CS RIP error vector RAX RCX ... R15 below it */
#define OUT_CR2    1536
#define OUT_FSBASE 1544
#define OUT_GSBASE 1552
#define OUT_SEGS   1560

#endif
