/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hypercalls. The number is in EAX, arguments in EBX, ECX, EDX and ESI;
 * nothing is returned. Many are not made one by one but collected in a ring in
 * lguest_data, which every direct call empties first.
 *
 * A guest that passes nonsense is ended, with a reason.
 */
#include <string.h>

#include "cpu/state.h"
#include "cpu/x86.h"
#include "memory.h"
#include "platform/lguest/lguest.h"

struct call {
	uint32_t number, arg[4];
};

/* ---- initialisation ---- */

/* The system call vector stands behind kernel_address, in one layout or the other. */
static bool find_layout(struct lguest *lg)
{
	if (lguest_data_get(lg, LG_DATA_SYSCALL) == LG_SYSCALL)
		lg->s.old_layout = false;
	else if (lguest_range(lg, lg->s.data, LG_DATA_SIZE_OLD) &&
		 lguest_data_get(lg, LG_DATA_SYSCALL + 4) == LG_SYSCALL)
		lg->s.old_layout = true;
	else
		return false;
	return true;
}

static void initialise(struct lguest *lg, uint32_t addr)
{
	unsigned moved;

	if (lg->s.initialised) {
		lguest_kill(lg, "initialised twice");
		return;
	}
	lg->data = addr & 3 ? NULL : lguest_range(lg, addr, LG_DATA_SIZE);
	if (!lg->data) {
		lguest_kill(lg, "bad lguest_data address %#x", addr);
		return;
	}
	lg->s.data = addr;
	if (!find_layout(lg)) {
		lguest_kill(lg, "bad system call vector (only 0x80 will do)");
		return;
	}
	moved = lg->s.old_layout ? 4 : 0;
	lg->s.noirq_start = lguest_data_get(lg, LG_DATA_NOIRQ_START + moved);
	lg->s.noirq_end = lguest_data_get(lg, LG_DATA_NOIRQ_END + moved);
	lg->s.kernel_address = lguest_data_get(lg, LG_DATA_KERNEL + moved);
	if (lg->s.kernel_address >= 0u - LG_RESERVE_MEM) {
		lguest_kill(lg, "kernel at %#x, in the host's part of the address space",
			    lg->s.kernel_address);
		return;
	}
	if (lg->s.old_layout)
		lguest_data_set(lg, LG_DATA_PGDIR, lg->s.initial_pgdir);
	lguest_data_set(lg, LG_DATA_TSC_KHZ, lg->tsc_khz);
	lguest_data_set(lg, LG_DATA_RESERVE_MEM, LG_RESERVE_MEM);
	lg->s.initialised = true;
	lguest_write_time(lg);
	lg->host->flush_tlb(lg->opaque);
}

/* ---- the end ---- */

/* Text of the guest's, up to @max bytes, made printable. */
static unsigned copy_text(const struct lguest *lg, uint32_t addr, char *to, unsigned max)
{
	unsigned n;

	for (n = 0; n < max; n++) {
		const char *p = lguest_range(lg, addr + n, 1);
		char c = p ? *p : 0;

		if (!c)
			break;
		to[n] = (c >= ' ' && c < 127) || c == '\n' || c == '\r' || c == '\t' || c == 27 ? c : '?';
	}
	to[n] = 0;
	return n;
}

#define CRASH "CRASH: "

void lguest_ended(struct lguest *lg, bool restart, const char *reason)
{
	enum lguest_end how = LGUEST_DIED;
	char line[LGUEST_REASON_MAX];
	unsigned n;

	/* One line on the user's terminal; an engine may have it as the guest gave it. */
	for (n = 0; n < sizeof(line) - 1 && reason[n]; n++)
		line[n] = reason[n] >= ' ' && reason[n] < 127 ? reason[n] : ' ';
	line[n] = 0;
	reason = line;
	lg->s.dead = true;
	if (restart)
		how = LGUEST_RESTART;
	else if (strcmp(reason, CRASH "Power down") == 0)
		how = LGUEST_POWER_OFF;
	else if (strncmp(reason, CRASH, strlen(CRASH)) == 0)
		how = LGUEST_PANIC;
	lg->host->end(lg->opaque, how, reason);
}

static void shut_down(struct lguest *lg, uint32_t addr, uint32_t how)
{
	char reason[LGUEST_REASON_MAX] = CRASH;
	char *text = reason + sizeof(CRASH) - 1;

	/* A guest that restarts need not say why: 3.12 passes the "physical address" of a null pointer. */
	if (how != LG_SHUTDOWN_RESTART && !lguest_range(lg, addr, 1)) {
		lguest_kill(lg, "bad shutdown reason address %#x", addr);
		return;
	}
	copy_text(lg, addr, text, 127);
	lguest_park(lg);
	lguest_ended(lg, how == LG_SHUTDOWN_RESTART, reason);
	lguest_unpark(lg);
}

/* ---- page tables: the engine uses the guest's own, so these are checks and flushes ---- */

