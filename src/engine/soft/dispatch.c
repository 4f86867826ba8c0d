// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The run loop: finds the block for the guest's RIP, runs it, and does what
 * translated code left for. Fast C.
 *
 *   soft_run -> next_block -> enter thunk -> ... -> exit thunk -> handle -> ...
 *
 * `handle` either wants to resume inside the block (a memory access is
 * resolved, a system instruction is done) or to dispatch anew at s.rip.
 */
#include "engine/soft/dispatch.h"

#include "engine/soft/access.h"
#include "engine/soft/block.h"
#include "engine/soft/cross.h"
#include "engine/soft/event.h"
#include "engine/soft/fpu.h"
#include "engine/soft/give_back.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

#define DR6_BS (1u << 14)

/* ---- the jump caches ---- */

/* An instruction that begins in the last bytes of a page may reach into the next. */
#define INSN_REACH 14

static void jc_forget_pages(struct soft_vcpu *v, enum tlb_view view, uint64_t lin)
{
	unsigned first = jc_page_bit(lin), second = jc_page_bit(lin + INSN_REACH);

	v->jc_pages[view][first / 64] &= ~(1ull << (first % 64));
	v->jc_pages[view][second / 64] &= ~(1ull << (second % 64));
}

void jc_flush(struct soft_vcpu *v, enum tlb_view view)
{
	struct jump_cache *jc = &v->jc[view];
	uint32_t count = v->jc_log_count[view];

	if (view == VIEW_USER)
		page_va_flush(v);
	if (!count)
		return;
	if (count > JC_LOG_SIZE) {
		for (unsigned i = 0; i < JC_SIZE; i++)
			jc->tag[i] = jc_none(i);
	} else {
		for (unsigned n = 0; n < count; n++) {
			unsigned i = v->jc_log[view][n];

			if (count <= JC_LOG_SHORT && jc->tag[i] != jc_none(i))
				jc_forget_pages(v, view, jc->tag[i]);
			jc->tag[i] = jc_none(i);
		}
	}
	/* After a short log, bits of what had been overwritten may stay: they only make us look. */
	if (count > JC_LOG_SHORT) {
		for (unsigned i = 0; i < (1u << JC_PAGE_BITS) / 64; i++)
			v->jc_pages[view][i] = 0;
	}
	v->jc_log_count[view] = 0;
	v->jc_nonglobal[view] = false;
}

void jc_forget_code(struct soft_vcpu *v, uint32_t from, uint32_t to)
{
	uint64_t first = (uint64_t)(uintptr_t)v->c.engine->code_rx + from;

	for (unsigned view = 0; view < VIEW_COUNT; view++) {
		struct jump_cache *jc = &v->jc[view];

		if (!v->jc_log_count[view])
			continue;
		for (unsigned i = 0; i < JC_SIZE; i++)
			if (jc->host[i] - first < to - from)
				jc->tag[i] = jc_none(i);
	}
}

void jc_note_page(struct soft_vcpu *v, enum tlb_view view, uint64_t lin)
{
	unsigned bit = jc_page_bit(lin);

	v->jc_pages[view][bit / 64] |= 1ull << (bit % 64);
}

void jc_forget_page(struct soft_vcpu *v, uint64_t page)
{
	unsigned bit = jc_page_bit(page);

	for (unsigned view = 0; view < VIEW_COUNT; view++) {
		struct jump_cache *jc = &v->jc[view];
		uint32_t kept = 0;
		bool whole;

		if (!v->jc_nonglobal[view] || !(v->jc_pages[view][bit / 64] >> (bit % 64) & 1))
			continue;
		v->stats.jc_forgets++;
		if (view == VIEW_USER)
			page_va_forget(v, bit);
		/* All pages of this bit, so that the bit goes as well. */
		whole = v->jc_log_count[view] > JC_LOG_SIZE;
		for (unsigned n = 0; n < (whole ? JC_SIZE : v->jc_log_count[view]); n++) {
			uint16_t i = whole ? (uint16_t)n : v->jc_log[view][n];
			uint64_t tag = jc->tag[i];

			if (jc_page_bit(tag) == bit || jc_page_bit(tag + INSN_REACH) == bit)
				jc->tag[i] = jc_none(i);
			else if (!whole)
				v->jc_log[view][kept++] = i;
		}
		if (!whole)
			v->jc_log_count[view] = kept;
		v->jc_pages[view][bit / 64] &= ~(1ull << (bit % 64));
	}
}

