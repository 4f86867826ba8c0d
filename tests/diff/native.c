/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs cases on the host CPU itself.
 *
 * A signal handler is all it takes. Each case ends in an exception, and so in
 * the handler, whose ucontext holds the complete state of the interrupted
 * program: registers, vector, error code, CR2, XSAVE image. The handler files
 * that away, puts the next case's state in its place, and returns into it.
 * Also 32-bit cases need no more than another CS in the ucontext. Only the FS
 * and GS bases are not in it.
 *
 * The first handler call comes from an INT3 in run_batch(), where the last one
 * returns to.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include "diff.h"

#define USER32_CS 0x23u
#define USER_DS   0x2bu
#define USER_CS   0x33u

#define ALTSTACK (256u << 10) /* and its alignment */

/* Lies at the bottom of the signal stack, where the handler finds it without a global. */
struct native {
	const struct worker_args *a;
	uint64_t *page[DATA_PAGES];
	uint64_t host_fsbase, host_gsbase;
	gregset_t host;
	int image; /* whose contents the data pages hold, or -1 */
	uint32_t next;
	bool running;
};

static void load_case(struct native *n, ucontext_t *uc, const struct diff_case *c)
{
	static const uint8_t order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					   REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					   REG_R12, REG_R13, REG_R14, REG_R15 };
	greg_t *gr = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint64_t bv = 7;

	if (n->image != c->image) {
		for (unsigned p = 0; p < DATA_PAGES; p++)
			if (data_pages[p].writable)
				memcpy(n->page[p], n->a->images[c->image].word + p * 512, 4096);
		n->image = c->image;
	}
	for (unsigned i = 0; i < 16; i++)
		gr[order[i]] = (greg_t)c->regs[i];
	gr[REG_RIP] = (greg_t)c->va;
	gr[REG_EFL] = (greg_t)c->rflags;
	gr[REG_CSGSFS] = (greg_t)((uint64_t)(c->ia32 ? USER32_CS : USER_CS) | (uint64_t)USER_DS << 48);
	memcpy(fp, c->xsave, 416);
	memcpy(fp + 512, &bv, 8);
	memcpy(fp + 576, c->xsave + 576, 256);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(USER_DS));
}

static void file_outcome(struct native *n, const ucontext_t *uc)
{
	static const uint8_t order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					   REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					   REG_R12, REG_R13, REG_R14, REG_R15 };
	const greg_t *gr = uc->uc_mcontext.gregs;
	struct outcome *o = &n->a->results[n->next];
	const struct diff_case *c = &n->a->batch->cases[n->next];

	for (unsigned i = 0; i < 16; i++)
		o->regs[i] = (uint64_t)gr[order[i]];
	o->rip = (uint64_t)gr[REG_RIP];
	o->rflags = (uint64_t)gr[REG_EFL];
	o->vector = (uint32_t)gr[REG_TRAPNO];
	o->error = (uint32_t)gr[REG_ERR];
	o->cr2 = o->vector == 14 ? (uint64_t)gr[REG_CR2] : 0;
	o->cs = (uint16_t)gr[REG_CSGSFS];
	o->ss = (uint16_t)((uint64_t)gr[REG_CSGSFS] >> 48);
	memcpy(o->xsave, uc->uc_mcontext.fpregs, XSAVE_BYTES);
	scan_changes(o, &n->a->images[c->image], n->page);
}

static uint64_t get_fsbase(void)
{
	uint64_t v;

	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static uint64_t get_gsbase(void)
{
	uint64_t v;

	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}

static void set_bases(uint64_t fs, uint64_t gs)
{
	__asm__ volatile("wrfsbase %0; wrgsbase %1" ::"r"(fs), "r"(gs));
}

/* Runs with the case's FS base at first: nothing here may use thread-local storage. */
static __attribute__((no_stack_protector)) void handler(int sig, siginfo_t *info, void *ctx)
{
	struct native *n = (struct native *)((uintptr_t)__builtin_frame_address(0) &
					     ~(uintptr_t)(ALTSTACK - 1));
	uint64_t fs = get_fsbase(), gs = get_gsbase();
	ucontext_t *uc = ctx;
	uint16_t ds, es, fss, gss;

	(void)sig;
	(void)info;
	__asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3"
			 : "=r"(ds), "=r"(es), "=r"(fss), "=r"(gss));
	if (fss)
		__asm__ volatile("mov %0, %%fs" ::"r"(0));
	if (gss)
		__asm__ volatile("mov %0, %%gs" ::"r"(0));
	set_bases(n->host_fsbase, n->host_gsbase);
	if (!n->running) {
		memcpy(n->host, uc->uc_mcontext.gregs, sizeof(n->host));
		n->running = true;
		n->next = 0;
	} else {
		struct outcome *o = &n->a->results[n->next];

		file_outcome(n, uc);
		o->fsbase = fs;
		o->gsbase = gs;
		o->ds = ds;
		o->es = es;
		o->fs = fss;
		o->gs = gss;
		n->a->batch->done = ++n->next;
	}
	if (n->next == n->a->batch->count) {
		n->running = false;
		memcpy(uc->uc_mcontext.gregs, n->host, sizeof(n->host));
		return;
	}
	n->a->batch->current = n->next;
	load_case(n, uc, &n->a->batch->cases[n->next]);
	set_bases(n->a->batch->cases[n->next].fsbase, n->a->batch->cases[n->next].gsbase);
}

static bool map_fixed(uint64_t va, uint64_t size)
{
	void *want = (void *)(uintptr_t)va;

	return mmap(want, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		    0) == want;
}

static bool map_all(const struct worker_args *a)
{
	void *code = (void *)(uintptr_t)VA_CODE, *smc = (void *)(uintptr_t)VA_SMC;

	if (!map_fixed(VA_DATA, 5 * 4096) || !map_fixed(VA_HIGH, 2 * 4096) || !map_fixed(VA_STACK, 2 * 4096))
		return false;
	for (unsigned p = 0; p < DATA_PAGES; p++) {
		memcpy((void *)(uintptr_t)data_pages[p].va, a->images[0].word + p * 512, 4096);
		if (!data_pages[p].writable &&
		    mprotect((void *)(uintptr_t)data_pages[p].va, 4096, PROT_READ) != 0)
			return false;
	}
	if (mmap(smc, CODE_PAGES * 4096ul, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, a->code_fd, 0) != smc)
		return false;
	return mmap(code, CODE_PAGES * 4096ul, PROT_READ | PROT_EXEC,
		    MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, a->code_fd, 0) == code;
}

void native_worker(const struct worker_args *a)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct native *n = aligned_alloc(ALTSTACK, ALTSTACK);
	stack_t ss = { .ss_sp = n, .ss_size = ALTSTACK };
	char byte;

	if (!n || !map_all(a)) {
		fprintf(stderr, "diff: native: cannot map the test's addresses: %s\n", strerror(errno));
		_exit(2);
	}
	memset(n, 0, sizeof(*n));
	n->a = a;
	n->image = 0;
	for (unsigned p = 0; p < DATA_PAGES; p++)
		n->page[p] = (uint64_t *)(uintptr_t)data_pages[p].va;
	n->host_fsbase = get_fsbase();
	n->host_gsbase = get_gsbase();
	sa.sa_sigaction = handler;
	sigaltstack(&ss, NULL);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	while (read(a->cmd_fd, &byte, 1) == 1) {
		__asm__ volatile("int3" ::: "memory");
		if (write(a->done_fd, &byte, 1) != 1)
			break;
	}
	_exit(0);
}
