/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a program sees when its own instructions fault: signal number, si_code,
 * address, and the saved registers, for every kind of exception that user code
 */
#include <fenv.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf escape;
/* What the handler saw; a handler has no other way to tell. */
static struct {
	int number, code;
	uintptr_t address, rip;
	unsigned long trap, error;
} volatile seen;

static void record(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	seen.number = number;
	seen.code = info->si_code;
	seen.address = (uintptr_t)info->si_addr;
	seen.rip = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];
	seen.trap = (unsigned long)user->uc_mcontext.gregs[REG_TRAPNO];
	seen.error = (unsigned long)user->uc_mcontext.gregs[REG_ERR];
	siglongjmp(escape, 1);
}

/* Addresses are printed relative to the faulting instruction or to @base. */
static void report(const char *what, uintptr_t base)
{
	printf("%-22s signal %d code %d trap %lu error %lx", what, seen.number, seen.code, seen.trap,
	       seen.error);
	if (seen.address == seen.rip)
		printf(" address=rip");
	else if (base)
		printf(" address=base%+ld", (long)(seen.address - base));
	else
		printf(" address=%lx", (unsigned long)seen.address);
	puts("");
}

#define TRY(name, base, ...)                  \
	do {                                  \
		if (!sigsetjmp(escape, 1)) {  \
			__VA_ARGS__;          \
			puts(name " passed"); \
		} else {                      \
			report(name, base);   \
		}                             \
	} while (0)

static void integer_faults(void)
{
	volatile int zero = 0;

	TRY("idiv by zero", 0,
	    __asm__ volatile("cmp $1, %%ecx; idivl %0"
			     :
			     : "m"(zero), "a"(1), "d"(0), "c"(0)));
	TRY("idiv overflow", 0, __asm__ volatile("idivl %0" : : "r"(-1), "a"(0x80000000), "d"(-1)));
	TRY("div64 overflow", 0, __asm__ volatile("divq %0" : : "r"(1ul), "a"(0), "d"(1ul)));
	TRY("div8 overflow", 0, __asm__ volatile("divb %b0" : : "q"(1), "a"(0x7fff)));
	TRY("ud2", 0, __asm__ volatile("ud2"));
	TRY("int3", 0, __asm__ volatile("int3"));
	TRY("int 3", 0, __asm__ volatile(".byte 0xcd, 3"));
	TRY("int 4", 0, __asm__ volatile("int $4"));
	TRY("int 0x20", 0, __asm__ volatile("int $0x20"));
	TRY("int1", 0, __asm__ volatile(".byte 0xf1"));
	TRY("into in 64-bit", 0, __asm__ volatile(".byte 0xce"));
	TRY("lock without memory", 0, __asm__ volatile(".byte 0xf0, 0x01, 0xc0"));
	TRY("lock on mov", 0, __asm__ volatile(".byte 0xf0, 0x89, 0x04, 0x24" : : "a"(0)));
}

static void privileged(void)
{
	uint64_t table[2] = { 0, 0 };

	TRY("hlt", 0, __asm__ volatile("hlt"));
	TRY("cli", 0, __asm__ volatile("cli"));
	TRY("sti", 0, __asm__ volatile("sti"));
	TRY("in", 0, __asm__ volatile("inb $0x80, %%al" : : : "al"));
	TRY("out", 0, __asm__ volatile("outb %%al, $0x80" : : "a"(0)));
	TRY("insb", 0, __asm__ volatile("insb" : : "D"(table), "d"(0x80) : "memory"));
	TRY("rdmsr", 0, __asm__ volatile("rdmsr" : : "c"(0x10) : "eax", "edx"));
	TRY("wrmsr", 0, __asm__ volatile("wrmsr" : : "c"(0x10), "a"(0), "d"(0)));
	TRY("mov from cr0", 0, __asm__ volatile("mov %%cr0, %%rax" : : : "rax"));
	TRY("mov to cr3", 0, __asm__ volatile("mov %%rax, %%cr3" : : "a"(0)));
	TRY("mov from dr7", 0, __asm__ volatile("mov %%dr7, %%rax" : : : "rax"));
	TRY("lgdt", 0, __asm__ volatile("lgdt %0" : : "m"(table)));
	TRY("lidt", 0, __asm__ volatile("lidt %0" : : "m"(table)));
	TRY("ltr", 0, __asm__ volatile("ltr %w0" : : "r"(0x40)));
	TRY("lldt", 0, __asm__ volatile("lldt %w0" : : "r"(0)));
	TRY("clts", 0, __asm__ volatile("clts"));
	TRY("invlpg", 0, __asm__ volatile("invlpg %0" : : "m"(table)));
	TRY("invd", 0, __asm__ volatile("invd"));
	TRY("wbinvd", 0, __asm__ volatile("wbinvd"));
	TRY("swapgs", 0, __asm__ volatile("swapgs"));
	TRY("sysret", 0, __asm__ volatile("sysretq" : : "c"(table)));
	TRY("xsetbv", 0, __asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0)));
	TRY("load bad segment", 0, __asm__ volatile("mov %w0, %%ds" : : "r"(0x1234)));
	TRY("load kernel segment", 0, __asm__ volatile("mov %w0, %%ds" : : "r"(0x10)));
	TRY("load null ss", 0, __asm__ volatile("mov %w0, %%ss" : : "r"(0)));
	TRY("mov to cs", 0, __asm__ volatile(".byte 0x8e, 0xc8" : : "a"(0)));
	TRY("far jump bad", 0, __asm__ volatile("push $0x1230; push $0; lretq"));
	TRY("iretq to kernel", 0,
	    __asm__ volatile("mov %%rsp, %%rax; push $0x18; push %%rax; pushfq; push $0x10; push $0; iretq"
			     :
			     :
			     : "rax"));
}

