/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 32-bit counterpart of lib/start.S: PVH entry, interrupt stubs, run_frame().
 * Stays in 32-bit protected mode; paging is the tests' business.
 */
	.code32
	.section .note.pvh, "a", @note
	.long	4, 4, 18	/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	pvh_entry

	.section .text.start, "ax"
	.globl	pvh_entry
pvh_entry:
	cli
	cld
	mov	$boot_stack_top, %esp
	lgdt	gdt_pointer
	ljmp	$0x08, $1f
1:	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%eax, %ss
	call	runtime_main
2:	hlt
	jmp	2b

	/* void run_frame(const struct regs *r): see guest32.h */
	.text
	.globl	run_frame, leave_frame
run_frame:
	mov	4(%esp), %eax
	push	%ebx
	push	%ebp
	push	%esi
	push	%edi
	mov	%esp, frame_return
	testl	$3, 9*4(%eax)		/* cs */
	jnz	1f
	/* IRET within ring 0 takes no stack: switch before */
	mov	4*4(%eax), %esp
	jmp	2f
1:	pushl	11*4(%eax)		/* ss */
	pushl	4*4(%eax)		/* esp */
2:	pushl	10*4(%eax)		/* eflags */
	pushl	9*4(%eax)		/* cs */
	pushl	8*4(%eax)		/* eip */
	pushl	0*4(%eax)
	mov	1*4(%eax), %ecx
	mov	2*4(%eax), %edx
	mov	3*4(%eax), %ebx
	mov	5*4(%eax), %ebp
	mov	6*4(%eax), %esi
	mov	7*4(%eax), %edi
	pushl	12*4(%eax)		/* ds, also for es */
	pop	%es
	pushl	12*4(%eax)
	pop	%ds
	pop	%eax
	iret
leave_frame:
	mov	frame_return, %esp
	movl	$0, frame_return
	pop	%edi
	pop	%esi
	pop	%ebp
	pop	%ebx
	ret

	.balign 16
	.globl	isr_table
isr_table:
	vector = 0
	.rept 256
	.balign 16
	.if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17))
	pushl	$0
	.endif
	pushl	$vector
	jmp	isr_common
	vector = vector + 1
	.endr

isr_common:
	pusha
	push	%ds
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	cld
	mov	%esp, %eax
	push	%eax
	call	trap_entry		/* does not return */

	.data
	.balign 8
	.globl	frame_return
frame_return:
	.long	0
gdt_pointer:
	.word	64*8 - 1
	.long	gdt

	.section .bss
	.balign 4096
	.skip 32768
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
