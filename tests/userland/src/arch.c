/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The corners of x86-64 that user code may visit: segment bases, far returns into
 * 32-bit code and back, iretq to itself, flags through pushf and syscalls, the
 * alignment check, XSAVE round trips, high-byte registers, string
 * instructions with either direction and address size, bit strings, unusual
 * encodings. Results are printed as numbers to be compared with the real CPU.
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t hash(uint64_t sum, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size--)
		sum = (sum ^ *at++) * 0x100000001b3ull;
	return sum;
}

static void segment_bases(void)
{
	uint64_t memory[8] = { 11, 22, 33, 44, 55, 66, 77, 88 }, value, base;
	unsigned short selector = 0;

	syscall(SYS_arch_prctl, ARCH_SET_GS, memory);
	__asm__ volatile("movq %%gs:16, %0" : "=r"(value));
	printf("gs:16 %llu", (unsigned long long)value);
	__asm__ volatile("mov $8, %%eax; addq $5, %%gs:8(,%%rax,2)" : : : "rax", "memory");
	printf(" %llu", (unsigned long long)memory[3]);
	/* a 32-bit address size does not cut the base */
	__asm__ volatile("mov $-24, %%eax; mov $48, %%ecx; addr32 movq %%gs:(%%eax,%%ecx), %0"
			 : "=r"(value)
			 :
			 : "rax", "rcx");
	printf(" %llu", (unsigned long long)value);
	__asm__ volatile("mov $0, %%esi; lea %1, %%rdi; gs movsq"
			 : "=m"(value)
			 : "m"(value)
			 : "rsi", "rdi", "memory");
	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	printf(" base %d", base == (uintptr_t)memory);
	__asm__ volatile("mov %0, %%gs" : : "r"(selector));
	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	printf(" null %llu\n", (unsigned long long)base);
}

__attribute__((target("fsgsbase"))) static void fsgsbase(void)
{
	uint64_t memory[2] = { 1234, 5678 };
	unsigned long fs = _readfsbase_u64(), back;

	_writegsbase_u64((uintptr_t)memory);
	__asm__ volatile("movq %%gs:8, %0" : "=r"(back));
	syscall(SYS_getppid);
	printf("fsgsbase %lu %d %d\n", back, fs == *(unsigned long *)fs,
	       _readgsbase_u64() == (uintptr_t)memory);
	_writegsbase_u64(0);
}

/* lret to selector 0x23 (32-bit code below 4 GiB), and from there back. */
static void compatibility_mode(void)
{
	static const uint8_t code[] = {
		/* 32-bit */
		0x31, 0xc0,       /* xor %eax, %eax */
		0x48,             /* dec %eax (a REX prefix in 64-bit mode) */
		0x40, 0x40, 0x40, /* inc %eax three times */
		0x0f, 0xaf, 0xc1, /* imul %ecx, %eax */
		0x50, 0x59,       /* push %eax; pop %ecx: 4 bytes each */
		0x60, 0x61,       /* pusha; popa */
		0xd4, 0x0a,       /* aam */
		0xd5, 0x0a,       /* aad */
		0xcb,             /* lret */
	};
	uint8_t *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint64_t result = 0, counter = 0x100000021ull;
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) target;

	if (low == MAP_FAILED)
		exit(1);
	memcpy(low, code, sizeof(code));
	target.offset = (uint32_t)(uintptr_t)low;
	target.selector = 0x23;
	for (int i = 0; i < 200; i++) {
		__asm__ volatile("mov %%rsp, %%r12\n\t"
				 "mov %[stack], %%rsp\n\t"
				 "lcall *(%[target])\n\t"
				 "mov %%r12, %%rsp\n\t"
				 : "=a"(result), "+c"(counter)
				 : [stack] "r"(low + 8192 - 64), [target] "r"(&target)
				 : "r12", "rdx", "memory", "cc");
		counter = 0x100000021ull + result + (unsigned)i;
	}
	/* lcall pushed a 32-bit return address: this program must lie below 4 GiB */
	printf("compatibility mode %llx %llx\n", (unsigned long long)result, (unsigned long long)counter);
}

