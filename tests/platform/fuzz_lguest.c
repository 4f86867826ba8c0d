/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lguest platform without a CPU: hypercalls direct and from the ring with any arguments, traps of any
 * vector, interrupts, in a memory whose page tables, descriptors, gates and
 * page data the input has made, mostly so that things go on, and spoils at will.
 * (The bus with its devices: tests/virtio/fuzz_lguestbus.c.)
 *
 * Checked besides what the sanitizers see:
 *   - RAM lies between guard pages; what the host writes is announced with guest_wrote()
 *   - nothing makes level 0: no descriptor, no code segment, no stack; paging and write protection stay on
 *   - the guest ends once, with a printable reason, and nothing happens afterwards
 *   - numbers that are used as indices stay in their ranges
 *
 * How it is run: tests/fuzz/input.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"
#include "cpu/x86.h"
#include "engine/engine.h"
#include "fuzz/input.h"
#include "fuzz/ram.h"
#include "memory.h"
#include "platform/lguest/lguest.h"

#define RAM       (128u << 10)
#define LIMIT     (RAM + LG_DEVICE_PAGES * 4096u)
#define PGDIR     0x1000u
#define TABLE     0x2000u /* of virtual 0 and of PAGE_OFFSET */
#define CODE      0x4000u
#define DATA      0x6000u /* lguest_data */
#define TEXTS     0x8000u
#define STACK     0xc000u /* top; below it a page */
#define OFFSET    0xc0000000u
#define USER_CS   0x73u
#define USER_DS   0x7bu
#define MAX_STEPS 400

const struct fuzz_bounds fuzz_bounds = { .len = 2000, .runs = 2000 };

struct world {
	struct guest_memory memory;
	struct fuzz_ram ram;
	struct lguest lg;
	struct x86_state s;
	struct fuzz_input in;
	unsigned ends;
	bool killed; /* by the platform, not by the guest's own wish */
};

static uint64_t take(struct world *w, unsigned bytes)
{
	return input_take(&w->in, bytes);
}

static unsigned pick(struct world *w, unsigned n)
{
	return input_pick(&w->in, n);
}

/* ---- the machine's side ---- */

static void on_kick(void *opaque)
{
}

static void on_flush_page(void *opaque, uint32_t lin)
{
	FUZZ_CHECK(lin < 0u - LG_RESERVE_MEM);
}

static void on_flush_tlb(void *opaque)
{
}

static void on_end(void *opaque, enum lguest_end how, const char *reason)
{
	struct world *w = opaque;

	w->ends++;
	w->killed = how == LGUEST_DIED;
	FUZZ_CHECK(strlen(reason) < LGUEST_REASON_MAX);
	FUZZ_CHECK(how == LGUEST_RESTART || *reason);
	for (; *reason; reason++)
		FUZZ_CHECK(*reason >= ' ' && *reason < 127);
}

static void on_early_console(void *opaque, const char *text, unsigned len)
{
	FUZZ_CHECK(len == strlen(text) && len < 1024);
}

static bool on_notify(void *opaque, uint32_t addr)
{
	FUZZ_CHECK(addr >= RAM && addr < LIMIT);
	return addr & 4096 || addr == RAM;
}

static const struct lguest_host host = {
	.kick = on_kick,
	.flush_page = on_flush_page,
	.flush_tlb = on_flush_tlb,
	.end = on_end,
	.early_console = on_early_console,
	.notify = on_notify,
};

/* ---- what must hold ---- */

