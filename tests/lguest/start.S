/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry and traps of the test guest. It runs at its physical addresses, which
 * the initial page tables map to themselves.
 */
	.section .text.start, "ax"
	.globl _start
_start:
	movl	$boot_stack_top, %esp
	pushl	$0
	popfl
	call	guest_main
1:	jmp	1b

	.text
/* One stub for each vector; those without an error code push a zero. */
	.balign 16
	.globl stubs
stubs:
	.set n, 0
	.rept 256
	.balign 16
	.if !(n == 8 || (n >= 10 && n <= 14) || n == 17)
	pushl	$0
	.endif
	pushl	$n
	jmp	common
	.set n, n + 1
	.endr

common:
	pushal
	movl	%ds, %eax
	pushl	%eax
	movl	$0x69, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%esp, %eax
	pushl	%eax
	call	on_trap
	addl	$4, %esp
	popl	%eax
	movl	%eax, %ds
	movl	%eax, %es
	popal
	addl	$8, %esp
	.globl noirq_start, noirq_end, iret_here
noirq_start:
	pushl	%eax
	movl	12(%esp), %eax
	movl	%eax, lguest_data
	popl	%eax
iret_here:
	iret
noirq_end:

/* void go_user(eip, esp): level 3, with interrupts on; comes back through back_to_kernel(). */
	.globl go_user, back_to_kernel
go_user:
	pushal
	movl	%esp, kernel_esp
	movl	36(%esp), %eax
	movl	40(%esp), %ecx
	movl	$0x7b, %edx
	movl	%edx, %ds
	movl	%edx, %es
	pushl	$0x7b
	pushl	%ecx
	pushl	$0x202
	pushl	$0x73
	pushl	%eax
	iret
back_to_kernel:
	movl	kernel_esp, %esp
	popal
	ret

/* Programs for level 3, on a page of their own. */
	.balign 4096
	.globl user_code, user_syscall, user_hypercall, user_cli, user_int20, user_peek, user_int3, user_spin
	.globl user_vmcall, user_sysenter
user_code:
user_syscall:
	movl	$0x1234, %eax
	int	$0x80
	ud2
user_hypercall:
	xorl	%eax, %eax
	int	$0x1f
	ud2
user_cli:
	cli
	ud2
user_int20:
	int	$0x20
	ud2
user_int3:
	int3
	ud2
user_peek:
	movl	0x100000, %eax
	ud2
user_vmcall:
	.byte	0x0f, 0x01, 0xc1
	ud2
user_sysenter:
	sysenter
	ud2
user_spin:
	jmp	user_spin
	.balign 4096

	.data
	.globl boot_stack_top, kernel_esp
kernel_esp:
	.long	0

	.bss
	.balign 4096
	.skip	16384
boot_stack_top:
	.balign 4096
	.globl trap_stack_top, user_stack_top
	.skip	8192
trap_stack_top:
	.skip	4096
user_stack_top:
	.section .note.GNU-stack, "", @progbits
