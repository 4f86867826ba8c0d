/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest paging and the software TLB: fast C.
 *
 * Linear addresses go in, host addresses come out. Everything that C code of
 * the engine wants from guest-virtual memory goes through here and gets the
 * same permission checks as translated code.
 */
#ifndef LGUEST_SOFT_MMU_H
#define LGUEST_SOFT_MMU_H

#include "engine/soft/cpu.h"

/*
 * How to access. MEM_SYSTEM: an implicit supervisor access (descriptor tables,
 * TSS, stack of an inner level), whatever the CPL. Without it, the rights of
 * the current mode word count.
 */
#define MEM_READ   0u
#define MEM_WRITE  1u
#define MEM_EXEC   2u
#define MEM_SYSTEM 4u

/*
 * Copy @len bytes between @buf and linear memory; the range may cross pages
 * and touch MMIO. 0, or -1 with c->fault set (#PF, or #GP/#SS(0) for a
 * non-canonical address) and, for writes, nothing written. Writes that hit
 * translated code invalidate it.
 */
int soft_read(struct soft_cpu *c, uint64_t lin, void *buf, unsigned len, unsigned how);
int soft_write(struct soft_cpu *c, uint64_t lin, const void *buf, unsigned len, unsigned how);

/* Checks that the range could be accessed so, with the fault set if not. */
int soft_probe(struct soft_cpu *c, uint64_t lin, unsigned len, unsigned how);

/* Effects of the system instructions on cached translations. */
void mmu_flush_all(struct soft_cpu *c);       /* all, also global pages */
void mmu_flush_nonglobal(struct soft_cpu *c); /* MOV to CR3 */
void mmu_invlpg(struct soft_cpu *c, uint64_t lin);
/* MOV to CR3 from PCID @old to another, @new, whose translations count if @keep is set. */
void mmu_switch_pcid(struct soft_cpu *c, unsigned old, unsigned new, bool keep);
/* INVPCID: what is left of PCID @pcid, which is not the current one; MMU_ALL_PCIDS: of all those. */
#define MMU_ALL_PCIDS ~0u
void mmu_forget_pcid(struct soft_cpu *c, unsigned pcid);

/* struct engine's. */
void mmu_vcpu_flush_page(struct vcpu *vcpu, uint64_t lin);
void mmu_vcpu_flush_tlb(struct vcpu *vcpu);

#endif