static void check(const struct world *w)
{
	const struct lguest_state *l = &w->lg.s;
	const struct x86_state *s = &w->s;

	for (unsigned i = 0; i < LG_GDT_ENTRIES; i++) {
		bool kept = i == 10 || i == 11 || i == 16 || i == 31;

		FUZZ_CHECK(!l->gdt[i] || (!kept && (l->gdt[i] >> 45 & 3) && (l->gdt[i] >> 40 & 1)));
	}
	FUZZ_CHECK(s->seg[SEG_CS].attr & SEG_ATTR_DPL);
	FUZZ_CHECK(s->seg[SEG_SS].attr & SEG_ATTR_DPL);
	FUZZ_CHECK(s->seg[SEG_CS].sel & 3);
	FUZZ_CHECK((s->cr0 & (CR0_PE | CR0_PG | CR0_WP)) == (CR0_PE | CR0_PG | CR0_WP));
	FUZZ_CHECK(s->cr3 % 4096 == 0 && s->cr3 <= LIMIT - 4096);
	FUZZ_CHECK((s->rflags & (FLAG_IF | FLAG_IOPL)) == FLAG_IF);
	FUZZ_CHECK(s->rip >> 32 == 0 && s->regs[REG_RSP] >> 32 == 0);
	FUZZ_CHECK(l->ring_next < LG_RING);
	FUZZ_CHECK((l->stack_selector & 7) <= 1 && l->stack_selector >> 3 < LG_GDT_ENTRIES);
	FUZZ_CHECK(!l->idt[2].present && !l->idt[8].present && !l->idt[15].present && !l->idt[31].present);
	FUZZ_CHECK(l->dead == (w->ends != 0));
	FUZZ_CHECK(w->ends <= 1);
	FUZZ_CHECK(!l->initialised || w->lg.data);
}

/* ---- memory that a guest would have ---- */

static void poke32(struct world *w, uint32_t addr, uint32_t val)
{
	fuzz_ram_poke(&w->ram, addr, &val, 4);
}

static void build_memory(struct world *w)
{
	uint8_t done[LG_RING];

	for (uint32_t page = 0; page < RAM >> 12; page++)
		poke32(w, TABLE + 4 * page, page << 12 | 7);
	poke32(w, PGDIR, TABLE | 7);
	poke32(w, PGDIR + 4 * (OFFSET >> 22), TABLE | 7);
	memset(done, LG_HCALL_DONE, sizeof(done));
	fuzz_ram_poke(&w->ram, DATA + LG_DATA_HCALL_STATUS, done, sizeof(done));
	fuzz_ram_poke(&w->ram, TEXTS, "Power down", 11);
}

/* Instructions that the host looks at. */
static void put_code(struct world *w)
{
	static const char *const code[] = { "\x0f\x01\xc1", "\xfa",     "\xe4\x21", "\x66\xed",
					    "\xe7\x80",     "\x66\xef", "\xf4",     "\x66\xfa" };
	const char *insn = code[pick(w, 8)];
	uint32_t at = CODE + (uint32_t)take(w, 1) * 32;

	/* Sometimes across two pages. */
	if (take(w, 1) < 32)
		at = CODE + 4096 - 1;
	fuzz_ram_poke(&w->ram, at, insn, strlen(insn));
	w->s.rip = at;
}

/* ---- what a guest does ---- */

/* Places worth naming, exactly or nearly. */
static uint32_t any_address(struct world *w)
{
	static const uint32_t base[] = { PGDIR,
					 TABLE,
					 CODE,
					 DATA,
					 TEXTS,
					 STACK,
					 RAM,
					 RAM + 4096,
					 LIMIT,
					 LIMIT - 4096,
					 OFFSET,
					 OFFSET + DATA,
					 0u - LG_RESERVE_MEM,
					 0,
					 DATA + LG_DATA_HCALLS,
					 RAM - LG_DATA_SIZE };
	uint8_t how = (uint8_t)take(w, 1);

	if (how >= 0xf0)
		return (uint32_t)take(w, 4);
	if (how & 0x10)
		return base[how & 15] + (uint32_t)(int8_t)take(w, 1);
	return base[how & 15];
}

static uint32_t any_argument(struct world *w)
{
	switch (pick(w, 4)) {
	case 0: return any_address(w);
	case 1: return (uint32_t)take(w, 1);
	case 2: return (uint32_t)take(w, 4);
	default: return 0x00008e00 | (uint32_t)take(w, 2) << 16;
	}
}

