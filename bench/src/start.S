/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest kernel: its first instructions send a line through the serial
 * port. What passes until then is what an engine needs to start.
 */
	.section .note.pvh, "a", @note
	.long	4, 4, 18	/* XEN_ELFNOTE_PHYS32_ENTRY: lguest and QEMU both take it */
	.asciz	"Xen"
	.long	entry

	.section .text.start, "ax"
	.code32
	.globl	entry
entry:
	mov	$0x3f8, %dx
	mov	$'@', %al
	out	%al, %dx
	mov	$'\n', %al
	out	%al, %dx
	/* The port of PC resets */
	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
1:	hlt
	jmp	1b

	.section .note.GNU-stack, "", @progbits