static void new_page_table(struct lguest *lg, struct x86_state *s, uint32_t dir)
{
	if ((dir & 4095) || !lguest_range(lg, dir, 4096)) {
		lguest_kill(lg, "bad page directory address %#x", dir);
		return;
	}
	/* Also when it is the same one again, or will be once the ring is empty. */
	lg->host->flush_tlb(lg->opaque);
	s->cr3 = dir;
}

static void set_pte(struct lguest *lg, uint32_t lin, uint32_t pte)
{
	if (lin >= 0u - LG_RESERVE_MEM) {
		lguest_kill(lg, "page table entry for %#x, in the host's part of the address space", lin);
		return;
	}
	if (!lguest_valid_entry(lg, pte, false)) {
		lguest_kill(lg, "bad page table entry %#x for %#x", pte, lin);
		return;
	}
	lg->host->flush_page(lg->opaque, lin);
}

static void set_pgd(struct lguest *lg, uint32_t dir, uint32_t index)
{
	const uint32_t *p;
	uint32_t entry;

	/* The host's own entry: guests of 2.6.3x write it. */
	if (index >= 1023)
		return;
	p = lguest_range(lg, (dir & ~4095u) + index * 4, 4);
	if (!p) {
		lguest_kill(lg, "bad page directory address %#x", dir);
		return;
	}
	entry = __atomic_load_n(p, __ATOMIC_RELAXED);
	if (!lguest_valid_entry(lg, entry, true)) {
		lguest_kill(lg, "bad page directory entry %#x", entry);
		return;
	}
	lg->host->flush_tlb(lg->opaque);
}

/* ---- descriptors ---- */

/* The host's own: the original kept its switcher and task segments there. */
static bool kept_gdt_entry(uint32_t index)
{
	return index == 10 || index == 11 || index == 16 || index == 31;
}

static void set_gdt_entry(struct lguest *lg, uint32_t index, uint32_t low, uint32_t high)
{
	if (kept_gdt_entry(index))
		return;
	/* Level 0 is the host's. Accessed, for nobody may write to the table. */
	if (!(high & 0x6000))
		high |= 0x2000;
	high |= 0x100;
	lg->s.gdt[index] = (uint64_t)high << 32 | low;
}

static void load_gdt_entry(struct lguest *lg, uint32_t index, uint32_t low, uint32_t high)
{
	if (index >= LG_GDT_ENTRIES) {
		lguest_kill(lg, "too many GDT entries: %u", index);
		return;
	}
	set_gdt_entry(lg, index, low, high);
}

static void load_tls(struct lguest *lg, uint32_t addr)
{
	const uint8_t *p = lguest_range(lg, addr, 24);
	uint32_t desc[6];

	if (!p) {
		lguest_kill(lg, "bad address of TLS descriptors %#x", addr);
		return;
	}
	/* Words, at no particular alignment: a longer copy is a call under a sanitizer, and that has vectors. */
	for (unsigned i = 0; i < 6; i++)
		__builtin_memcpy(&desc[i], p + 4 * i, 4);
	for (unsigned i = 0; i < 3; i++)
		set_gdt_entry(lg, LG_GDT_TLS + i, desc[2 * i], desc[2 * i + 1]);
}

static void load_idt_entry(struct lguest *lg, uint32_t index, uint32_t low, uint32_t high)
{
	uint32_t type = high >> 8 & 15;

	if (index > 255) {
		lguest_kill(lg, "IDT entry %u does not exist", index);
		return;
	}
	/* NMI, double fault, spurious interrupts and hypercalls are the host's. */
	if (index == 2 || index == 8 || index == 15 || index == LG_TRAP_HYPERCALL)
		return;
	if (!(high & 0x8000)) {
		lg->s.idt[index] = (struct lguest_gate){ 0 };
		return;
	}
	if (type != 0xe && type != 0xf) {
		lguest_kill(lg, "bad type %u of IDT entry %u", type, index);
		return;
	}
	lg->s.idt[index] = (struct lguest_gate){ .offset = (low & 0xffff) | (high & 0xffff0000),
						 .present = true,
						 .interrupt = type == 0xe,
						 .dpl = high >> 13 & 3 };
}

static void set_stack(struct lguest *lg, uint32_t selector, uint32_t top, uint32_t pages)
{
	if ((selector & 3) != 1 || selector >> 3 >= LG_GDT_ENTRIES || (selector & 4)) {
		lguest_kill(lg, "bad stack segment %#x", selector);
		return;
	}
	if (pages > 2) {
		lguest_kill(lg, "bad number of stack pages %u", pages);
		return;
	}
	lg->s.stack_selector = (uint16_t)selector;
	lg->s.stack_top = top;
}

/* ---- time and devices ---- */

