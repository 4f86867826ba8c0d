/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 32-bit program: what compiled code does, and the instructions that exist in
 * 32-bit mode only. Built twice, static and dynamically linked, so that the
 * i386 system call entries (int 0x80, and sysenter or syscall through the
 * vDSO) and a 32-bit ld.so run too.
 */
#include <asm/ldt.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 8);
}

static void ordinary(void)
{
	uint64_t numbers[500], sum = 1, state = 5;
	double x = 0.5, total = 0;
	long double wide = 0;

	for (int i = 0; i < 500; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		numbers[i] = state;
		sum = sum * 31 + state / (numbers[i / 2] >> 20 | 1) + state % 1000003;
		total += sin(x) * exp(-x) + (double)(int64_t)state / 1e19;
		wide += (long double)sum / 3;
		x += 0.01;
	}
	qsort(numbers, 500, 8, compare);
	for (int i = 0; i < 500; i++)
		sum = sum * 7 + numbers[i];
	printf("ordinary %llx %.17g %.10Lg\n", (unsigned long long)sum, total, wide);
}

static void decimal(void)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < 65536; i += 7) {
		uint32_t a = i, b = i, c = i, d = i, e = i, f = i;

		__asm__("add $0x35, %%al; daa; pushf; andl $0xd5, (%%esp); pop %%edx; add %%edx, %%eax"
			: "+a"(a)
			:
			: "edx", "cc");
		__asm__("sub $0x28, %%al; das; pushf; andl $0xd5, (%%esp); pop %%edx; add %%edx, %%eax"
			: "+a"(b)
			:
			: "edx", "cc");
		__asm__("add $7, %%al; aaa; adc $0, %%eax" : "+a"(c) : : "cc");
		__asm__("sub $7, %%al; aas; adc $0, %%eax" : "+a"(d) : : "cc");
		__asm__("aam; setz %%dl; movzx %%dl, %%edx; add %%edx, %%eax" : "+a"(e) : : "edx", "cc");
		__asm__("aad $7; sets %%dl; movzx %%dl, %%edx; add %%edx, %%eax" : "+a"(f) : : "edx", "cc");
		sum = sum * 31 + a + b * 3 + c * 5 + d * 7 + e * 11 + f * 13;
	}
	printf("decimal %x\n", sum);
}

static void only_here(void)
{
	uint32_t a = 5, b = 6, c = 0;

	__asm__("push %%ebx; pusha; xor %%eax, %%eax; mov %%eax, %%ecx; addl $9, 28(%%esp); popa; pop %%ebx"
		: "+a"(a), "+b"(b), "+c"(c)
		:
		: "memory");
	printf("pusha %u %u %u", a, b, c);
	__asm__("push %%ds; pop %%es; push %%cs; pop %%eax; push %%ss; pop %%edx; push %%fs; pop %%fs"
		: "=a"(a), "=d"(b)
		:
		: "memory");
	printf(" cs %x ss %x", a & 0xffff, b & 0xffff);
	__asm__("mov $0x12345678, %%eax; inc %%ax; dec %%eax; .byte 0x82, 0xc0, 0x08; salc: .byte 0xd6; movzx %%ax, %%eax"
		: "=a"(a)
		:
		: "cc");
	printf(" twins %x", a);
	__asm__("call 1f; 1: pop %%eax; call 2f; 2: pop %%edx; sub %%eax, %%edx; mov %%edx, %%eax"
		: "=a"(a)
		:
		: "edx", "memory", "cc");
	printf(" call %u", a);
	__asm__("mov $0xffff, %%ax; arpl %%bx, %%ax; setz %%cl; movzx %%cl, %%ecx"
		: "=c"(c)
		: "b"(3)
		: "eax", "cc");
	printf(" arpl %u", c);
	{
		struct {
			uint32_t offset;
			uint16_t selector;
		} pointer = { 0x1234, 0x2b };

		__asm__("push %%es; les %2, %%eax; mov %%es, %%edx; pop %%es"
			: "=a"(a), "=d"(b)
			: "m"(pointer));
		printf(" les %x %x", a, b & 0xffff);
	}
	/* 16-bit addressing wraps at 64 KiB: only arithmetic by lea is safe to look at */
	__asm__("mov $0xfff0, %%ebx; mov $0x20, %%esi; .byte 0x67, 0x8d, 0x40, 0x08"
		: "=a"(a)
		:
		: "ebx", "esi");
	printf(" lea16 %x", a);
	__asm__("mov $2, %%ecx; xor %%eax, %%eax; 1: inc %%eax; .byte 0x67, 0xe2, 0xfc"
		: "=a"(a)
		:
		: "ecx", "cc");
	printf(" loop16 %u\n", a);
}

