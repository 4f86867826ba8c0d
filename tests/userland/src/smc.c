/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code that changes: within a basic block, in a loop that is running, across
 * pages, through a second mapping, by munmap and mmap at the same place, by
 * read(2) into an executable page (the kernel writes it), in a forked child
 * (copy-on-write gives the code another physical page), and from another thread.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*function)(int);

static int call(const void *at, int value)
{
	function f;

	memcpy(&f, &at, sizeof(f));
	return f(value);
}

/* lea eax, [rdi + term]; ret */
static void adder(uint8_t *at, int term)
{
	const uint8_t code[] = { 0x8d, 0x87, 0, 0, 0, 0, 0xc3 };

	memcpy(at, code, sizeof(code));
	memcpy(at + 2, &term, 4);
}

static uint8_t *area(size_t size)
{
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);

	if (at == MAP_FAILED)
		exit(1);
	return at;
}

static void rewrite(void)
{
	uint8_t *at = area(4096);
	long sum = 0;

	for (int i = 0; i < 20000; i++) {
		adder(at + i % 64 * 8, i);
		sum += call(at + i % 64 * 8, 1);
		if (i > 64)
			sum += call(at + (i + 1) % 64 * 8, 2);
	}
	printf("rewrite %ld\n", sum);
}

/* The block overwrites its own next instruction: x86 promises that it counts. */
static void within_block(void)
{
	static const uint8_t code[] = {
		0xc6, 0x05, 0x01, 0, 0, 0, 0x05, /* movb $5, 1(%rip): the immediate below */
		0xb8, 0x01, 0,    0, 0,          /* mov $1, %eax */
		0xc3,
	};
	uint8_t *at = area(4096);

	memcpy(at, code, sizeof(code));
	at[2] = 1;
	printf("within block %d", call(at, 0));
	at[8] = 1;
	at[6] = 9;
	printf(" %d\n", call(at, 0));
}

/* A loop that counts down and turns its own `add $1` into `add $3` on the way. */
static void running_loop(void)
{
	static const uint8_t code[] = {
		0x31, 0xc0,                               /*    xor %eax, %eax */
		0x83, 0xc0, 0x01,                         /* 1: add $1, %eax */
		0x81, 0xff, 0xf4, 1,    0,    0,          /* cmp $500, %edi */
		0x75, 0x07,                               /*    jne 2f */
		0xc6, 0x05, 0xf0, 0xff, 0xff, 0xff, 0x03, /* movb $3, the 1 above */
		0xff, 0xcf,                               /* 2: dec %edi */
		0x75, 0xea,                               /*    jnz 1b */
		0xc3,
	};
	uint8_t *at = area(8192);

	for (int shift = 0; shift < 2; shift++) {
		/* the second time across a page boundary */
		uint8_t *to = shift ? at + 4096 - 9 : at;

		memcpy(to, code, sizeof(code));
		printf("running loop %d\n", call(to, 1000));
	}
}

static void crossing(void)
{
	uint8_t *at = area(8192);
	long sum = 0;

	for (int i = 0; i < 2000; i++) {
		adder(at + 4096 - 4, i * 0x10001);
		sum += call(at + 4096 - 4, 3);
		at[4096 + 1] = (uint8_t)i;
		sum += call(at + 4096 - 4, 3);
	}
	printf("crossing %ld\n", sum);
}

static void two_mappings(void)
{
	int file = memfd_create("code", 0);
	uint8_t *write, *run;
	long sum = 0;

	if (file < 0 || ftruncate(file, 8192))
		exit(1);
	write = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	run = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	for (int i = 0; i < 5000; i++) {
		adder(write + i % 3 * 2048, i);
		sum = sum * 3 + call(run + i % 3 * 2048, i);
	}
	/* and by the kernel: pwrite, and read into the writable view */
	for (int i = 0; i < 500; i++) {
		uint8_t code[8];

		adder(code, i * 7);
		if (pwrite(file, code, 7, 100) != 7)
			exit(1);
		sum += call(run + 100, 1);
	}
	printf("two mappings %ld\n", sum);
}

static void remap(void)
{
	uint8_t *at = area(4096);
	long sum = 0;

	for (int i = 0; i < 1000; i++) {
		if (mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    at)
			exit(1);
		adder(at, i);
		mprotect(at, 4096, PROT_READ | PROT_EXEC);
		sum += call(at, i);
		mprotect(at, 4096, PROT_READ | PROT_WRITE);
		adder(at, i + 1);
		mprotect(at, 4096, PROT_READ | PROT_EXEC);
		sum += call(at, i);
		if (i % 10 == 0) {
			mprotect(at, 4096, PROT_READ | PROT_WRITE);
			madvise(at, 4096, MADV_DONTNEED);
		}
	}
	printf("remap %ld\n", sum);
}

static void kernel_writes(void)
{
	uint8_t *at = area(4096), code[8];
	int ends[2];
	long sum = 0;

	if (pipe(ends))
		exit(1);
	for (int i = 0; i < 2000; i++) {
		adder(code, i * 3);
		if (write(ends[1], code, 7) != 7 || read(ends[0], at + 40, 7) != 7)
			exit(1);
		sum += call(at + 40, i);
	}
	printf("kernel writes %ld\n", sum);
}

static void forked(void)
{
	uint8_t *at = area(4096);
	int status;

	adder(at, 10);
	printf("before fork %d\n", call(at, 1));
	fflush(stdout);
	if (!fork()) {
		int sum = 0;

		for (int i = 0; i < 50; i++) {
			adder(at, i);
			sum += call(at, 0);
		}
		_exit(sum == 1225 ? call(at, 1) : 1);
	}
	adder(at, 20);
	wait(&status);
	printf("after fork %d, child %d\n", call(at, 1), WEXITSTATUS(status));
}

struct shared {
	uint8_t *at;
	atomic_int turn;
	long sum;
};

static void *patcher(void *argument)
{
	struct shared *shared = argument;

	for (int i = 0; i < 300; i++) {
		while (atomic_load(&shared->turn) != 1)
			sched_yield();
		adder(shared->at, i * 5);
		atomic_store(&shared->turn, 0);
	}
	return NULL;
}

static void threads(void)
{
	struct shared shared = { .at = area(4096) };
	pthread_t thread;

	adder(shared.at, 0);
	pthread_create(&thread, NULL, patcher, &shared);
	for (int i = 0; i < 300; i++) {
		shared.sum = shared.sum * 3 + call(shared.at, i);
		atomic_store(&shared.turn, 1);
		while (atomic_load(&shared.turn) != 0)
			sched_yield();
		shared.sum += call(shared.at, i);
	}
	pthread_join(thread, NULL);
	printf("threads %ld\n", shared.sum);
}

/* Data right beside code: writes that hit the page but not the instructions. */
static void beside(void)
{
	uint8_t *at = area(4096);
	long sum = 0;

	adder(at, 1);
	for (int i = 0; i < 50000; i++) {
		at[8 + i % 4000] = (uint8_t)i;
		if (i % 16 == 0)
			sum += call(at, i);
	}
	for (int i = 8; i < 4008; i++)
		sum = sum * 31 + at[i];
	printf("beside %ld\n", sum);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	rewrite();
	within_block();
	running_loop();
	crossing();
	two_mappings();
	remap();
	kernel_writes();
	forked();
	threads();
	beside();
	return 0;
}