static void fill_call(struct world *w, uint32_t call[5])
{
	static const uint8_t known[] = { LG_FLUSH_ASYNC,    LG_NEW_PGTABLE,    LG_FLUSH_TLB,
					 LG_LOAD_IDT_ENTRY, LG_SET_STACK,      LG_TS,
					 LG_SET_CLOCKEVENT, LG_HALT,           LG_SET_PMD,
					 LG_SET_PTE,        LG_SET_PGD,        LG_LOAD_TLS,
					 LG_NOTIFY,         LG_LOAD_GDT_ENTRY, LG_SEND_INTERRUPTS,
					 LG_FLUSH_ASYNC };
	uint8_t how = (uint8_t)take(w, 1);

	call[0] = known[how & 15];
	for (unsigned i = 1; i < 5; i++)
		call[i] = any_argument(w);
	/* Mostly what does not end the guest at once. */
	if (how < 0xc0) {
		switch (call[0]) {
		case LG_NEW_PGTABLE: call[1] = PGDIR; break;
		case LG_SET_STACK:
			call[1] = LG_KERNEL_DS;
			call[2] = STACK;
			call[3] &= 1;
			break;
		case LG_LOAD_IDT_ENTRY:
			call[1] &= 0xff;
			call[3] = (call[3] & 0xffff60ff) | 0x8e00;
			break;
		case LG_LOAD_GDT_ENTRY: call[1] %= LG_GDT_ENTRIES; break;
		case LG_SET_PTE:
			call[2] %= 0u - LG_RESERVE_MEM;
			call[3] = call[3] % LIMIT & ~0x80u;
			break;
		case LG_SET_PGD:
			call[1] = PGDIR;
			call[2] = call[2] & 1 ? 0 : OFFSET >> 22;
			break;
		case LG_LOAD_TLS: call[1] %= RAM - 24; break;
		case LG_NOTIFY: call[1] = call[1] % 2 ? TEXTS : RAM + 4096; break;
		default: break;
		}
	}
	if (how >= 0xf8)
		call[0] = how & 1 ? LG_SHUTDOWN : (uint32_t)take(w, 1);
}

static void hypercall(struct world *w, const uint32_t call[5])
{
	const struct vcpu_trap trap = { .vector = LG_TRAP_HYPERCALL, .software = true, .start = w->s.rip };

	w->s.regs[REG_RAX] = call[0];
	w->s.regs[REG_RBX] = call[1];
	w->s.regs[REG_RCX] = call[2];
	w->s.regs[REG_RDX] = call[3];
	w->s.regs[REG_RSI] = call[4];
	w->s.rip = (uint32_t)(w->s.rip + 2);
	lguest_trap(&w->lg, &w->s, &trap);
}

static void queue_call(struct world *w)
{
	uint32_t call[5], slot = take(w, 1) < 200 ? w->lg.s.ring_next : pick(w, LG_RING);
	uint8_t waiting = take(w, 1) < 240 ? 0 : (uint8_t)take(w, 1);

	fill_call(w, call);
	fuzz_ram_poke(&w->ram, w->lg.s.data + LG_DATA_HCALLS + slot * 20, call, sizeof(call));
	fuzz_ram_poke(&w->ram, w->lg.s.data + LG_DATA_HCALL_STATUS + slot, &waiting, 1);
}

static void init(struct world *w)
{
	uint8_t how = (uint8_t)take(w, 1);
	uint32_t addr = how < 0xe0 ? DATA : any_address(w), words = addr + LG_DATA_NOIRQ_START;
	const uint32_t call[5] = { LG_INIT, addr };

	words += how & 1 ? 4 : 0;
	poke32(w, words, CODE + 0x80);
	poke32(w, words + 4, CODE + 0x90);
	poke32(w, words + 8, how < 0xf0 ? OFFSET : any_address(w));
	poke32(w, words + 12, how < 0xf8 ? LG_SYSCALL : (uint32_t)take(w, 1));
	hypercall(w, call);
}