static void set_clockevent(struct lguest *lg, uint32_t ns)
{
	if (!ns) {
		lg->s.clockevent = 0;
		return;
	}
	lg->s.clockevent = __builtin_ia32_rdtsc() + (uint64_t)ns * lg->tsc_khz / 1000000;
	if (!lg->s.clockevent)
		lg->s.clockevent = 1;
}

/* What an address means is decided by where it lies. */
void lguest_notify(struct lguest *lg, uint32_t addr)
{
	char text[1024];

	lguest_park(lg);
	if (addr >= lg->limit) {
		lguest_kill(lg, "bad notification address %#x", addr);
	} else if (addr >= lg->ram) {
		if (!lg->host->notify(lg->opaque, addr))
			lguest_kill(lg, "notification of %#x, where there is no device", addr);
	} else {
		unsigned len = copy_text(lg, addr, text, sizeof(text) - 1);

		lg->host->early_console(lg->opaque, text, len);
	}
	lguest_unpark(lg);
}

/* ---- all together ---- */

static void execute(struct lguest *lg, struct x86_state *s, const struct call *call)
{
	const uint32_t *arg = call->arg;

	if (call->number <= LG_SEND_INTERRUPTS)
		lg->stats.by_number[call->number]++;
	switch ((enum lg_hypercall)call->number) {
	case LG_FLUSH_ASYNC:
	case LG_SEND_INTERRUPTS: break; /* the way here has done it */
	case LG_INIT: initialise(lg, arg[0]); break;
	case LG_SHUTDOWN: shut_down(lg, arg[0], arg[1]); break;
	case LG_NEW_PGTABLE: new_page_table(lg, s, arg[0]); break;
	case LG_FLUSH_TLB: lg->host->flush_tlb(lg->opaque); break;
	case LG_LOAD_IDT_ENTRY: load_idt_entry(lg, arg[0], arg[1], arg[2]); break;
	case LG_SET_STACK: set_stack(lg, arg[0], arg[1], arg[2]); break;
	case LG_TS: s->cr0 = arg[0] ? s->cr0 | CR0_TS : s->cr0 & ~(uint64_t)CR0_TS; break;
	case LG_SET_CLOCKEVENT: set_clockevent(lg, arg[0]); break;
	case LG_HALT: s->halted = true; break;
	case LG_SET_PMD: lg->host->flush_tlb(lg->opaque); break;
	case LG_SET_PTE: set_pte(lg, arg[1], arg[2]); break;
	case LG_SET_PGD: set_pgd(lg, arg[0], arg[1]); break;
	case LG_LOAD_TLS: load_tls(lg, arg[0]); break;
	case LG_NOTIFY:
		if (arg[0])
			lguest_notify(lg, arg[0]);
		break;
	case LG_LOAD_GDT_ENTRY: load_gdt_entry(lg, arg[0], arg[1], arg[2]); break;
	default: lguest_kill(lg, "bad hypercall %u", call->number);
	}
}

/*
 * All calls that wait, in order, at most one round. Status bytes are looked at once,
 * before: what a call's own effects change there is for the next time.
 */
static void empty_ring(struct lguest *lg, struct x86_state *s)
{
	uint32_t status[LG_RING / 4];

	for (unsigned i = 0; i < LG_RING / 4; i++)
		status[i] = lguest_data_get(lg, LG_DATA_HCALL_STATUS + 4 * i);
	for (unsigned i = 0; i < LG_RING && !lg->s.dead; i++) {
		unsigned n = lg->s.ring_next, at = LG_DATA_HCALLS + n * (unsigned)sizeof(struct call);
		struct call call;

		if ((status[n / 4] >> (n % 4 * 8) & 0xff) == LG_HCALL_DONE)
			break;
		lg->s.ring_next = (n + 1) % LG_RING;
		call.number = lguest_data_get(lg, at);
		for (unsigned k = 0; k < 4; k++)
			call.arg[k] = lguest_data_get(lg, at + 4 + 4 * k);
		if (call.number == LG_INIT)
			lguest_kill(lg, "initialised twice");
		else
			execute(lg, s, &call);
		lg->stats.ring_calls++;
		lg->data[LG_DATA_HCALL_STATUS + n] = LG_HCALL_DONE;
		lguest_wrote(lg, lg->data + LG_DATA_HCALL_STATUS + n, 1);
	}
}

void lguest_hypercall(struct lguest *lg, struct x86_state *s)
{
	const struct call call = { .number = (uint32_t)s->regs[REG_RAX],
				   .arg = { (uint32_t)s->regs[REG_RBX], (uint32_t)s->regs[REG_RCX],
					    (uint32_t)s->regs[REG_RDX], (uint32_t)s->regs[REG_RSI] } };

	lg->stats.hypercalls++;
	if (!lg->s.initialised && call.number != LG_INIT) {
		lguest_kill(lg, "hypercall %u before initialisation", call.number);
		return;
	}
	if (lg->s.initialised)
		empty_ring(lg, s);
	if (!lg->s.dead)
		execute(lg, s, &call);
}