void jc_flush_local(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		if (v->jc_nonglobal[i])
			jc_flush(v, (enum tlb_view)i);
}

/* An empty one need not be in memory. */
static void jc_give_back(struct jump_cache *jc)
{
	bool zeros = give_back(jc, sizeof(*jc));

	for (unsigned i = 0; zeros && i < JC_FIRST; i++)
		jc->tag[i] = jc_none(i);
}

/* Jump caches hold blocks of one mode word. */
static void jc_set_mode(struct soft_vcpu *v, enum tlb_view view, uint32_t mode)
{
	if (v->jc_mode[view] == mode)
		return;
	jc_flush(v, view);
	/* Until SMAP is on, all of a kernel runs in a view that is hardly used any more then. */
	if ((v->jc_mode[view] ^ mode) & MODE_SMAP)
		jc_give_back(&v->jc[view]);
	v->jc_mode[view] = mode;
}

static void jc_put(struct soft_vcpu *v, enum tlb_view view, uint32_t i, uint64_t lin, uint64_t host)
{
	if (v->jc[view].tag[i] == jc_none(i)) {
		if (v->jc_log_count[view] < JC_LOG_SIZE)
			v->jc_log[view][v->jc_log_count[view]] = (uint16_t)i;
		/* One past the size: the log is not complete. */
		if (v->jc_log_count[view] <= JC_LOG_SIZE)
			v->jc_log_count[view]++;
	}
	v->jc[view].tag[i] = lin;
	v->jc[view].host[i] = host;
}

static void jc_insert(struct soft_vcpu *v, enum tlb_view view, uint64_t lin, uint64_t host, bool global)
{
	const struct jump_cache *jc = &v->jc[view];
	uint32_t i = jc_index(lin);

	/* Two that fight for one slot, each time they are called, share it and its neighbour. */
	if (jc->tag[i] != jc_none(i) && jc->tag[i] != lin)
		jc_put(v, view, i ^ 1, jc->tag[i], jc->host[i]);
	jc_put(v, view, i, lin, host);
	jc_note_page(v, view, lin);
	jc_note_page(v, view, lin + INSN_REACH);
	if (!global)
		v->jc_nonglobal[view] = true;
}

unsigned jc_save(const struct soft_vcpu *v, struct saved_jump *to, unsigned max, unsigned turn)
{
	const struct jump_cache *jc = &v->jc[VIEW_USER];
	unsigned count = v->jc_log_count[VIEW_USER], n = 0;

	if (count > JC_LOG_SIZE)
		return 0;
	/* The newest. */
	for (unsigned i = count > max ? count - max : 0; i < count; i++) {
		unsigned slot = v->jc_log[VIEW_USER][i];

		/* In the upper half there may be global pages, which INVLPG takes from all PCIDs. */
		if (jc->tag[slot] != jc_none(slot) && !(jc->tag[slot] >> 63) &&
		    (slot * 0x9e3779b1u >> 8) % SPACE_TURNS != turn % SPACE_TURNS)
			to[n++] = (struct saved_jump){ jc->tag[slot], jc->host[slot] };
	}
	return n;
}

void jc_restore(struct soft_vcpu *v, const struct saved_jump *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		jc_insert(v, VIEW_USER, from[i].tag, from[i].host, false);
}

/* Host code for @lin, or 0. */
static uint64_t jc_find(const struct soft_vcpu *v, enum tlb_view view, uint64_t lin)
{
	const struct jump_cache *jc = &v->jc[view];
	uint32_t i = jc_index(lin);

	return jc->tag[i] == lin ? jc->host[i] : jc->tag[i ^ 1] == lin ? jc->host[i ^ 1] : 0;
}

