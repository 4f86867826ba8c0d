/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The boot CPU as it stands at the kernel's first instruction, and the tables
 * in guest memory that its registers point to.
 *
 * There is no firmware and no boot loader in the guest: we start where they
 * would have ended. The boot protocol (boot.rst, "32-bit" and "64-bit boot
 * protocol") and PVH (Xen's pvh.pandoc) fix the state.
 */
#include <string.h>

#include "boot/job.h"
#include "cpu/state.h"
#include "cpu/x86.h"

/* boot.rst: __BOOT_CS and __BOOT_DS */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS  0x20

#define ATTR_CODE32 (0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_CODE64 (0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G)
#define ATTR_DATA   (0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_TSS    (0xb | SEG_ATTR_P) /* busy; 32 and 64 bits share the number */
#define ATTR_LDT    (0x2 | SEG_ATTR_P)

#define TSS_LIMIT 0x67u

/* Page table entries: present, writable, 2 MiB page */
#define PTE_P  0x1u
#define PTE_W  0x2u
#define PTE_PS 0x80u

/* A flat descriptor (SDM vol. 3, 3.4.5) */
static uint64_t descriptor(unsigned attr, uint32_t limit)
{
	if (attr & SEG_ATTR_G)
		limit >>= 12;
	return (limit & 0xffff) | (uint64_t)attr << 40 | (uint64_t)(limit >> 16) << 48;
}

static void write_gdt(struct guest_memory *mem, unsigned code_attr)
{
	uint64_t gdt[6] = { 0 };

	gdt[SEL_CODE / 8] = descriptor(code_attr, 0xffffffff);
	gdt[SEL_DATA / 8] = descriptor(ATTR_DATA, 0xffffffff);
	gdt[SEL_TSS / 8] = descriptor(ATTR_TSS, TSS_LIMIT); /* its upper half, in long mode, is gdt[5] */
	memcpy(guest_range(mem, BOOT_GDT_ADDR, sizeof(gdt)), gdt, sizeof(gdt));
}

/* 0..4 GiB: one PML4, one PDPT, four page directories of 2 MiB pages. */
static void write_page_tables(struct guest_memory *mem)
{
	uint64_t *table = guest_range(mem, BOOT_TABLES_ADDR, 6 * PAGE_SIZE);
	uint64_t *pml4 = table, *pdpt = table + 512, *pd = table + 1024;

	pml4[0] = (BOOT_TABLES_ADDR + PAGE_SIZE) | PTE_P | PTE_W;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (BOOT_TABLES_ADDR + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W;
	for (unsigned i = 0; i < 4 * 512; i++)
		pd[i] = (uint64_t)i << 21 | PTE_P | PTE_W | PTE_PS;
}

/*
 * What no boot protocol speaks of: as after power-on (SDM vol. 3, table 10-1),
 * and, for the MTRRs, as firmware leaves them: enabled, all memory write-back.
 */
static void power_on(struct x86_state *s)
{
	uint16_t fcw = 0x37f;
	uint32_t mxcsr = 0x1f80;

	memset(s, 0, sizeof(*s));
	s->rflags = FLAG_ONE;
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x400;
	s->xcr0 = XCR0_X87;
	s->pat = 0x0007040600070406;
	s->misc_enable = 1; /* fast strings */
	s->mtrr_def_type = 0x806;
	memcpy(s->xsave, &fcw, sizeof(fcw));
	memcpy(s->xsave + 24, &mxcsr, sizeof(mxcsr));
}

static void set_segments(struct x86_state *s, unsigned code_attr)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = (struct x86_seg){ .sel = SEL_DATA, .attr = ATTR_DATA, .limit = 0xffffffff };
	s->seg[SEG_CS] =
		(struct x86_seg){ .sel = SEL_CODE, .attr = (uint16_t)code_attr, .limit = 0xffffffff };
	s->ldtr = (struct x86_seg){ .attr = ATTR_LDT, .limit = 0xffff };
	s->tr = (struct x86_seg){ .sel = SEL_TSS, .attr = ATTR_TSS, .limit = TSS_LIMIT };
	s->gdtr = (struct x86_dtr){ .base = BOOT_GDT_ADDR, .limit = 6 * 8 - 1 };
	/* The IDT stays empty: an exception before the kernel has one ends in a triple fault. */
}

void boot_cpu_state(struct boot_job *job, struct x86_state *s)
{
	unsigned code_attr = job->mode == BOOT_MODE_LINUX64 ? ATTR_CODE64 : ATTR_CODE32;

	power_on(s);
	write_gdt(job->mem, code_attr);
	set_segments(s, code_attr);
	s->rip = job->entry;
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;

	switch (job->mode) {
	case BOOT_MODE_LINUX64:
		write_page_tables(job->mem);
		s->cr3 = BOOT_TABLES_ADDR;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
		s->cr0 |= CR0_PG;
		s->regs[REG_RSI] = BOOT_PARAMS_ADDR;
		break;
	case BOOT_MODE_LINUX32: s->regs[REG_RSI] = BOOT_PARAMS_ADDR; break;
	case BOOT_MODE_PVH:
		/* pvh.pandoc: of CR0 only PE is set (ET cannot be clear). */
		s->cr0 = CR0_PE | CR0_ET;
		s->regs[REG_RBX] = BOOT_PVH_ADDR;
		break;
	}
}
