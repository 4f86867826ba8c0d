/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions whose memory operand is not one piece: masked moves,
 * whose masked-off lanes must not fault, and gathers. Fast C.
 *
 * The guest's vector registers are live in the host's; one is picked by
 * number through a switch. What the operation is in detail comes from the
 * instruction's VEX prefix and opcode in sysop.bytes.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

union vector {
	uint8_t b[32];
	uint32_t d[8];
	uint64_t q[4];
};

/* ---- registers by number ---- */

#define EACH_8(X)  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define EACH_16(X) EACH_8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

static void read_mm(unsigned n, union vector *v)
{
	switch (n & 7) {
#define X(i) \
	case i: __asm__ volatile("movq %%mm" #i ", %0" : "=m"(v->q[0])); break;
		EACH_8(X)
#undef X
	}
}

static void read_xmm(unsigned n, union vector *v)
{
	switch (n & 15) {
#define X(i) \
	case i: __asm__ volatile("movdqu %%xmm" #i ", %0" : "=m"(*v)); break;
		EACH_16(X)
#undef X
	}
}

static void read_ymm(unsigned n, union vector *v)
{
	switch (n & 15) {
#define X(i) \
	case i: __asm__ volatile("vmovdqu %%ymm" #i ", %0" : "=m"(*v)); break;
		EACH_16(X)
#undef X
	}
}

static void write_ymm(unsigned n, const union vector *v)
{
	switch (n & 15) {
#define X(i) \
	case i: __asm__ volatile("vmovdqu %0, %%ymm" #i : : "m"(*v)); break;
		EACH_16(X)
#undef X
	}
}

/* ---- the VEX prefix ---- */

struct vex {
	uint8_t opcode;
	bool w, l;
};

/* All instructions here are in opcode map 2, so the prefix is the 3-byte one. */
static struct vex vex_decode(const struct sysop *op)
{
	unsigned i = 0;

	while (i < 11 && op->bytes[i] != 0xc4)
		i++; /* segment override, address size */
	return (struct vex){
		.opcode = op->bytes[i + 3],
		.w = op->bytes[i + 2] & 0x80,
		.l = op->bytes[i + 2] & 0x04,
	};
}

/* ---- MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes to DS:rDI ---- */

enum soft_next sys_maskmov(struct soft_cpu *c, const struct sysop *op)
{
	union vector data = { 0 }, mask = { 0 };
	unsigned size = op->aux, first = size, last = 0;
	uint64_t ea = c->s.regs[REG_RDI], lin;

	if (size == 8) {
		if (x87_pending(c))
			return NEXT_FAULT;
		read_mm(op->reg, &data);
		read_mm(op->rm, &mask);
	} else {
		read_xmm(op->reg, &data);
		read_xmm(op->rm, &mask);
	}

	for (unsigned i = 0; i < size; i++) {
		if (mask.b[i] & 0x80) {
			first = first < i ? first : i;
			last = i;
		}
	}
	if (first == size)
		return NEXT_CONTINUE;

	if (op->adsize != 8)
		ea = op->adsize == 4 ? (uint32_t)ea : (uint16_t)ea;
	/* Both ends first: at most one page boundary lies between them. */
	if (soft_linear(c, op->seg, ea + first, last - first + 1, true, &lin) ||
	    soft_probe(c, lin, 1, MEM_WRITE) || soft_probe(c, lin + (last - first), 1, MEM_WRITE))
		return NEXT_FAULT;
	for (unsigned i = first; i <= last; i++) {
		unsigned end = i;
		while (end <= last && (mask.b[end] & 0x80))
			end++;
		if (end > i && soft_write(c, lin + (i - first), &data.b[i], end - i, MEM_WRITE))
			return NEXT_FAULT;
		i = end;
	}
	return NEXT_CONTINUE;
}

/* ---- VMASKMOVPS/PD, VPMASKMOVD/Q ---- */

static bool lane_on(const union vector *mask, unsigned lane, unsigned size)
{
	return size == 4 ? mask->d[lane] >> 31 : mask->q[lane] >> 63;
}

/*
 * Does what is to be done for each run of lanes that are on. @write: store
 * from @v, else load into it. @probe: only check that a store could be done.
 */
static int masked_lanes(struct soft_cpu *c, const struct sysop *op, const union vector *mask, unsigned lanes,
			unsigned size, union vector *v, bool write, bool probe)
{
	uint64_t ea = sysop_ea(c, op), lin;

	for (unsigned i = 0; i < lanes; i++) {
		unsigned end = i, len;
		while (end < lanes && lane_on(mask, end, size))
			end++;
		if (end == i)
			continue;
		len = (end - i) * size;
		if (soft_linear(c, op->seg, ea + i * size, len, write, &lin))
			return -1;
		if (probe   ? soft_probe(c, lin, len, MEM_WRITE)
		    : write ? soft_write(c, lin, &v->b[i * size], len, MEM_WRITE)
			    : soft_read(c, lin, &v->b[i * size], len, MEM_READ))
			return -1;
		i = end;
	}
	return 0;
}

enum soft_next sys_vmaskmov(struct soft_cpu *c, const struct sysop *op)
{
	struct vex vex = vex_decode(op);
	union vector mask, v = { 0 };
	unsigned size, lanes;
	bool write;

	switch (vex.opcode) {
	case 0x2c: size = 4, write = false; break; /* VMASKMOVPS */
	case 0x2d: size = 8, write = false; break; /* VMASKMOVPD */
	case 0x2e: size = 4, write = true; break;
	case 0x2f: size = 8, write = true; break;
	case 0x8c: size = vex.w ? 8 : 4, write = false; break; /* VPMASKMOVD/Q */
	case 0x8e: size = vex.w ? 8 : 4, write = true; break;
	default: return soft_ud(c);
	}
	lanes = (vex.l ? 32 : 16) / size;
	read_ymm(op->vec, &mask);
	if (write) {
		read_ymm(op->reg, &v);
		if (masked_lanes(c, op, &mask, lanes, size, &v, true, true) ||
		    masked_lanes(c, op, &mask, lanes, size, &v, true, false))
			return NEXT_FAULT;
	} else {
		/* Lanes that are off, and those beyond the vector length, become zero. */
		if (masked_lanes(c, op, &mask, lanes, size, &v, false, false))
			return NEXT_FAULT;
		write_ymm(op->reg, &v);
	}
	return NEXT_CONTINUE;
}

/* ---- gathers ---- */

/* Address of one element: base + index * scale + displacement. */
static uint64_t gather_ea(const struct soft_cpu *c, const struct sysop *op, int64_t index)
{
	uint64_t ea = (uint64_t)(int64_t)op->disp + (uint64_t)index * op->scale;

	if (op->base != OPERAND_NONE)
		ea += c->s.regs[op->base & 15];
	return op->adsize == 8 ? ea : op->adsize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

enum soft_next sys_gather(struct soft_cpu *c, const struct sysop *op)
{
	struct vex vex = vex_decode(op);
	union vector dest, mask, index;
	unsigned size = vex.w ? 8 : 4, index_size = vex.opcode & 1 ? 8 : 4;
	/* The wider of index and element decides how many fit. */
	unsigned count = (vex.l ? 32 : 16) / (size > index_size ? size : index_size);

	if (vex.opcode < 0x90 || vex.opcode > 0x93)
		return soft_ud(c);
	if (op->reg == op->vec || op->reg == op->index || op->vec == op->index)
		return soft_ud(c);
	read_ymm(op->reg, &dest);
	read_ymm(op->vec, &mask);
	read_ymm(op->index, &index);

	for (unsigned i = 0; i < count; i++) {
		uint64_t lin;
		if (lane_on(&mask, i, size)) {
			int64_t at = index_size == 4 ? (int32_t)index.d[i] : (int64_t)index.q[i];
			if (soft_linear(c, op->seg, gather_ea(c, op, at), size, false, &lin) ||
			    soft_read(c, lin, &dest.b[i * size], size, MEM_READ)) {
				/* Restarts behind what is done: that is in the two registers. */
				write_ymm(op->reg, &dest);
				write_ymm(op->vec, &mask);
				return NEXT_FAULT;
			}
		}
		if (size == 4)
			mask.d[i] = 0;
		else
			mask.q[i] = 0;
	}
	for (unsigned i = count * size; i < sizeof(dest.b); i++)
		dest.b[i] = 0;
	for (unsigned i = 0; i < 4; i++)
		mask.q[i] = 0;
	write_ymm(op->reg, &dest);
	write_ymm(op->vec, &mask);
	return NEXT_CONTINUE;
}