static void jc_remove(struct soft_vcpu *v, uint64_t lin)
{
	uint32_t first = jc_index(lin);

	for (unsigned view = 0; view < VIEW_COUNT; view++)
		for (uint32_t n = 0; n < 2; n++)
			if (v->jc[view].tag[first ^ n] == lin)
				v->jc[view].tag[first ^ n] = jc_none(first ^ n);
}

/* ---- where are we? ---- */

static uint64_t code_base(const struct soft_cpu *c)
{
	return c->mode & MODE_CS64 ? 0 : c->s.seg[SEG_CS].base;
}

/* ---- interrupts and time ---- */

/* After a kick. False: the machine wants the vCPU to stop. */
static bool service(struct soft_vcpu *v)
{
	struct soft_cpu *c = &v->c;
	bool stop, pending, again = false;
	int vector = -1;

	/* With a barrier: what is asked for after this is asked for by a new request. */
	__atomic_exchange_n(&c->exit_request, 0, __ATOMIC_SEQ_CST);
	c->irq_open = 0;
	v->stats.polls++;
	mmu_refresh_slots(v);
	fpu_park(c);
	stop = c->bus.service(c->bus.machine, c->index) == VCPU_STOP;
	pending = !stop && !c->bus.enter && c->bus.interrupt_pending(c->bus.machine, c->index);
	if (pending && c->iflag && !c->s.int_shadow) {
		vector = c->bus.interrupt_accept(c->bus.machine, c->index);
		again = vector >= 0 && c->bus.interrupt_pending(c->bus.machine, c->index);
		pending = false;
	}
	fpu_unpark(c);
	if (stop) {
		c->stop = true;
		return false;
	}
	if (c->bus.enter)
		event_enter(c);
	c->irq_waiting = pending;
	if (vector >= 0) {
		v->stats.interrupts++;
		c->s.halted = false;
		event_interrupt(c, (uint8_t)vector);
		/* A more urgent one; IF is off mostly, then it waits. */
		c->irq_waiting = again && !c->iflag;
		if (again && c->iflag)
			c->exit_request = 1;
	}
	return true;
}

static bool sleep_until_event(struct soft_vcpu *v)
{
	struct soft_cpu *c = &v->c;

	v->stats.halts++;
	while (c->s.halted) {
		if (!service(v))
			return false;
		if (!c->s.halted)
			break;
		fpu_park(c);
		c->bus.halt(c->bus.machine, c->index);
		fpu_unpark(c);
	}
	return true;
}

/* ---- finding code ---- */

/* Makes writes to the page visible to us. */
static void watch_page(struct soft_vcpu *v, uint64_t phys)
{
	struct soft_engine *e = v->c.engine;
	int64_t page = ram_page(e, phys);

	if (page_has_code(e, page))
		return;
	page_watch(e, (uint32_t)page);
	mmu_protect_page(v, page);
}

static struct block *make_block(struct soft_vcpu *v, uint64_t phys, uint32_t mode, bool absolute,
				uint64_t page_va, uint64_t phys2, enum block_head head, bool *need_second)
{
	struct soft_engine *e = v->c.engine;
	struct block *b = NULL;

	*need_second = false;
	for (unsigned tries = 0; tries < 2 && !b; tries++) {
		watch_page(v, phys);
		if (phys2 != ~0ull)
			watch_page(v, phys2);
		fpu_park(&v->c);
		b = translate(e, phys, mode, absolute, page_va, phys2, head, need_second);
		if (!e->first_run)
			soft_note_first_run(e);
		fpu_unpark(&v->c);
		if (b) {
			block_insert(e, b);
			return b;
		}
		if (*need_second)
			return NULL;
		block_next_region(e);
	}
	return NULL;
}

/*
 * The block at linear address @lin, translated if need be, with @head or more. NULL: c->fault is
 * set (the fetch faulted), or *@fatal.
 */