static void far_and_iret(void)
{
	uint64_t value = 0;

	__asm__ volatile(
		"mov %%cs, %%eax; push %%rax; lea 1f(%%rip), %%rax; push %%rax; lretq\n"
		"ud2\n1:\n\t"
		"mov %%ss, %%eax; mov %%rsp, %%rcx; push %%rax; push %%rcx; pushfq; orq $0x801, (%%rsp)\n\t"
		"mov %%cs, %%eax; push %%rax; lea 2f(%%rip), %%rax; push %%rax; iretq\n"
		"ud2\n2:\n\t"
		"pushfq; pop %0"
		: "=r"(value)
		:
		: "rax", "rcx", "memory", "cc");
	printf("iretq flags %llx\n", (unsigned long long)(value & 0x801));
}

static void flags(void)
{
	uint64_t before, after, rax;

	/* every writable flag, of which IF and IOPL must not move */
	__asm__ volatile("pushfq; pop %0; push $0x247fd7 & ~0x100; popfq; pushfq; pop %1; push %0; popfq"
			 : "=&r"(before), "=&r"(after)
			 :
			 : "cc");
	printf("popf %llx", (unsigned long long)after);
	__asm__ volatile("pushfq; orq $0x200cd5, (%%rsp); popfq; syscall; pushfq; pop %1; cld"
			 : "=a"(rax), "=r"(after)
			 : "0"(SYS_getuid)
			 : "rcx", "r11", "memory", "cc");
	printf(" over syscall %llx", (unsigned long long)after & ~0x202ull);
	__asm__ volatile("std; stc; lahf; cld; mov %%rax, %0" : "=r"(rax) : : "rax", "cc");
	printf(" lahf %llx\n", (unsigned long long)(rax >> 8 & 1));
	(void)before;
}

static sigjmp_buf escape;

static void leave(int number, siginfo_t *info, void *context)
{
	(void)context;
	__asm__ volatile("pushfq; andl $~0x40000, (%rsp); popfq");
	siglongjmp(escape, number * 256 + info->si_code);
}

static void alignment_check(void)
{
	struct sigaction action = { .sa_sigaction = leave, .sa_flags = SA_SIGINFO };
	uint64_t memory[4] = { 1, 2, 3, 4 };
	int got;

	sigaction(SIGBUS, &action, NULL);
	got = sigsetjmp(escape, 1);
	if (!got) {
		__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; mov (%0), %%eax; mov 1(%0), %%eax"
				 :
				 : "r"(memory)
				 : "rax");
		puts("alignment check passed");
	} else {
		__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "cc");
		printf("alignment check %d\n", got);
	}
}

static void high_bytes(void)
{
	uint64_t a = 0x1122334455667788, b = 0x99aabbccddeeff00, c = 0x0123456789abcdef, d = 5;

	__asm__("mov %%ah, %%bl; add %%ch, %%dh; xchg %%al, %%bh; mov %%dh, %%ah; imul %%dl; setc %%ch; shl $3, %%bh; movzx %%bh, %%edx"
		: "+a"(a), "+b"(b), "+c"(c), "+d"(d)
		:
		: "cc");
	printf("high bytes %llx %llx %llx %llx\n", (unsigned long long)a, (unsigned long long)b,
	       (unsigned long long)c, (unsigned long long)d);
}

static void strings(void)
{
	uint8_t from[512], to[512];
	uint64_t sum = 14695981039346656037ull;

	for (int i = 0; i < 512; i++) {
		from[i] = (uint8_t)(i * i + 3 * i);
		to[i] = (uint8_t)~i;
	}
	for (int i = 0; i < 60; i++) {
		void *source = from + 100 + i, *target = to + 103;
		uint64_t count = (uint64_t)i * 3, rax = (uint64_t)i * 7 + 1, left;

		__asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
		__asm__ volatile("std; rep movsw; cld"
				 : "+S"(source), "+D"(target), "=c"(left)
				 : "2"((uint64_t)i / 4)
				 : "memory");
		__asm__ volatile("rep stosl"
				 : "+D"(target), "=c"(left)
				 : "1"((uint64_t)i % 9), "a"(rax)
				 : "memory");
		target = to;
		__asm__ volatile("repne scasb"
				 : "+D"(target), "=c"(left)
				 : "1"(300ul), "a"(rax)
				 : "memory", "cc");
		sum = sum * 31 + left;
		source = from;
		target = to;
		/* equal flags survive a count of zero */
		__asm__ volatile("cmp %%eax, %%eax; repe cmpsb"
				 : "+S"(source), "+D"(target), "=c"(left)
				 : "2"((uint64_t)i % 3 * 100)
				 : "memory", "cc");
		sum = sum * 31 + left;
		source = from + i;
		__asm__ volatile("rep lodsw"
				 : "+S"(source), "+a"(rax), "=c"(left)
				 : "2"((uint64_t)i)
				 : "memory");
		sum = hash(sum * 31 + rax, to, sizeof(to));
	}
	printf("strings %llx\n", (unsigned long long)sum);
}

