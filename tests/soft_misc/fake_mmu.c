/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fake_mmu.h. Fast C. */
#include "fake_mmu.h"

#include <sys/mman.h>

struct fake fake;

static int check(struct soft_cpu *c, uint64_t lin, unsigned len, unsigned how)
{
	bool write = how & MEM_WRITE;

	for (uint64_t a = lin; a < lin + len; a++) {
		uint8_t page = PAGE_NONE;
		if (a >= FAKE_BASE && a < FAKE_BASE + FAKE_SIZE)
			page = fake.page[(a - FAKE_BASE) / PAGE_SIZE];
		if (page == PAGE_NONE || (write && page == PAGE_RO)) {
			soft_raise(c, VEC_PF, true,
				   (write ? PFERR_W : 0) | (page ? PFERR_P : 0) |
					   (c->cpl == 3 && !(how & MEM_SYSTEM) ? PFERR_U : 0));
			c->fault.cr2 = a;
			return -1;
		}
	}
	return 0;
}

int soft_read(struct soft_cpu *c, uint64_t lin, void *buf, unsigned len, unsigned how)
{
	fake.reads++;
	if (how & MEM_SYSTEM)
		fake.system_reads++;
	if (check(c, lin, len, how))
		return -1;
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)buf)[i] = at(lin)[i];
	return 0;
}

int soft_write(struct soft_cpu *c, uint64_t lin, const void *buf, unsigned len, unsigned how)
{
	fake.writes++;
	if (check(c, lin, len, how | MEM_WRITE))
		return -1;
	for (unsigned i = 0; i < len; i++)
		at(lin)[i] = ((const uint8_t *)buf)[i];
	return 0;
}

int soft_probe(struct soft_cpu *c, uint64_t lin, unsigned len, unsigned how)
{
	return check(c, lin, len, how);
}

void mmu_flush_all(struct soft_cpu *c)
{
	fake.flush_all++;
}

void mmu_flush_nonglobal(struct soft_cpu *c)
{
	fake.flush_nonglobal++;
}

void mmu_switch_pcid(struct soft_cpu *c, unsigned old, unsigned new, bool keep)
{
	fake.switches++;
	fake.old_pcid = old;
	fake.new_pcid = new;
	fake.keep = keep;
}

void mmu_forget_pcid(struct soft_cpu *c, unsigned pcid)
{
	fake.forgets++;
	fake.forgotten = pcid;
}

void mmu_invlpg(struct soft_cpu *c, uint64_t lin)
{
	fake.invlpg++;
	fake.invlpg_lin = lin;
}

void fpu_park(struct soft_cpu *c)
{
	fake.parked++;
	fake.park_calls++;
}

void fpu_unpark(struct soft_cpu *c)
{
	fake.parked--;
}

/* ---- the machine ---- */

static void called(void)
{
	if (!fake.parked)
		fake.bus_unparked = true;
}

static uint32_t pio_read(void *machine, unsigned cpu, uint16_t port, unsigned size)
{
	called();
	fake.port_reads++;
	fake.last_port = port;
	fake.last_size = size;
	fake.next_in += 0x01010101;
	return fake.next_in;
}

static void pio_write(void *machine, unsigned cpu, uint16_t port, unsigned size, uint32_t val)
{
	called();
	fake.port_writes++;
	fake.last_port = port;
	fake.last_size = size;
	fake.port_sum = fake.port_sum * 31 + val;
}

static bool msr_read(void *machine, unsigned cpu, uint32_t msr, uint64_t *val)
{
	called();
	*val = fake.msr_value;
	return msr == fake.msr_accepted;
}

static bool msr_write(void *machine, unsigned cpu, uint32_t msr, uint64_t val)
{
	called();
	if (msr != fake.msr_accepted)
		return false;
	fake.msr_value = val;
	return true;
}

static uint8_t tpr_read(void *machine, unsigned cpu)
{
	called();
	return fake.tpr;
}

static void tpr_write(void *machine, unsigned cpu, uint8_t tpr)
{
	called();
	fake.tpr = tpr;
}

void fake_machine(struct vcpu_bus *bus)
{
	bus->pio_read = pio_read;
	bus->pio_write = pio_write;
	bus->msr_read = msr_read;
	bus->msr_write = msr_write;
	bus->tpr_read = tpr_read;
	bus->tpr_write = tpr_write;
}

void fake_init(struct soft_cpu *c, const struct cpuid_table *t, enum cpu_kind kind, unsigned cpl)
{
	uint16_t code = SEG_ATTR_G | (kind == CPU_64 ? SEG_ATTR_L : kind == CPU_32 ? SEG_ATTR_DB : 0) | 0x9b;

	mmap((void *)FAKE_BASE, FAKE_SIZE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
	fake = (struct fake){ 0 };
	for (unsigned i = 0; i < FAKE_PAGES; i++)
		fake.page[i] = PAGE_RW;

	*c = (struct soft_cpu){ 0 };
	c->cpuid = t;
	fake_machine(&c->bus);
	c->cpl = (uint8_t)cpl;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		c->s.seg[i] = (struct x86_seg){
			.sel = (uint16_t)(8 | cpl),
			.attr = (uint16_t)((i == SEG_CS ? code : SEG_ATTR_G | SEG_ATTR_DB | 0x93) |
					   cpl << SEG_ATTR_DPL_SHIFT),
			.limit = 0xffffffff,
		};
	c->s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_ET;
	c->s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	c->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	if (kind == CPU_64)
		c->s.efer = EFER_LME | EFER_LMA;
	c->s.rip = 0x1000;
	c->next_rip = 0x1004;
	cpu_set_rflags(c, FLAG_ONE | FLAG_IF);
	cpu_update_mode(c);
}

/* ---- live state ---- */

static void state_save(struct vstate *v)
{
	v->xstate_bv = 0;
	__asm__ volatile("xsave64 %0" : "+m"(*v) : "a"(7), "d"(0));
}

static void state_load(const struct vstate *v)
{
	__asm__ volatile("xrstor64 %0" : : "m"(*v), "a"(7), "d"(0));
}

enum soft_next run_live(struct vstate *v, sysop_fn *fn, struct soft_cpu *c, const struct sysop *op)
{
	static struct vstate mine;
	enum soft_next next;

	state_save(&mine);
	state_load(v);
	next = fn(c, op);
	state_save(v);
	state_load(&mine);
	return next;
}

void run_native(struct vstate *v, void (*fn)(void *), void *arg)
{
	static struct vstate mine;

	state_save(&mine);
	state_load(v);
	fn(arg);
	state_save(v);
	state_load(&mine);
}