static struct block *find_block(struct soft_vcpu *v, uint64_t lin, uint32_t mode, enum block_head head,
				bool *global, bool *fatal)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	uint64_t phys, phys2 = ~0ull, page_va = lin & PAGE_MASK;
	bool absolute, need_second, second_global;
	struct block *b;

	*fatal = false;
	if (mmu_translate_code(v, lin, &phys, global))
		return NULL;
	if (ram_page(e, phys) < 0) {
		/* Code in MMIO or a hole reads as all ones: an undefined opcode on a real machine. */
		c->fault = (struct soft_fault){ .vector = VEC_UD };
		return NULL;
	}
	absolute = *global && (mode & MODE_CS64);
	b = block_find(e, phys, mode, absolute, page_va, ~0ull);
	if (b && !b->second) {
		if (b->head <= head)
			return b;
		block_drop(e, b);
		v->stats.heads++;
		b = NULL;
	}
	need_second = b != NULL;
	if (!need_second) {
		b = make_block(v, phys, mode, absolute, page_va, ~0ull, head, &need_second);
		if (b)
			return b;
		if (!need_second) {
			*fatal = true;
			return NULL;
		}
	}
	/* The first instruction reaches into the next page. */
	if (mmu_translate_code(v, page_va + PAGE_SIZE, &phys2, &second_global))
		return NULL;
	*global = *global && second_global;
	absolute = absolute && second_global;
	if (ram_page(e, phys2) < 0) {
		c->fault = (struct soft_fault){ .vector = VEC_UD };
		return NULL;
	}
	b = block_find(e, phys, mode, absolute, page_va, phys2 & PAGE_MASK);
	if (b)
		return b;
	b = make_block(v, phys, mode, absolute, page_va, phys2, HEAD_FULL, &need_second);
	*fatal = !b;
	return b;
}

/* Code that must not run again goes: while nobody is inside any. */
static void clean_up(struct soft_vcpu *v)
{
	struct soft_engine *e = v->c.engine;

	if (dma_pending(e))
		dma_drain(v);
	if (e->flush_wanted) {
		e->flush_wanted = e->region_wanted = false;
		block_flush_all(e);
	}
	if (e->region_wanted) {
		e->region_wanted = false;
		block_next_region(e);
	}
	if (e->huge && hugepages_due(e->huge)) {
		fpu_park(&v->c);
		hugepages_wake(e->huge);
		fpu_unpark(&v->c);
	}
}

/* An instruction breakpoint at @lin? Then #DB is set up and true returned. */
static bool code_breakpoint(struct soft_cpu *c, uint64_t lin)
{
	uint32_t hit = 0;

	if (c->sysflags & FLAG_RF)
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((c->s.dr[7] >> (2 * i) & 3) && (c->s.dr[7] >> (16 + 4 * i) & 3) == 0 && c->s.dr[i] == lin)
			hit |= 1u << i;
	if (!hit)
		return false;
	c->s.dr[6] = (c->s.dr[6] & ~0xfull) | hit;
	c->fault = (struct soft_fault){ .vector = VEC_DB };
	return true;
}

/* The instruction in the shadow is behind us: what was held off may come. */
static void end_shadow_step(struct soft_vcpu *v)
{
	if (!v->shadow_step)
		return;
	v->shadow_step = false;
	if (v->shadow_exit_request | v->c.irq_waiting)
		v->c.exit_request = 1;
}

/* Does the exit @x, taken with vcpu.vbase, lead to @lin? Not if an interrupt has come between. */
static bool exit_leads_to(const struct soft_vcpu *v, const struct block_exit *x, uint64_t lin)
{
	const struct block *from = exit_block(x);
	uint64_t page = from->absolute            ? block_page_va(from)
			: exit_is_proven(from, x) ? v->vbase
						  : lin & PAGE_MASK;

	return page + (uint64_t)(int64_t)x->target == lin;
}

/* How the block at @lin is going to be entered. */
static enum block_head head_for(const struct soft_vcpu *v, uint64_t lin, uint32_t mode)
{
	const struct block_exit *x = v->link_from;

