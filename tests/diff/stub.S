/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel of the tester's guest: loads a case's state from the inbox page,
 * enters user mode, and on the exception that ends it files all state in the
 * outbox page. The tester answers between two cases, when this asks for the
 * next one with IN. Runs at STUB_BASE (guest.h), inbox and outbox at fixed
 * distances from it; position-independent.
 */
#include "guest_layout.h"

	.section .rodata
	.code64
	.globl diff_stub, diff_stub_end, diff_stub_vectors, diff_stub_irq
	.balign 16
diff_stub:
next_case:
	mov	$STUB_PORT, %edx
	in	%dx, %al
	test	%al, %al
	jz	next_case

	lea	diff_stub + STUB_INBOX(%rip), %rbx
	cmpq	$0, IN_FLUSH(%rbx)
	je	1f
	mov	%cr3, %rax
	mov	%rax, %cr3
1:	mov	$USER_DS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	IN_FSBASE(%rbx), %rax
	wrfsbase %rax
	mov	IN_GSBASE(%rbx), %rax
	wrgsbase %rax
	mov	$7, %eax
	xor	%edx, %edx
	xrstor64 IN_XSAVE(%rbx)
	lea	IN_FRAME(%rbx), %rsp
	mov	IN_REGS + 0x00(%rbx), %rax
	mov	IN_REGS + 0x08(%rbx), %rcx
	mov	IN_REGS + 0x10(%rbx), %rdx
	mov	IN_REGS + 0x28(%rbx), %rbp
	mov	IN_REGS + 0x30(%rbx), %rsi
	mov	IN_REGS + 0x38(%rbx), %rdi
	mov	IN_REGS + 0x40(%rbx), %r8
	mov	IN_REGS + 0x48(%rbx), %r9
	mov	IN_REGS + 0x50(%rbx), %r10
	mov	IN_REGS + 0x58(%rbx), %r11
	mov	IN_REGS + 0x60(%rbx), %r12
	mov	IN_REGS + 0x68(%rbx), %r13
	mov	IN_REGS + 0x70(%rbx), %r14
	mov	IN_REGS + 0x78(%rbx), %r15
	mov	IN_REGS + 0x18(%rbx), %rbx
	iretq

	/* 32 entries of 16 bytes each. The CPU pushes an error code for 8, 10 to 14, 17 and 21. */
	.balign 16
diff_stub_vectors:
	vector = 0
	.rept 32
	.balign 16
	.if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	vector = vector + 1
	.endr

	.balign 16
exception:
	testb	$3, 24(%rsp)
	jz	kernel_exception
	/* The stack top is in the outbox: this is the register dump. */
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	$0
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	cld
	lea	diff_stub + STUB_OUTBOX(%rip), %rbx
	mov	$7, %eax
	xor	%edx, %edx
	xsave64	OUT_XSAVE(%rbx)
	mov	%cr2, %rax
	mov	%rax, OUT_CR2(%rbx)
	rdfsbase %rax
	mov	%rax, OUT_FSBASE(%rbx)
	rdgsbase %rax
	mov	%rax, OUT_GSBASE(%rbx)
	mov	%ds, OUT_SEGS(%rbx)
	mov	%es, OUT_SEGS + 2(%rbx)
	mov	%fs, OUT_SEGS + 4(%rbx)
	mov	%gs, OUT_SEGS + 6(%rbx)
	jmp	next_case

	/* An interrupt: changes a few things and puts them back. */
	.balign 16
diff_stub_irq:
	push	%rax
	push	%r10
	mov	$0x1234, %eax
	lea	(%rsp,%rax), %r10
	sub	%rax, %r10
	cmp	%r10, %rsp
	jne	kernel_exception
	pop	%r10
	pop	%rax
	iretq

	/* The stub itself failed: tell the vector, error code and RIP. */
kernel_exception:
	mov	$STUB_PORT, %edx
	pop	%rax
	out	%eax, %dx
	pop	%rax
	out	%eax, %dx
	pop	%rax
	out	%eax, %dx
	shr	$32, %rax
	out	%eax, %dx
1:	in	%dx, %al
	jmp	1b
diff_stub_end:
	.section .note.GNU-stack, "", @progbits
