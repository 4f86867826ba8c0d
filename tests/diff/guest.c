/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs cases through engine_soft, in the smallest machine that will do: RAM,
 * page tables that scatter the test's pages over it, a stub kernel (stub.S)
 * and one port.
 *
 * The vCPU never leaves vcpu_run() within a batch: the stub asks for the next
 * case with IN, and the port's callback files the previous outcome, compares
 * memory and fills the inbox. So the TLB and code cache stay warm, and
 * delivery of exceptions, IRET, XSAVE and XRSTOR get their share of testing.
 *
 * We never write to code that may have run: each batch stands on pages that
 * have not been executed before. Only the guest itself does (family smc).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "cpu/x86.h"
#include "engine/engine.h"
#include "memory.h"

#include "diff.h"
#include "guest_layout.h"

extern const uint8_t diff_stub[], diff_stub_end[], diff_stub_vectors[], diff_stub_irq[];

#define STUB_BASE  0xffffffff80000000ull
#define RAM_SIZE   (48ull << 20)
#define RAM_FRAMES (RAM_SIZE >> 12)

struct guest {
	const struct worker_args *a;
	struct guest_memory mem;
	struct engine *engine;
	struct vcpu *vcpu;
	struct cpuid_table cpuid;

	uint32_t frame_order[RAM_FRAMES]; /* a shuffled deck of page frames */
	unsigned frames_used;
	uint64_t cr3;
	uint64_t code_pa[CODE_PAGES];
	uint64_t *page[DATA_PAGES];
	uint8_t *stub_page[STUB_PAGES];

	bool running, stop;
	volatile bool irq; /* an interrupt is pending */
	uint32_t next;
	int image;
	uint32_t failure[4];
	unsigned failure_words;
};

static uint64_t new_frame(struct guest *g)
{
	return (uint64_t)g->frame_order[g->frames_used++] << 12;
}

static uint64_t *table_entry(struct guest *g, uint64_t table, uint64_t va, unsigned level)
{
	uint64_t *t = guest_range(&g->mem, table, 4096);

	return &t[va >> (12 + 9 * level) & 511];
}

static void map_frame(struct guest *g, uint64_t va, uint64_t pa, uint64_t bits)
{
	uint64_t table = g->cr3;

	for (unsigned level = 3; level > 0; level--) {
		uint64_t *e = table_entry(g, table, va, level);

		if (!*e)
			*e = new_frame(g) | 7;
		table = *e & ~0xfffull;
	}
	*table_entry(g, table, va, 0) = pa | bits | 1;
}

/* Maps one page; returns its frame. */
static uint64_t map_page(struct guest *g, uint64_t va, uint64_t bits)
{
	uint64_t pa = new_frame(g);

	map_frame(g, va, pa, bits);
	return pa;
}

#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_NX (1ull << 63)

static void shuffle_frames(struct guest *g)
{
	struct rng r = { 0x1234 };

	for (unsigned i = 0; i < RAM_FRAMES; i++)
		g->frame_order[i] = i;
	for (unsigned i = RAM_FRAMES - 1; i > 0; i--) {
		unsigned j = rnd_n(&r, i + 1);
		uint32_t t = g->frame_order[i];

		g->frame_order[i] = g->frame_order[j];
		g->frame_order[j] = t;
	}
}

static void gate(uint8_t *idt, unsigned vec, uint64_t target, unsigned dpl)
{
	uint64_t lo = (target & 0xffff) | 0x10ull << 16 | (uint64_t)(0x8e | dpl << 5) << 40 |
		      (target >> 16 & 0xffff) << 48;
	uint64_t hi = target >> 32;

	memcpy(idt + 16 * vec, &lo, 8);
	memcpy(idt + 16 * vec + 8, &hi, 8);
}