	if (!x)
		return mode & MODE_UNGROUPED ? HEAD_POLL : HEAD_FULL;
	if (v->link_generation != v->stats.code_flushes || !exit_leads_to(v, x, lin))
		return HEAD_FULL;
	return x->forward ? HEAD_NONE : HEAD_POLL;
}

/* The exit @x, taken with vcpu.vbase, may have led to @b, at @lin. */
static void link_exit(struct soft_vcpu *v, struct block_exit *x, struct block *b, uint64_t lin, uint32_t mode)
{
	struct soft_engine *e = v->c.engine;
	const struct block *from = exit_block(x);
	bool proven = exit_is_proven(from, x), same = (from->phys ^ b->phys) < PAGE_SIZE && !b->second;
	bool fits = exit_mode(x) == mode && from->absolute == b->absolute;

	if (!exit_leads_to(v, x, lin))
		return;
	if (!proven) {
		if (fits && (x->cross ? b->absolute : same)) {
			block_link(e, x, b);
			v->stats.links++;
		} else {
			x->never = b->second;
		}
		return;
	}
	if (!fits)
		return;
	/* What has led to another block before, or to another place, has moved. */
	x->moved += x->to ? x->to != meta_ref(e, b) || page_va_differs(v, b->phys, lin) : 0;
	if (b->second || x->moved == MOVED_MAX || !page_va_note(v, b->phys, lin)) {
		block_never_link(e, x);
	} else if (x->to != meta_ref(e, b)) {
		block_unlink_exit(e, x);
		block_link(e, x, b);
		v->stats.links++;
	}
}

/*
 * Host code for s.rip in the current mode, with vbase and x11 ready. 0: a
 * fault has been delivered, look again; or *@fatal.
 */
static uint64_t next_block(struct soft_vcpu *v, bool *fatal)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	enum tlb_view view = mode_view(c->mode);
	uint32_t mode = c->mode;
	uint64_t lin = c->s.rip + code_base(c);
	bool global, ungrouped = v->ungrouped;
	struct block *b;
	uint64_t host;

	*fatal = false;
	v->ungrouped = false;
	v->stats.dispatches++;
	if (!(mode & MODE_CS64))
		lin = (uint32_t)lin;
	v->stepping = mode & (MODE_TF | MODE_HWBP);
	if (c->s.int_shadow) {
		/* One instruction by itself, with interrupts held off. */
		mode |= MODE_TF;
		v->shadow_step = true;
		c->s.int_shadow = false;
		v->shadow_exit_request = __atomic_exchange_n(&c->exit_request, 0, __ATOMIC_SEQ_CST) |
					 c->irq_open;
		c->irq_open = 0;
		clean_up(v); /* that may have been what the request was for */
	}
	if (mode & (MODE_TF | MODE_HWBP | MODE_CHECK(SEG_CS))) {
		if ((mode & MODE_CHECK(SEG_CS)) && c->s.rip > c->s.seg[SEG_CS].limit) {
			soft_gp(c, 0);
			goto fault;
		}
		if ((mode & MODE_HWBP) && code_breakpoint(c, lin))
			goto fault;
		b = find_block(v, lin, mode, HEAD_FULL, &global, fatal);
		if (!b)
			goto none;
		v->vbase = lin & PAGE_MASK;
		return (uint64_t)(uintptr_t)e->code_rx + block_direct_entry(b);
	}
	c->sysflags &= ~FLAG_RF; /* matters for breakpoints only */

	jc_set_mode(v, view, mode);
	if (mode & MODE_SMAP) /* STAC and CLAC go over to the other supervisor view without coming here */
		jc_set_mode(v, view == VIEW_KERNEL ? VIEW_KERNEL_AC : VIEW_KERNEL, mode ^ MODE_AC);
	host = ungrouped || v->link_from ? 0 : jc_find(v, view, lin);
	if (host) {
		v->x11 = lin;
		return host;
	}
	if (ungrouped)
		mode |= MODE_UNGROUPED;
	b = find_block(v, lin, mode, head_for(v, lin, mode), &global, fatal);
	if (!b)
		goto none;
	if (!(mode & (MODE_CSBASE | MODE_UNGROUPED)) && !v->link_from)
		jc_insert(v, view, lin, (uint64_t)(uintptr_t)e->code_rx + b->hot, b->absolute);
	if (v->link_from && !(e->disable & SOFT_NO_LINKS) && v->link_generation == v->stats.code_flushes)
		link_exit(v, v->link_from, b, lin, mode);
	if (mode & MODE_USER)
		(void)page_va_note(v, b->phys, lin);
	v->vbase = lin & PAGE_MASK;
	return (uint64_t)(uintptr_t)e->code_rx + block_direct_entry(b);