/* All gates at once, and a stack. */
static void good_gates(struct world *w)
{
	static const uint8_t types[] = { 0x8e, 0x8f, 0xee, 0xef }; /* level 0 or 3 */
	uint8_t type = types[pick(w, 4)];

	for (uint32_t n = 0; n < 256; n++)
		hypercall(w, (const uint32_t[5]){ LG_LOAD_IDT_ENTRY, n, CODE + 16 * n, (uint32_t)type << 8 });
	hypercall(w, (const uint32_t[5]){ LG_SET_STACK, LG_KERNEL_DS, STACK, 1 });
	hypercall(w, (const uint32_t[5]){ LG_LOAD_GDT_ENTRY, USER_CS >> 3, 0xffff, 0x00cffb00 });
	hypercall(w, (const uint32_t[5]){ LG_LOAD_GDT_ENTRY, USER_DS >> 3, 0xffff, 0x00cff300 });
}

/* The engine has gone to another level, or anywhere. */
static void move(struct world *w)
{
	uint8_t how = (uint8_t)take(w, 1);
	const struct x86_seg code = { .limit = 0xffffffff,
				      .attr = SEG_ATTR_G | SEG_ATTR_DB | SEG_ATTR_P | 0x1b };
	const struct x86_seg data = { .limit = 0xffffffff,
				      .attr = SEG_ATTR_G | SEG_ATTR_DB | SEG_ATTR_P | 0x13 };
	unsigned level = how & 1 ? 3 : 1;

	w->s.seg[SEG_CS] = code;
	w->s.seg[SEG_SS] = data;
	w->s.seg[SEG_CS].sel = level == 3 ? USER_CS : LG_KERNEL_CS;
	w->s.seg[SEG_SS].sel = level == 3 ? USER_DS : LG_KERNEL_DS;
	w->s.seg[SEG_CS].attr |= (uint16_t)(level << SEG_ATTR_DPL_SHIFT);
	w->s.seg[SEG_SS].attr |= (uint16_t)(level << SEG_ATTR_DPL_SHIFT);
	if (how & 2)
		w->s.seg[SEG_SS].base = take(w, 4);
	if (how & 4)
		w->s.seg[SEG_CS].base = take(w, 4);
	w->s.regs[REG_RSP] = how & 8 ? any_address(w) : STACK;
	w->s.rip = how & 16 ? any_address(w) : CODE + (uint32_t)take(w, 1);
	w->s.cr2 = any_address(w);
	w->s.rflags = FLAG_IF | FLAG_ONE | (how & 32 ? take(w, 2) & (FLAG_TF | FLAG_NT | 0xd5) : 0);
}

static void trap(struct world *w)
{
	uint8_t how = (uint8_t)take(w, 1);
	struct vcpu_trap t = { .vector = (uint8_t)take(w, 1), .start = w->s.rip };

	if (how & 1)
		t.vector &= 31;
	if (how & 2) {
		t.software = true;
		w->s.rip = (uint32_t)(w->s.rip + 2);
	} else {
		t.vector &= 31;
		t.has_error = t.vector == 8 || (t.vector >= 10 && t.vector <= 14) || t.vector == 17;
		if (t.has_error && (how & 4))
			t.error = (uint32_t)take(w, 2);
	}
	if (how & 8)
		put_code(w);
	if ((how & 0x30) == 0x10)
		t = (struct vcpu_trap){ .vector = VEC_GP, .has_error = true, .start = w->s.rip };
	if ((how & 0x30) == 0x20)
		t = (struct vcpu_trap){ .vector = VEC_UD, .start = w->s.rip };
	lguest_trap(&w->lg, &w->s, &t);
}