static void bit_strings(void)
{
	uint32_t bits[64] = { 0 };
	uint64_t sum = 0;

	for (long i = -900; i < 900; i += 7) {
		uint8_t carry;

		__asm__("btsq %2, %1; setc %0" : "=q"(carry), "+m"(bits[32]) : "r"(i) : "memory", "cc");
		__asm__("btcl %k2, %1; setc %b0" : "+q"(carry), "+m"(bits[32]) : "r"(i / 2) : "memory", "cc");
		__asm__("lock btrl %k2, %1; adc $0, %b0"
			: "+q"(carry), "+m"(bits[32])
			: "r"(i / 3)
			: "memory", "cc");
		sum = sum * 5 + carry;
	}
	printf("bit strings %llx\n", (unsigned long long)hash(sum, bits, sizeof(bits)));
}

static void locked(void)
{
	_Alignas(64) uint8_t line[128] = { 0 };
	uint64_t sum = 0;

	for (int i = 0; i < 64; i++) {
		uint64_t *at = (uint64_t *)(void *)(line + i);
		uint64_t a = (uint64_t)i * 0x123456789, old = *at, d = 0;
		uint32_t swapped = (uint32_t)i;
		uint8_t equal;

		/* from i = 57 on these cross a cache line */
		__asm__("lock xaddq %0, %1" : "+r"(a), "+m"(*at) : : "memory", "cc");
		__asm__("lock cmpxchgq %3, %1; sete %2"
			: "+a"(old), "+m"(*at), "=q"(equal)
			: "r"(a + 99)
			: "memory", "cc");
		sum = sum * 3 + equal + old;
		__asm__("lock cmpxchg8b %1; sete %2"
			: "+a"(a), "+m"(*at), "=q"(equal), "+d"(d)
			: "b"(i), "c"(7)
			: "memory", "cc");
		sum = sum * 3 + equal + a + d;
		__asm__("lock negl %0; lock incb %1; xchgl %2, %0"
			: "+m"(line[i]), "+m"(line[i + 9]), "+r"(swapped)
			:
			: "memory", "cc");
		sum = sum * 3 + swapped;
	}
	__asm__("lock cmpxchg16b %0"
		: "+m"(line[64])
		: "a"(0ul), "d"(0ul), "b"(1ul), "c"(2ul)
		: "memory", "cc");
	printf("locked %llx\n", (unsigned long long)hash(sum, line, sizeof(line)));
}

__attribute__((target("avx2,xsave,xsaveopt"))) static void xsave_round_trip(void)
{
	uint8_t *area = aligned_alloc(64, 8192);
	uint64_t numbers[4] = { 1, 2, 3, 4 }, back[4];
	uint16_t control = 0xc3f, status;
	uint32_t mxcsr = 0x7f80, mxcsr_back;
	double third = 0;

	memset(area, 0, 8192);
	__asm__ volatile(
		"fninit; fldcw %[cw]; fldpi; fldl2e; ldmxcsr %[csr]; vmovdqu (%[in]), %%ymm9\n\t"
		"xsave (%[area])\n\t"
		"fninit; vzeroall; ldmxcsr %[csr2]\n\t"
		"xrstor (%[area])\n\t"
		"vmovdqu %%ymm9, (%[out]); fnstsw %[sw]; faddp; fstpl %[third]; stmxcsr %[csrb]; vzeroupper"
		: [sw] "=m"(status), [third] "=m"(third), [csrb] "=m"(mxcsr_back)
		: [cw] "m"(control), [csr] "m"(mxcsr), [csr2] "m"((uint32_t){ 0x1f80 }), [in] "r"(numbers),
		  [out] "r"(back), [area] "r"(area), "a"(7), "d"(0)
		: "memory", "xmm9");
	__asm__ volatile("ldmxcsr %0; fninit" : : "m"((uint32_t){ 0x1f80 }));
	printf("xsave %llx %x %x %.15g image %x %x bv %x\n", (unsigned long long)(back[0] + back[3] * 16),
	       status, mxcsr_back, third, area[0] | area[1] << 8, area[4], area[512]);
	memset(area, 0, 8192);
	__asm__ volatile("fld1; fxsave64 (%0); fninit; fxrstor64 (%0); fstp %%st(0)"
			 :
			 : "r"(area)
			 : "memory");
	printf("fxsave %x %x %llx\n", area[2] | area[3] << 8, area[4],
	       (unsigned long long)*(uint64_t *)(void *)(area + 32));
	free(area);
}