none:
	if (*fatal)
		return 0;
fault:
	end_shadow_step(v);
	deliver_fault(v);
	return 0;
}

/* ---- everything else ---- */

/* Does @op keep interrupts away from the next instruction? @iflag: as it was before. */
static bool opens_shadow(const struct soft_cpu *c, const struct sysop *op, bool iflag)
{
	switch (op->id) {
	case SYSOP_STI: return !iflag && c->iflag;
	case SYSOP_MOV_TO_SREG:
	case SYSOP_POP_SREG: return op->reg == SEG_SS;
	default: return false;
	}
}

static bool repeats(const struct sysop *op)
{
	return op->rep && (op->id == SYSOP_STRING || op->id == SYSOP_INS || op->id == SYSOP_OUTS);
}

static enum after run_sysop(struct soft_vcpu *v, const struct block *b, const struct desc *d, uint64_t *pc)
{
	struct soft_cpu *c = &v->c;
	const struct sysop *op = d->sys.op;
	bool iflag = c->iflag;
	enum soft_next next;

	c->s.rip = block_rip(v, b, d->off);
	c->next_rip = wrap_ip(c, c->s.rip + d->len);
	v->current = b;
	v->current_stale = false;
	v->no_step = op->id == SYSOP_INT || op->id == SYSOP_INT3 || op->id == SYSOP_INT1 ||
		     op->id == SYSOP_SYSCALL || op->id == SYSOP_SYSENTER;
	if (d->kind == DESC_STRING) {
		next = string_run(v, op);
	} else {
		v->stats.sysops++;
		next = sysop_table[op->id](c, op);
	}
	/* A port, or an instruction that waits for others' changes to code (CPUID). */
	if (dma_pending(c->engine))
		dma_drain(v);
	v->current = NULL;
	if (op->id == SYSOP_INTO && next == NEXT_DISPATCH)
		v->no_step = true; /* taken */
	if (c->s.int_shadow && op->id != SYSOP_STI)
		v->no_step = true; /* MOV SS and its like hold back #DB as well (SDM vol. 3, 6.8.3) */
	switch (next) {
	case NEXT_CONTINUE:
		if (v->current_stale || b->invalid) {
			/* The next instruction would have been in this block, and nothing before it. */
			if (d->kind == DESC_SYSOP && opens_shadow(c, op, iflag))
				c->s.int_shadow = true;
			c->s.rip = c->next_rip;
			return DISPATCH;
		}
		*pc = (uint64_t)(uintptr_t)c->engine->code_rx + d->resume;
		return RESUME;
	case NEXT_FAULT:
		deliver_fault(v);
		v->faulted = true;
		break;
	case NEXT_DISPATCH: v->unfinished = repeats(op) && c->s.rip != c->next_rip; break;
	}
	return DISPATCH;
}

static enum after check_segment(struct soft_vcpu *v, const struct block *b, const struct desc *d,
				uint64_t *pc)
{
	uint64_t lin;

	if (soft_linear(&v->c, d->access.seg, v->x11, d->access.size, d->access.write, &lin))
		return fault_at(v, b, d);
	v->x11 = lin;
	*pc = (uint64_t)(uintptr_t)v->c.engine->code_rx + d->resume;
	return RESUME;
}