static void memory_faults(void)
{
	int file = memfd_create("short", 0);
	uint8_t *page = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t base = (uintptr_t)page;
	uint8_t *beyond;
	int code = 0;

	mprotect(page + 4096, 4096, PROT_READ);
	mprotect(page + 8192, 4096, PROT_NONE);
	memset(page, 0xc3, 4096);
	memset(page + 12288, 0x90, 4096);
	if (ftruncate(file, 100))
		exit(1);
	beyond = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	TRY("read null", 0, __asm__ volatile("movl (%0), %%eax" : : "r"(8ul) : "eax"));
	TRY("write null", 0, __asm__ volatile("movl %%eax, (%0)" : : "r"(16ul), "a"(0)));
	TRY("write read-only", base, page[4096 + 77] = 1);
	TRY("add to read-only", base, __asm__ volatile("addl $1, (%0)" : : "r"(page + 4096 + 80) : "memory"));
	TRY("read no access", base, code += *(volatile uint8_t *)(page + 8192 + 5));
	TRY("crossing read", base, __asm__ volatile("movq (%0), %%rax" : : "r"(page + 8192 - 3) : "rax"));
	TRY("crossing write", base,
	    __asm__ volatile("movq %%rax, (%0)"
			     :
			     : "r"(page + 4096 - 3), "a"(0)
			     : "memory"));
	TRY("crossing sse read", base,
	    __asm__ volatile("movups (%0), %%xmm1"
			     :
			     : "r"(page + 8192 - 15)
			     : "xmm1"));
	TRY("crossing sse write", base,
	    __asm__ volatile("movups %%xmm1, (%0)"
			     :
			     : "r"(page + 4096 - 1)
			     : "memory"));
	TRY("crossing avx read", base,
	    __asm__ volatile("vmovups (%0), %%ymm1"
			     :
			     : "r"(page + 8192 - 31)
			     : "xmm1"));
	TRY("misaligned movaps", 0, __asm__ volatile("movaps (%0), %%xmm1" : : "r"(page + 8) : "xmm1"));
	TRY("non-canonical", 0, __asm__ volatile("movl (%0), %%eax" : : "r"(0x8000000000000000ul) : "eax"));
	TRY("non-canonical stack", 0,
	    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; mov %%rbx, %%rsp"
			     :
			     : "r"(0x8000000000001000ul)
			     : "rbx"));
	TRY("kernel address", 0, __asm__ volatile("movl (%0), %%eax" : : "r"(0xffffffff81000000ul) : "eax"));
	TRY("execute no-exec", base, ((void (*)(void))(uintptr_t)page)());
	TRY("jump to no access", base, ((void (*)(void))(uintptr_t)(page + 8192))());
	TRY("jump non-canonical", 0, __asm__ volatile("jmp *%0" : : "r"(0x8000000000000000ul)));
	TRY("jump to null", 0, __asm__ volatile("call *%0" : : "r"(0ul)));
	TRY("beyond end of file", (uintptr_t)beyond, beyond[4096 + 9] = 1);
	mprotect(page + 12288, 4096, PROT_READ | PROT_EXEC);
	munmap(beyond, 8192);
	/* a rep that faults half way leaves its progress in the registers */
	for (int way = 0; way < 2; way++) {
		uint64_t count = 100, from = base + 4096, to = base + 4096 - 60;

		if (sigsetjmp(escape, 1)) {
			report(way ? "rep movsb" : "rep stosl", base);
			continue;
		}
		mprotect(page, 4096, PROT_READ | PROT_WRITE);
		if (way)
			__asm__ volatile("rep movsb" : "+c"(count), "+S"(from), "+D"(to) : : "memory");
		else
			__asm__ volatile("rep stosl" : "+c"(count), "+D"(to) : "a"(0x01010101) : "memory");
		puts("passed");
	}
	printf("filled %d %d\n", page[4096 - 61], page[4096 - 1]);
}