static void build_tables(struct guest *g)
{
	/* As Linux has them: VERR, LAR and the like look at descriptors. */
	uint64_t gdt[16] = {
		[1] = 0x00cf9b000000ffff,  [2] = 0x00af9b000000ffff, [3] = 0x00cf93000000ffff,
		[4] = 0x00cffb000000ffff,  [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
		[15] = 0x0040f50000000000,
	};
	uint64_t tss = STUB_BASE + STUB_TSS, top = STUB_BASE + STUB_OUTBOX + OUT_TOP;

	g->cr3 = new_frame(g);
	for (unsigned i = 0; i < CODE_PAGES; i++) {
		g->code_pa[i] = map_page(g, VA_CODE + i * 4096ull, PTE_U);
		map_frame(g, VA_SMC + i * 4096ull, g->code_pa[i], PTE_U | PTE_W);
		/* Code is also data, for whoever runs into it. */
		memcpy(guest_range(&g->mem, g->code_pa[i], 4096), g->a->code + i * 4096ul, 4096);
	}
	for (unsigned p = 0; p < DATA_PAGES; p++)
		g->page[p] = guest_range(
			&g->mem,
			map_page(g, data_pages[p].va, PTE_U | PTE_NX | (data_pages[p].writable ? PTE_W : 0)),
			4096);
	for (unsigned i = 0; i < STUB_PAGES; i++)
		g->stub_page[i] = guest_range(&g->mem, map_page(g, STUB_BASE + i * 4096ull, PTE_W), 4096);
	memcpy(g->stub_page[0], diff_stub, (size_t)(diff_stub_end - diff_stub));
	for (unsigned v = 0; v < 32; v++)
		gate(g->stub_page[1], v, STUB_BASE + (uint64_t)(diff_stub_vectors - diff_stub) + 16 * v,
		     v == 3 || v == 4 ? 3 : 0);
	gate(g->stub_page[1], STUB_IRQ, STUB_BASE + (uint64_t)(diff_stub_irq - diff_stub), 0);
	gdt[8] = 0x67 | (tss & 0xffffff) << 16 | 0x8bull << 40 | (tss >> 24 & 0xff) << 56;
	gdt[9] = tss >> 32;
	memcpy(g->stub_page[4], gdt, sizeof(gdt));
	memcpy(g->stub_page[4] + (STUB_TSS - STUB_GDT) + 4, &top, 8);
	/* No I/O permission bitmap: its offset is the segment's limit + 1. */
	g->stub_page[4][STUB_TSS - STUB_GDT + 0x66] = 0x68;
}

static struct x86_seg flat(uint16_t sel, uint16_t attr)
{
	return (struct x86_seg){ .sel = sel, .attr = attr, .limit = 0xffffffff };
}

static void initial_state(const struct guest *g, struct x86_state *s)
{
	static const uint8_t fcw[2] = { 0x7f, 0x03 }, mxcsr[2] = { 0x80, 0x1f };
	uint32_t b[4];

	memset(s, 0, sizeof(*s));
	s->rip = STUB_BASE;
	s->regs[REG_RSP] = STUB_BASE + STUB_OUTBOX + OUT_TOP;
	s->rflags = FLAG_ONE;
	s->seg[SEG_CS] = flat(0x10, 0xa09b);
	s->seg[SEG_SS] = s->seg[SEG_DS] = s->seg[SEG_ES] = flat(0x18, 0xc093);
	s->tr = (struct x86_seg){ .sel = 0x40, .attr = 0x8b, .limit = 0x67, .base = STUB_BASE + STUB_TSS };
	s->gdtr = (struct x86_dtr){ STUB_BASE + STUB_GDT, 127 };
	s->idtr = (struct x86_dtr){ STUB_BASE + STUB_IDT, 33 * 16 - 1 };
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr3 = g->cr3;
	s->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	cpuid_query(&g->cpuid, s, 0, 7, 0, b);
	s->cr4 |= (b[1] & 1u << 7 ? CR4_SMEP : 0) | (b[1] & 1u << 20 ? CR4_SMAP : 0);
	s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x400;
	s->pat = 0x0007040600070406;
	memcpy(s->xsave, fcw, 2);
	memcpy(s->xsave + 24, mxcsr, 2);
}

/* ---- between two cases ---- */

static void load_case(struct guest *g, const struct diff_case *c)
{
	uint8_t *in = g->stub_page[2];
	uint64_t frame[5] = { c->va, c->ia32 ? USER32_CS : USER_CS, c->rflags, c->regs[REG_RSP], USER_DS };
	uint64_t bv = 7, flush = c->flush;

	if (g->image != c->image) {
		for (unsigned p = 0; p < DATA_PAGES; p++)
			memcpy(g->page[p], g->a->images[c->image].word + p * 512, 4096);
		g->image = c->image;
	}
	memset(in + IN_XSAVE, 0, XSAVE_BYTES);
	memcpy(in + IN_XSAVE, c->xsave, 416);
	memcpy(in + IN_XSAVE + 512, &bv, 8);
	memcpy(in + IN_XSAVE + 576, c->xsave + 576, 256);
	memcpy(in + IN_REGS, c->regs, sizeof(c->regs));
	memcpy(in + IN_FRAME, frame, sizeof(frame));
	memcpy(in + IN_FSBASE, &c->fsbase, 8);
	memcpy(in + IN_GSBASE, &c->gsbase, 8);
	memcpy(in + IN_FLUSH, &flush, 8);
}

static void file_outcome(struct guest *g)
{
	const struct diff_case *c = &g->a->batch->cases[g->next];
	struct outcome *o = &g->a->results[g->next];
	const uint8_t *out = g->stub_page[3];
	const uint8_t *top = out + OUT_TOP;
	uint64_t v[7];
	uint16_t seg[4];

	memcpy(v, top - sizeof(v), sizeof(v));
	o->vector = (uint32_t)v[0];
	o->error = (uint32_t)v[1];
	o->rip = v[2];
	o->cs = (uint16_t)v[3];
	o->rflags = v[4];
	for (unsigned i = 0; i < 16; i++)
		memcpy(&o->regs[i], top - sizeof(v) - 8 * (i + 1), 8);
	o->regs[REG_RSP] = v[5];
	o->ss = (uint16_t)v[6];
	memcpy(&o->cr2, out + OUT_CR2, 8);
	if (o->vector != VEC_PF)
		o->cr2 = 0;
	memcpy(&o->fsbase, out + OUT_FSBASE, 8);
	memcpy(&o->gsbase, out + OUT_GSBASE, 8);
	memcpy(seg, out + OUT_SEGS, sizeof(seg));
	o->ds = seg[0];
	o->es = seg[1];
	o->fs = seg[2];
	o->gs = seg[3];
	memcpy(o->xsave, out + OUT_XSAVE, XSAVE_BYTES);
	scan_changes(o, &g->a->images[c->image], g->page);
}

static uint32_t pio_read(void *machine, unsigned cpu, uint16_t port, unsigned size)
{
	struct guest *g = machine;

	if (port != STUB_PORT)
		return ~0u;
	if (g->running) {
		file_outcome(g);
		g->a->batch->done = ++g->next;
	}
	g->running = !g->failure_words && g->next < g->a->batch->count;
	if (!g->running) {
		g->stop = true;
		g->engine->vcpu_kick(g->vcpu);
		return 0;
	}
	g->a->batch->current = g->next;
	load_case(g, &g->a->batch->cases[g->next]);
	return 1;
}

static void pio_write(void *machine, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
	struct guest *g = machine;

	if (port == STUB_PORT && g->failure_words < 4)
		g->failure[g->failure_words++] = val;
	if (g->failure_words == 4)
		g->running = false;
}

static enum vcpu_service service(void *machine, unsigned cpu)
{
	const struct guest *g = machine;

	return g->stop ? VCPU_STOP : VCPU_CONTINUE;
}

static uint64_t mmio_read(void *machine, unsigned cpu, uint64_t addr, unsigned size)
{
	return ~0ull;
}

static void mmio_write(void *machine, unsigned cpu, uint64_t addr, unsigned size, uint64_t val)
{
}

static bool msr_read(void *machine, unsigned cpu, uint32_t msr, uint64_t *val)
{
	return false;
}

static bool msr_write(void *machine, unsigned cpu, uint32_t msr, uint64_t val)
{
	return false;
}

static uint8_t tpr_read(void *machine, unsigned cpu)
{
	return 0;
}

static void tpr_write(void *machine, unsigned cpu, uint8_t tpr)
{
}

static bool interrupt_pending(void *machine, unsigned cpu)
{
	const struct guest *g = machine;

	return g->irq;
}

static int interrupt_accept(void *machine, unsigned cpu)
{
	struct guest *g = machine;

	if (!g->irq)
		return -1;
	g->irq = false;
	g->a->batch->interrupts++;
	return STUB_IRQ;
}

/* Interrupts at moments that nobody can foresee. */
static void *interrupter(void *arg)
{
	struct guest *g = arg;

	for (unsigned i = 0;; i++) {
		g->irq = true;
		g->engine->vcpu_kick(g->vcpu);
		for (volatile unsigned wait = 0; wait < (i * 2654435761u >> 22); wait++)
			;
	}
	return NULL;
}

static void halt(void *machine, unsigned cpu)
{
}

static void write_code(struct guest *g)
{
	for (unsigned i = 0; i < g->a->batch->count; i++) {
		const struct diff_case *c = &g->a->batch->cases[i];

		for (unsigned j = 0; j <= c->len; j++) {
			uint64_t off = code_offset(c) + j;
			uint8_t *page = guest_range(&g->mem, g->code_pa[off >> 12], 4096);

			page[off & 4095] = c->code[j];
		}
	}
}

static bool run_batch(struct guest *g)
{
	enum vcpu_exit e;

	write_code(g);
	g->next = 0;
	g->running = g->stop = false;
	e = g->engine->vcpu_run(g->vcpu);
	write_code(g); /* in case it has changed itself: stray reads find the same on both sides */
	if (g->failure_words) {
		fprintf(stderr,
			"diff: exception %u, error %#x in the guest's stub at %#llx, case %u of the batch\n",
			g->failure[0], g->failure[1], (unsigned long long)g->failure[3] << 32 | g->failure[2],
			g->next);
		return false;
	}
	if (e != VCPU_EXIT_STOP) {
		struct x86_state s;

		g->engine->vcpu_get_state(g->vcpu, &s);
		fprintf(stderr, "diff: the vCPU ended with %s at %#llx, CR2 %#llx, case %u of the batch\n",
			e == VCPU_EXIT_TRIPLE_FAULT ? "a triple fault" : "an engine error",
			(unsigned long long)s.rip, (unsigned long long)s.cr2, g->next);
		return false;
	}
	return true;
}

void guest_worker(const struct worker_args *a)
{
	struct vcpu_bus bus = {
		.mmio_read = mmio_read,
		.mmio_write = mmio_write,
		.pio_read = pio_read,
		.pio_write = pio_write,
		.msr_read = msr_read,
		.msr_write = msr_write,
		.tpr_read = tpr_read,
		.tpr_write = tpr_write,
		.service = service,
		.interrupt_pending = interrupt_pending,
		.interrupt_accept = interrupt_accept,
		.halt = halt,
	};
	struct guest *g = calloc(1, sizeof(*g));
	struct engine_config cfg = { .vcpus = 1, .soft_disable = a->disable };
	struct x86_state s;
	pthread_t thread;
	char byte;

	if (!g || guest_memory_create(&g->mem, RAM_SIZE) < 0) {
		fprintf(stderr, "diff: guest: no memory\n");
		_exit(2);
	}
	g->a = a;
	g->image = -1;
	shuffle_frames(g);
	build_tables(g);
	cpuid_build(&g->cpuid, 1, NULL);
	cfg.memory = &g->mem;
	g->engine = engine_soft.create(&cfg);
	if (!g->engine)
		_exit(2);
	bus.machine = g;
	g->vcpu = g->engine->vcpu_create(g->engine, 0, &bus, &g->cpuid);
	if (!g->vcpu)
		_exit(2);
	if (a->interrupts && pthread_create(&thread, NULL, interrupter, g))
		_exit(2);
	initial_state(g, &s);
	g->engine->vcpu_set_state(g->vcpu, &s);
	while (read(a->cmd_fd, &byte, 1) == 1) {
		if (!run_batch(g))
			_exit(3);
		if (write(a->done_fd, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

bool what_is_offered(struct offered *o)
{
	struct cpuid_table *t = calloc(1, sizeof(*t));
	struct x86_state *s = aligned_alloc(64, (sizeof(*s) + 63) & ~63ul);
	uint32_t one[4], seven[4], xs[4];

	memset(o, 0, sizeof(*o));
	if (!t || !s)
		return false;
	memset(s, 0, sizeof(*s));
	cpuid_build(t, 1, NULL);
	cpuid_query(t, s, 0, 1, 0, one);
	cpuid_query(t, s, 0, 7, 0, seven);
	cpuid_query(t, s, 0, 13, 1, xs);
	o->pclmul = one[2] >> 1 & 1;
	o->movbe = one[2] >> 22 & 1;
	o->aes = one[2] >> 25 & 1;
	o->fsgsbase = seven[1] & 1;
	o->adx = seven[1] >> 19 & 1;
	o->clflushopt = seven[1] >> 23 & 1;
	o->clwb = seven[1] >> 24 & 1;
	o->sha = seven[1] >> 29 & 1;
	o->gfni = seven[2] >> 8 & 1;
	o->vaes = seven[2] >> 9 & 1;
	o->vpclmul = seven[2] >> 10 & 1;
	o->xsavec = xs[0] >> 1 & 1;
	free(t);
	free(s);
	return true;
}