/* The host CPU refused a copied instruction: it is the guest's fault. */
static enum after host_fault(struct soft_vcpu *v)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	uint32_t off = (uint32_t)(v->host_fault.fault_pc - v->host_fault.code);
	const struct insn_map *map = NULL;
	const struct block *b;
	unsigned page_off;
	uint16_t mask = 0;
	uint32_t site;

	v->stats.host_faults++;
	site = off >= CODE_HOT_SIZE ? trampoline_at(e, off) : 0;
	if (site) {
		struct desc d;

		site_read(e, site, &d);
		b = meta_at(e, d.block);
		page_off = d.off;
	} else {
		b = block_at(e, off, &map);
		if (!b)
			return STOP;
		page_off = ((b->phys & (PAGE_SIZE - 1)) + map->guest) & (PAGE_SIZE - 1);
		mask = flags_ax_mask(flags_unpack((uint8_t)map->host_flags));
	}
	if (v->host_fault.fault_vector == VEC_PF)
		return STOP; /* guest RAM cannot be had: the host is out of memory */
	if (mask) {
		uint64_t f = v->host_fault.fault_flags;
		uint16_t ax = (uint16_t)(((f & 0xd5) | 2) << 8 | ((f & FLAG_OF) ? 1 : 0));

		c->aflags = (uint16_t)((c->aflags & ~mask) | (ax & mask));
	}
	c->s.rip = block_rip(v, b, page_off);
	if ((b->mode & MODE_USER) && (b->mode & MODE_CS64) && !(b->mode & MODE_UNGROUPED) && !v->stepping &&
	    !v->shadow_step &&
	    (v->host_fault.fault_vector == VEC_GP || v->host_fault.fault_vector == VEC_SS)) {
		/* Perhaps an empty slot or stack entry was matched: the plain checks tell what it is. */
		v->ungrouped = true;
		return DISPATCH;
	}
	c->fault = (struct soft_fault){ .vector = v->host_fault.fault_vector,
					.has_error = v->host_fault.fault_vector == VEC_GP ||
						     v->host_fault.fault_vector == VEC_SS ||
						     v->host_fault.fault_vector == VEC_AC };
	if (v->host_fault.fault_vector == VEC_XM && !(c->s.cr4 & CR4_OSXMMEXCPT))
		c->fault.vector = VEC_UD;
	deliver_fault(v);
	v->faulted = true;
	return DISPATCH;
}

/* What R9 held when the block was left. */
static uint64_t addend_of(const struct soft_vcpu *v, const struct block *b, const struct desc *d)
{
	return d->group == STACK_GROUP ? v->stack[stack_entry(b->phys)].addend : v->group_addend[d->group];
}

static enum after handle(struct soft_vcpu *v, const struct desc *d, uint64_t *pc)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	const struct block *b = meta_at(e, d->block);

	v->stats.exits[d->kind]++;
	switch ((enum desc_kind)d->kind) {
	case DESC_ACCESS: v->x9 = addend_of(v, b, d); return access_slow(v, b, d, pc);
	case DESC_STORED: v->x9 = addend_of(v, b, d); return access_stored(v, b, d, pc);
	case DESC_GROUP: v->x9 = addend_of(v, b, d); return group_slow(v, b, d, pc);
	case DESC_SEGMENT: v->x9 = addend_of(v, b, d); return check_segment(v, b, d, pc);
	case DESC_SYSOP:
	case DESC_STRING: return run_sysop(v, b, d, pc);
	case DESC_STALE:
		jc_remove(v, v->x11);
		c->s.rip = v->x11 - code_base(c);
		return DISPATCH;
	case DESC_JUMP:
		c->s.rip = v->x11;
		if ((c->mode & MODE_CS64) && !soft_canonical(v->x11)) {
			/* Not canonical: the branch itself faults. */
			c->s.regs[REG_RSP] += (uint64_t)(int64_t)d->jump.undo;
			soft_gp(c, 0);
			return fault_at(v, b, d);
		}
		return DISPATCH;
	case DESC_POLL:
		if ((b->mode & MODE_USER) && (b->mode & MODE_CS64))
			note_hot(v, b);
		c->s.rip = block_rip(v, b, d->off);
		c->s.int_shadow |= v->shadow_step; /* the instruction in the shadow has not run */
		v->faulted = true;                 /* nothing was executed: no single-step trap */
		return DISPATCH;
	case DESC_EXIT: {
		struct block_exit *x = &block_exits(b)[d->exit.exit];
		uint64_t lin = (b->absolute ? block_page_va(b) : v->vbase) + (uint64_t)(int64_t)x->target;

		if (x->cross && (c->mode & MODE_CS64) && !soft_canonical(lin)) {
			/* A branch faults itself, and has pushed nothing; else it is the fetch of what follows. */
			struct desc branch = *d;

			branch.off = x->branch ? x->off : (uint16_t)x->target;
			c->s.regs[REG_RSP] += 8u * x->call;
			soft_gp(c, 0);
			return fault_at(v, b, &branch);
		}
		c->s.rip = c->mode & MODE_CS64 ? lin : (uint32_t)(lin - code_base(c));
		v->link_from = x->never ? NULL : x;
		v->link_generation = v->stats.code_flushes;
		return DISPATCH;
	}
	case DESC_HOST_FAULT: return host_fault(v);
	case DESC_KINDS: break;
	}
	return STOP;
}