static void odd_encodings(void)
{
	uint64_t a = 0x8877665544332211, b = 3, c = 0x1020304050607080;

	__asm__(".byte 0x66, 0x66, 0x90; .byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0; .byte 0x2e, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\n\t"
		".byte 0xf3, 0x48, 0x0f, 0xb8, 0xd8\n\t" /* popcnt %rax, %rbx */
		".byte 0x66, 0x48, 0x0f, 0xc8\n\t"       /* bswap %rax with a vain 0x66 */
		".byte 0x48, 0x66, 0x05, 0x34, 0x12\n\t" /* REX before 0x66 does not count: add $0x1234, %ax */
		".byte 0x66, 0x0f, 0xa4, 0xc1, 0x05\n\t" /* shld $5, %ax, %cx */
		".byte 0x48, 0xc1, 0xf1, 0x09\n\t"       /* shl by its undocumented twin: /6 */
		: "+a"(a), "+b"(b), "+c"(c)
		:
		: "cc");
	printf("odd encodings %llx %llx %llx", (unsigned long long)a, (unsigned long long)b,
	       (unsigned long long)c);
	__asm__("mov %1, %%rax; cqo; idiv %2; mov %%rdx, %0"
		: "=r"(b)
		: "r"(-1234567890123l), "r"(9876543l)
		: "rax", "rdx", "cc");
	printf(" %lld", (long long)b);
	__asm__("enter $16, $1; mov %%rbp, %%rax; sub %%rsp, %%rax; leave" : "=a"(a));
	printf(" enter %llu", (unsigned long long)a);
	__asm__("lea table(%%rip), %%rbx; mov $2, %%al; xlat; movzx %%al, %%eax; jmp 1f; table: .byte 5, 6, 7\n1:"
		: "=a"(a)
		:
		: "rbx");
	printf(" xlat %llu", (unsigned long long)a);
	__asm__("mov $3, %%ecx; xor %%eax, %%eax; 1: inc %%eax; loop 1b; mov $1, %%rcx; shl $32, %%rcx; jecxz 2f; add $100, %%eax; 2:"
		: "=a"(a)
		:
		: "rcx", "cc");
	printf(" loop %llu", (unsigned long long)a);
	__asm__("mov %%rsp, %%rcx; push %%rsp; pop %%rax; sub %%rcx, %%rax; push $0; push $77; pop (%%rsp); pop %%rdx; sub %%rdx, %%rax; push $-5; pushw $3; popw %%cx; pop %%rcx; add %%rcx, %%rax"

		: "=a"(a)
		:
		: "rcx", "rdx", "memory", "cc");
	printf(" stack %lld\n", (long long)a);
}

static void time_flows(void)
{
	struct timespec before, after;
	uint64_t last = __builtin_ia32_rdtsc();
	int backwards = 0;
	unsigned int cpu;

	for (int i = 0; i < 20000; i++) {
		uint64_t now = i & 1 ? __builtin_ia32_rdtsc() : __builtin_ia32_rdtscp(&cpu);

		backwards += now < last;
		last = now;
	}
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (int i = 0; i < 20000; i++) {
		if (i & 3)
			clock_gettime(CLOCK_MONOTONIC, &after);
		else
			syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
		backwards += after.tv_sec < before.tv_sec ||
			     (after.tv_sec == before.tv_sec && after.tv_nsec < before.tv_nsec);
		before = after;
	}
	printf("time went backwards %d times\n", backwards);
}

/* `arch alignment` is an item of its own: hardly any program sets AC in user mode. */
int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !strcmp(argv[1], "alignment")) {
		alignment_check();
		return 0;
	}
	segment_bases();
	fsgsbase();
	compatibility_mode();
	far_and_iret();
	flags();
	high_bytes();
	strings();
	bit_strings();
	locked();
	xsave_round_trip();
	odd_encodings();
	time_flows();
	return 0;
}