static void *scan;

/* Repairs the page and lets the instruction go on. */
static void repair(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	printf("repair %d at %ld, rcx %lld\n", number, (long)((char *)info->si_addr - (char *)scan),
	       (long long)user->uc_mcontext.gregs[REG_RCX]);
	mprotect(scan, 12288, PROT_READ | PROT_WRITE);
	user->uc_mcontext.gregs[REG_R12] += 1000;
}

static void resume(void)
{
	struct sigaction action = { .sa_sigaction = repair, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	uint64_t count = 3000, to, marker = 7, sum = 0;
	uint8_t vector[64], out[64];

	sigaction(SIGSEGV, &action, NULL);
	scan = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect((char *)scan + 8192, 4096, PROT_NONE);
	to = (uintptr_t)scan + 8192 - 1001;
	for (int i = 0; i < 64; i++)
		vector[i] = (uint8_t)(i * 5 + 1);
	fflush(stdout);
	__asm__ volatile(
		"mov %[marker], %%r12\n\t"
		"vmovups (%[vector]), %%ymm6\n\tvmovups 32(%[vector]), %%ymm13\n\tfld1\n\t"
		"rep stosb\n\t"
		"fstp %%st(0)\n\tvmovups %%ymm6, (%[out])\n\tvmovups %%ymm13, 32(%[out])\n\tvzeroupper\n\t"
		"mov %%r12, %[marker]"
		: "+c"(count), "+D"(to), [marker] "+r"(marker)
		: "a"(0x5a), [vector] "r"(vector), [out] "r"(out)
		: "memory", "r12", "xmm6", "xmm13");
	for (int i = 0; i < 12288; i++)
		sum += ((uint8_t *)scan)[i];
	printf("resumed: sum %llu marker %llu vectors %s count %llu\n", (unsigned long long)sum,
	       (unsigned long long)marker, memcmp(vector, out, 64) ? "lost" : "kept",
	       (unsigned long long)count);
}

static void float_faults(void)
{
	volatile double zero = 0, one = 1, big = 1e308;
	const uint16_t control = 0x37e;

	/* the handler runs, and is left, with exceptions masked */
	TRY("sse divide by zero", 0, feenableexcept(FE_DIVBYZERO); one /= zero);
	TRY("sse invalid", 0, feenableexcept(FE_INVALID); zero = zero / zero);
	TRY("sse overflow", 0, feenableexcept(FE_OVERFLOW); big *= big);
	TRY("sse inexact", 0, feenableexcept(FE_INEXACT); one = one / 3);
	TRY("sse masked", 0, fesetenv(FE_DFL_ENV); one = one / 3);
	/* x87 reports at the next waiting instruction */
	TRY("x87 divide by zero", 0, feenableexcept(FE_DIVBYZERO);
	    __asm__ volatile("fld1; fldz; fdivrp; nop; fwait"));
	TRY("x87 invalid", 0, fesetenv(FE_DFL_ENV); feenableexcept(FE_INVALID);
	    __asm__ volatile("fld1; fchs; fsqrt; fstp %st(0)"));
	TRY("x87 stack", 0, fesetenv(FE_DFL_ENV); feenableexcept(FE_INVALID);
	    __asm__ volatile("fninit; fldcw %0; fstp %%st(0); fwait"
			     :
			     : "m"(control)));
	fesetenv(FE_DFL_ENV);
	one = 1;
	one /= 3;
	printf("flags after default environment %x\n", (unsigned)fetestexcept(FE_ALL_EXCEPT));
}

/* Single steps itself over a few instructions by the trap flag. */
static volatile int steps;

static void count_step(int number, siginfo_t *info, void *context)
{
	(void)context;
	steps += number == SIGTRAP && info->si_code == TRAP_TRACE;
}

static void single_step(void)
{
	struct sigaction action = { .sa_sigaction = count_step, .sa_flags = SA_SIGINFO };
	uint8_t area[64] = { 0 };

	sigaction(SIGTRAP, &action, NULL);
	__asm__ volatile(
		"pushfq; orl $0x100, (%%rsp); popfq\n\t"
		"nop; inc %%eax; mov %%eax, %%ebx; mov $5, %%ecx; rep stosb; cpuid; push %%rax; pop %%rax\n\t"
		"jmp 1f; nop; 1: test %%eax, %%eax\n\t"
		"pushfq; andl $~0x100, (%%rsp); popfq; nop"
		:
		: "D"(area)
		: "rax", "rbx", "rcx", "rdx", "memory", "cc");
	printf("single steps %d\n", steps);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = record, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	const int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaltstack(&stack, NULL);
	for (int i = 0; i < 5; i++)
		sigaction(numbers[i], &action, NULL);
	integer_faults();
	privileged();
	float_faults();
	memory_faults();
	single_step();
	resume();
	return 0;
}