/* Is there a debug trap behind the instruction that has been stepped over? */
static bool traps(const struct soft_vcpu *v)
{
	return (v->watch_hit || v->step_tf) && !v->no_step;
}

/* A single-stepped instruction is complete: are there debug traps? */
static void after_step(struct soft_vcpu *v)
{
	struct soft_cpu *c = &v->c;
	uint64_t dr6 = v->watch_hit;

	v->watch_hit = 0;
	if (v->faulted || v->no_step) {
		v->no_step = false;
		return;
	}
	if (v->step_tf)
		dr6 |= DR6_BS;
	if (!dr6)
		return;
	c->s.dr[6] = (c->s.dr[6] & ~0xfull) | dr6;
	c->fault = (struct soft_fault){ .vector = VEC_DB };
	deliver_fault(v);
}

enum vcpu_exit soft_run(struct soft_vcpu *v)
{
	struct soft_cpu *c = &v->c;
	struct soft_engine *e = c->engine;
	enter_fn *enter = (enter_fn *)(uintptr_t)(e->code_rx + e->thunk_enter);
	enum vcpu_exit result = VCPU_EXIT_ERROR;

	fpu_unpark(c);
	c->exit_request = 1; /* whatever came while nobody was running */
	for (;;) {
		struct desc d;
		enum after after;
		bool fatal;
		uint64_t pc;

		if (c->shutdown) {
			result = VCPU_EXIT_TRIPLE_FAULT;
			break;
		}
		if ((c->exit_request || c->irq_open) && !c->s.int_shadow && !service(v)) {
			result = VCPU_EXIT_STOP;
			break;
		}
		if (c->s.halted && !sleep_until_event(v)) {
			result = VCPU_EXIT_STOP;
			break;
		}
		if (c->shutdown)
			continue;
		clean_up(v);
		pc = next_block(v, &fatal);
		v->link_from = NULL;
		if (fatal)
			break;
		if (!pc)
			continue;
		v->faulted = v->no_step = v->unfinished = false;
		v->step_tf = c->mode & MODE_TF;
		v->step_rf = c->sysflags & FLAG_RF;
		do {
			site_read(e, (uint32_t)enter(v, pc), &d);
			after = handle(v, &d, &pc);
		} while (after == RESUME);
		if (after == STOP)
			break;
		end_shadow_step(v);
		if (v->stepping) {
			/*
			 * Not the RF that this very instruction, an IRET, has set; and that of a REP
			 * stays for all its elements (SDM vol. 3, 17.3.1.1). A trap shows none.
			 */
			if (!v->faulted && v->step_rf && (!v->unfinished || traps(v)))
				c->sysflags &= ~FLAG_RF;
			after_step(v);
		}
	}
	fpu_park(c);
	return result;
}
