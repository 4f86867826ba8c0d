// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MOVS and STOS, with and without REP: the kernel's memcpy, memset,
 * clear_page and user copies. Runs the host's own REP MOVS or STOS on chunks
 * that stay within one page of source and destination. Everything unusual
 * (DF set, segments with limits, MMIO, elements across pages, and LODS, SCAS,
 * CMPS) goes to the generic, element-wise sys_string. Fast C.
 */
#include "engine/soft/block.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sys_string.h"
#include "engine/soft/sysop.h"

#define CHUNK_LIMIT 64 /* pages, before interrupts get a look */

static void host_movs(void *to, const void *from, uint64_t n, unsigned size)
{
	switch (size) {
	case 1: __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); break;
	case 2: __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); break;
	case 4: __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); break;
	default: __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); break;
	}
}

static void host_stos(void *to, uint64_t val, uint64_t n, unsigned size)
{
	switch (size) {
	case 1: __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(val) : "memory"); break;
	case 2: __asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(val) : "memory"); break;
	case 4: __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(val) : "memory"); break;
	default: __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(val) : "memory"); break;
	}
}

static uint64_t to_page_end(uint64_t lin, unsigned size)
{
	return (PAGE_SIZE - (lin & (PAGE_SIZE - 1))) / size;
}

/* The host address of [@lin, @lin + @len), from the TLB if it is there. */
static uint8_t *host_range(struct soft_vcpu *v, uint64_t lin, unsigned len, bool write, bool *special,
			   bool *code, uint64_t *phys)
{
	struct tlb_view_table *t = &v->tlb[mode_view(v->c.mode)];
	uint32_t index = (uint32_t)lin >> PAGE_SHIFT;

	*special = *code = false;
	if ((write ? t->tag_w : t->tag_r)[index] == (lin & PAGE_MASK))
		return (uint8_t *)(uintptr_t)(t->host[index] + (lin & (PAGE_SIZE - 1)));
	return mmu_resolve(v, lin, len, write ? MEM_WRITE : MEM_READ, special, code, phys);
}

enum soft_next string_run(struct soft_vcpu *v, const void *sysop)
{
	struct soft_cpu *c = &v->c;
	const struct sysop *op = sysop;
	uint64_t *r = c->s.regs;
	uint64_t mask = op->adsize == 8 ? ~0ull : op->adsize == 4 ? 0xffffffffull : 0xffff;
	bool movs = op->imm == STRING_MOVS;
	unsigned size = op->opsize;
	uint64_t src_base = 0, dst_base = 0;
	uint32_t checks = MODE_DF | MODE_TF | MODE_HWBP | MODE_CHECK(SEG_ES) | MODE_CHECK(op->seg);

	if ((!movs && op->imm != STRING_STOS) || op->adsize == 2 || (c->mode & checks))
		return sys_string(c, op);
	if (op->seg == SEG_FS || op->seg == SEG_GS || !(c->mode & MODE_CS64))
		src_base = c->s.seg[op->seg].base;
	if (!(c->mode & MODE_CS64))
		dst_base = c->s.seg[SEG_ES].base;

	for (unsigned pages = 0;; pages++) {
		uint64_t left = op->rep ? r[REG_RCX] & mask : 1;
		uint64_t dst = (r[REG_RDI] & mask) + dst_base, src = (r[REG_RSI] & mask) + src_base;
		uint64_t n = left, phys = 0, bytes;
		bool special, code, ignored;
		uint8_t *to, *from = NULL;

		if (!left)
			return NEXT_CONTINUE;
		if (pages == CHUNK_LIMIT || (pages && c->exit_request))
			return NEXT_DISPATCH; /* RIP still at the instruction */
		if (!(c->mode & MODE_CS64)) {
			dst = (uint32_t)dst;
			src = (uint32_t)src;
		}
		if (n > to_page_end(dst, size))
			n = to_page_end(dst, size);
		if (movs && n > to_page_end(src, size))
			n = to_page_end(src, size);
		if (!n) {
			/* An element that lies in two pages; the pages themselves may be ordinary. */
			if (sys_string_one(c, op))
				return NEXT_FAULT;
			if (!op->rep)
				return NEXT_CONTINUE;
			string_advance(c, op, REG_RCX, -1);
			if (v->current_stale) {
				if (!string_reg(c, op, REG_RCX))
					c->s.rip = c->next_rip;
				return NEXT_DISPATCH;
			}
			continue;
		}
		/* A 32-bit counter must not wrap within a chunk. */
		if (op->adsize == 4 &&
		    (((r[REG_RDI] & mask) + n * size) >> 32 || ((r[REG_RSI] & mask) + n * size) >> 32))
			return sys_string(c, op);
		bytes = n * size;
		if (movs) {
			from = host_range(v, src, (unsigned)bytes, false, &special, &ignored, &phys);
			if (!from)
				return special ? sys_string(c, op) : NEXT_FAULT;
		}
		to = host_range(v, dst, (unsigned)bytes, true, &special, &code, &phys);
		if (!to)
			return special ? sys_string(c, op) : NEXT_FAULT;
		if (code && block_invalidate(c->engine, phys, (unsigned)bytes, v->current))
			v->current_stale = true;
		if (movs)
			host_movs(to, from, n, size);
		else
			host_stos(to, r[REG_RAX], n, size);
		r[REG_RDI] = op->adsize == 8 ? r[REG_RDI] + bytes : (uint32_t)(r[REG_RDI] + bytes);
		if (movs)
			r[REG_RSI] = op->adsize == 8 ? r[REG_RSI] + bytes : (uint32_t)(r[REG_RSI] + bytes);
		if (!op->rep)
			return NEXT_CONTINUE;
		r[REG_RCX] = op->adsize == 8 ? r[REG_RCX] - n : (uint32_t)(r[REG_RCX] - n);
		if (v->current_stale) {
			if (!r[REG_RCX])
				c->s.rip = c->next_rip;
			return NEXT_DISPATCH;
		}
	}
}