static sigjmp_buf escape;
static struct {
	int number, code, trap, error;
} volatile seen;

static void record(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	seen.number = number;
	seen.code = info->si_code;
	seen.trap = user->uc_mcontext.gregs[REG_TRAPNO];
	seen.error = user->uc_mcontext.gregs[REG_ERR];
	siglongjmp(escape, 1);
}

#define TRY(name, ...)                                                                                  \
	do {                                                                                            \
		if (!sigsetjmp(escape, 1)) {                                                            \
			__VA_ARGS__;                                                                    \
			puts(name " passed");                                                           \
		} else {                                                                                \
			printf("%s signal %d code %d trap %d error %x\n", name, seen.number, seen.code, \
			       seen.trap, (unsigned)seen.error);                                        \
		}                                                                                       \
	} while (0)

static void faults(void)
{
	struct sigaction action = { .sa_sigaction = record, .sa_flags = SA_SIGINFO };
	const int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	int bounds[2] = { 3, 9 };

	for (int i = 0; i < 5; i++)
		sigaction(numbers[i], &action, NULL);
	TRY("into quiet", __asm__ volatile("xor %%eax, %%eax; into" : : : "eax", "cc"));
	TRY("into", __asm__ volatile("mov $0x7fffffff, %%eax; inc %%eax; into" : : : "eax", "cc"));
	TRY("bound in", __asm__ volatile("bound %0, %1" : : "r"(5), "m"(bounds)));
	TRY("bound out", __asm__ volatile("bound %0, %1" : : "r"(10), "m"(bounds)));
	TRY("aam 0", __asm__ volatile("aam $0" : : : "eax", "cc"));
	TRY("divide", __asm__ volatile("divl %0" : : "r"(0), "a"(1), "d"(0)));
	TRY("null", __asm__ volatile("movl 4, %%eax" : : : "eax"));
	TRY("int 0x81", __asm__ volatile("int $0x81"));
	TRY("hlt", __asm__ volatile("hlt"));
	TRY("null segment", __asm__ volatile("push %%gs; xor %%eax, %%eax; mov %%eax, %%gs; nop; pop %%gs"
					     :
					     :
					     : "eax"));
	TRY("bad segment", __asm__ volatile("push %%fs; mov $0x3334, %%eax; mov %%eax, %%fs; pop %%fs"
					    :
					    :
					    : "eax"));
	TRY("bad far jump", __asm__ volatile("ljmp $0x1234, $0"));
	TRY("vex in 32-bit", __asm__ volatile("vpaddd %%ymm1, %%ymm2, %%ymm3; vzeroupper" : : : "xmm3"));
}