static void scribble(struct world *w)
{
	uint32_t at, val = (uint32_t)take(w, 4);

	switch (pick(w, 6)) {
	case 0: at = PGDIR + 4 * (take(w, 1) & 1 ? 0 : OFFSET >> 22); break;
	case 1:
		at = TABLE + 4 * pick(w, 32);
		val = take(w, 1) & 1 ? val : (val % LIMIT & ~0xfffu) | (val & 7);
		break;
	case 2: at = w->lg.s.data + 4 * pick(w, 6); break;
	case 3: at = w->lg.s.data + LG_DATA_HCALL_STATUS + (uint32_t)take(w, 2) % 1400; break;
	case 4:
		at = w->lg.s.data + LG_DATA_IRQ_ENABLED;
		val &= 0x246;
		break;
	default: at = any_address(w); break;
	}
	/* The guest could not write there at all. */
	if (at <= LIMIT - 4)
		poke32(w, at, val);
}

/* Memory keeps what is in it besides: clearing a MiB takes longer than all the rest. */
static void begin(struct world *w)
{
	lguest_reset(&w->lg);
	w->ends = 0;
	build_memory(w);
	lguest_start(&w->lg, CODE, PGDIR, &w->s);
	w->s.regs[REG_RSP] = STACK;
}

/* Dead is dead: nothing that the machine may still do before it notices changes anything. */
static void check_dead(struct world *w)
{
	struct x86_state before = w->s;
	const struct vcpu_trap t = { .vector = 3, .software = true };

	lguest_trap(&w->lg, &w->s, &t);
	lguest_enter(&w->lg, &w->s);
	lguest_bad_address(&w->lg, 0x12345678);
	FUZZ_CHECK(memcmp(&before, &w->s, sizeof(before)) == 0);
	FUZZ_CHECK(w->ends == 1 && lguest_wakes(&w->lg));
}

static void step(struct world *w)
{
	uint8_t op = (uint8_t)take(w, 1);
	uint32_t call[5];

	switch (op & 31) {
	case 0:
	case 1: init(w); break;
	case 2: good_gates(w); break;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
		fill_call(w, call);
		hypercall(w, call);
		break;
	case 9:
	case 10:
	case 11: queue_call(w); break;
	case 12:
	case 13: hypercall(w, (const uint32_t[5]){ op & 1 ? LG_FLUSH_ASYNC : LG_SEND_INTERRUPTS }); break;
	case 14:
	case 15:
	case 16:
	case 17:
	case 18: trap(w); break;
	case 19:
	case 20: move(w); break;
	case 21:
	case 22:
	case 23: scribble(w); break;
	case 24:
	case 25: lguest_raise_irq(&w->lg, 1 + pick(w, LG_IRQS - 1)); break;
	case 26:
	case 27:
	case 28: lguest_enter(&w->lg, &w->s); break;
	case 29: w->s.halted = w->lg.s.initialised && (take(w, 1) & 1); break;
	case 30:
		FUZZ_CHECK(lguest_deadline(&w->lg) > 0);
		/* Only something pending wakes a guest that has begun. */
		FUZZ_CHECK(!lguest_wakes(&w->lg) || (w->lg.s.initialised && w->lg.s.pending));
		break;
	case 31:
		if (take(w, 1) < 4)
			lguest_bad_address(&w->lg, take(w, 8));
		break;
	}
	check(w);
	if (!w->lg.s.dead)
		return;
	check_dead(w);
	begin(w);
	/* Most inputs want to get further than before LGUEST_INIT. */
	if (take(w, 1) & 3)
		init(w);
	check(w);
	if (w->lg.s.dead)
		begin(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world *w; /* making its memory takes longer than an input */

	if (!w) {
		w = calloc(1, sizeof(*w));
		FUZZ_CHECK(w);
		FUZZ_CHECK(guest_memory_create(&w->memory, LIMIT) == 0);
		fuzz_ram_init(&w->ram, &w->memory);
	}
	lguest_init(&w->lg, &w->memory, RAM, 2000000, &host, w);
	fuzz_ram_clear(&w->ram);
	begin(w);
	w->in = (struct fuzz_input){ data, len };
	for (unsigned i = 0; i < MAX_STEPS && w->in.left; i++)
		step(w);
	fuzz_ram_check(&w->ram);
	return 0;
}