static void segments(void)
{
	struct user_desc entry = { .entry_number = 3, .limit = 99, .seg_32bit = 1, .useable = 1 };
	char *memory = calloc(1, 8192);
	uint32_t value = 0, selector = 3 * 8 + 7;

	memory[0] = 42;
	memory[99] = 43;
	entry.base_addr = (unsigned)(uintptr_t)memory;
	if (syscall(SYS_modify_ldt, 1, &entry, sizeof(entry))) {
		puts("segments: no LDT");
		return;
	}
	__asm__ volatile("push %%fs; mov %1, %%fs; movzbl %%fs:99, %0; movb $77, %%fs:50; pop %%fs"
			 : "=r"(value)
			 : "r"(selector)
			 : "memory");
	printf("segment base: %u %d", value, memory[50]);
	TRY(" limit", __asm__ volatile("mov %1, %%fs; movzbl %%fs:100, %0" : "=r"(value) : "r"(selector)));
	TRY("limit crossing", __asm__ volatile("mov %1, %%fs; movl %%fs:97, %0"
					       : "=r"(value)
					       : "r"(selector)));
	TRY("limit up to", __asm__ volatile("mov %1, %%fs; movl %%fs:96, %0" : "=r"(value) : "r"(selector)));
	entry.contents = 1; /* expand down */
	entry.read_exec_only = 0;
	entry.limit = 4095;
	syscall(SYS_modify_ldt, 1, &entry, sizeof(entry));
	TRY("expand down above", __asm__ volatile("mov %1, %%fs; movl %%fs:4096, %0"
						  : "=r"(value)
						  : "r"(selector)));
	TRY("expand down below", __asm__ volatile("mov %1, %%fs; movl %%fs:4095, %0"
						  : "=r"(value)
						  : "r"(selector)));
	entry.contents = 0;
	entry.read_exec_only = 1;
	syscall(SYS_modify_ldt, 1, &entry, sizeof(entry));
	TRY("read-only read", __asm__ volatile("mov %1, %%fs; movl %%fs:0, %0"
					       : "=r"(value)
					       : "r"(selector)));
	TRY("read-only write", __asm__ volatile("mov %0, %%fs; movl $1, %%fs:0"
						:
						: "r"(selector)
						: "memory"));
	__asm__ volatile("mov %0, %%fs" : : "r"(0));
}

/* In and out of 64-bit code: selector 0x33. */
static void long_mode(void)
{
	static const uint8_t code[] = {
		0x48, 0xb8, 0,    0,    0, 0, 1, 0, 0, 0, /* movabs $1 << 32, %rax */
		0x4c, 0x8d, 0x40, 0x05,                   /* lea 5(%rax), %r8 */
		0x4d, 0x0f, 0xaf, 0xc0,                   /* imul %r8, %r8 */
		0x4c, 0x89, 0xc0,                         /* mov %r8, %rax */
		0x48, 0xc1, 0xe8, 0x20,                   /* shr $32, %rax */
		0xcb,                                     /* lret */
	};
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
	struct {
		uint32_t offset;
		uint16_t selector;
	} target = { (uint32_t)(uintptr_t)page, 0x33 };
	uint32_t result = 0, sum = 0;

	memcpy(page, code, sizeof(code));
	for (int i = 0; i < 300; i++) {
		__asm__ volatile("lcall *%1" : "=a"(result) : "m"(target) : "memory", "cc");
		sum += result;
	}
	printf("long mode %u\n", sum);
}

static void *thread(void *argument)
{
	static __thread int mine;

	for (int i = 0; i < 1000; i++)
		mine += *(int *)argument;
	return (void *)(intptr_t)mine;
}

static void processes(void)
{
	pthread_t id;
	void *result;
	int value = 3, status, old;
	struct timeval time;

	pthread_create(&id, NULL, thread, &value);
	pthread_join(id, &result);
	fflush(stdout);
	if (!fork())
		_exit(17);
	wait(&status);
	__asm__ volatile("int $0x80" : "=a"(old) : "0"(SYS_getpid) : "memory");
	printf("processes %d %d %d %d\n", (int)(intptr_t)result, WEXITSTATUS(status), old == getpid(),
	       gettimeofday(&time, NULL));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ordinary();
	decimal();
	only_here();
	faults();
	long_mode();
	processes();
	segments();
	return 0;
}
