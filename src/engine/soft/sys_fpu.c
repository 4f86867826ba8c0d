/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of the x87, SSE and AVX state in guest memory: FXSAVE and FXRSTOR,
 * the XSAVE family (SDM vol. 1, chapter 13), and x87's own FNSTENV, FLDENV,
 * FNSAVE, FRSTOR. Fast C.
 *
 * The guest's state is live in the host's registers, so each of these runs a
 * host instruction on a buffer of our own, and the buffer is taken apart or put
 * together here by the rules of the guest's instruction: which bytes XSAVE may
 * write, the compacted format, what is reserved. For the components that exist
 * (x87, SSE, AVX) both formats put everything at the same place, so the host's
 * plain XSAVE and XRSTOR serve for all of them. All checks come before the
 * host's XRSTOR or FXRSTOR, which so can never fault.
 *
 * The host's x87 instruction and data pointers name our translated code. The
 * guest sees zeros instead: in each image that it stores, and FOP, FCS, FDS
 * likewise. CPUID says that error pointers are always saved and restored.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/mmu.h"
#include "engine/soft/sysop.h"

#include "cpu/cpuid.h"

/* Offsets in an XSAVE area. */
#define AREA_FOP     6
#define AREA_MXCSR   24
#define AREA_ST      32
#define AREA_XMM     160
#define AREA_XMM_END 416
#define AREA_XMM8    288 /* only 64-bit code touches what is from here on */
#define AREA_HEADER  512
#define AREA_YMMH    576
#define AREA_YMMH8   704

#define XCOMP_COMPACT (1ull << 63)
#define MXCSR_DEFAULT 0x1f80u

struct fpu_image {
	uint8_t legacy[AREA_HEADER];
	uint64_t xstate_bv, xcomp_bv, reserved[6];
	uint8_t ymmh[256];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct fpu_image) == X86_XSAVE_SIZE, "XSAVE area");

/* ---- the host's instructions ---- */

static void host_fxsave(struct fpu_image *img)
{
	__asm__ volatile("fxsave64 %0" : "=m"(*img));
}

static void host_fxrstor(const struct fpu_image *img)
{
	__asm__ volatile("fxrstor64 %0" : : "m"(*img));
}

/* @img->xstate_bv becomes what of @mask is not in its initial state. */
static void host_xsave(struct fpu_image *img, uint64_t mask)
{
	img->xstate_bv = 0;
	__asm__ volatile("xsave64 %0" : "+m"(*img) : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)));
}

static void host_xrstor(const struct fpu_image *img, uint64_t mask)
{
	__asm__ volatile("xrstor64 %0" : : "m"(*img), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)));
}

/* ---- pieces of an image ---- */

static void clear(uint8_t *p, unsigned len)
{
	while (len--)
		*p++ = 0;
}

static void copy(uint8_t *to, const uint8_t *from, unsigned len)
{
	while (len--)
		*to++ = *from++;
}

static void clear_pointers(struct fpu_image *img)
{
	clear(img->legacy + AREA_FOP, AREA_MXCSR - AREA_FOP);
}

static uint32_t image_mxcsr(const struct fpu_image *img)
{
	return *(const uint32_t *)(img->legacy + AREA_MXCSR);
}

static void image_set_mxcsr(struct fpu_image *img, uint32_t val)
{
	*(uint32_t *)(img->legacy + AREA_MXCSR) = val;
}

/* What else is reserved: bit 17 is MXCSR.MM where the CPU has the misaligned SSE mode. */
static bool mxcsr_valid(const struct soft_cpu *c, uint32_t val)
{
	return !(val & (cpuid_has(c->cpuid, CPU_MISALIGNSSE) ? ~0x2ffffu : ~0xffffu));
}

static uint32_t live_mxcsr(void)
{
	uint32_t val;

	__asm__ volatile("stmxcsr %0" : "=m"(val));
	return val;
}

static bool is_code64(const struct soft_cpu *c)
{
	return c->mode & MODE_CS64;
}

/* End of the XMM registers that the current mode has. */
static unsigned xmm_end(const struct soft_cpu *c)
{
	return is_code64(c) ? AREA_XMM_END : AREA_XMM8;
}

static unsigned ymmh_end(const struct soft_cpu *c)
{
	return is_code64(c) ? X86_XSAVE_SIZE : AREA_YMMH8;
}

/* ---- operands ---- */

/* Linear address of an image of @size bytes, or -1 with the fault set. */
static int image_address(struct soft_cpu *c, const struct sysop *op, unsigned size, unsigned align,
			 bool write, uint64_t *lin)
{
	if (soft_linear(c, op->seg, sysop_ea(c, op), size, write, lin))
		return -1;
	if (*lin & (align - 1)) {
		soft_gp(c, 0);
		return -1;
	}
	return 0;
}

static uint64_t requested(const struct soft_cpu *c)
{
	return (c->s.regs[REG_RDX] << 32 | (uint32_t)c->s.regs[REG_RAX]) & c->s.xcr0;
}

/* ---- FXSAVE, FXRSTOR ---- */

enum soft_next sys_fxsave(struct soft_cpu *c, const struct sysop *op)
{
	struct fpu_image img;
	uint64_t lin;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return sys_nm(c, op);
	if (image_address(c, op, AREA_HEADER, 16, true, &lin) || soft_probe(c, lin, AREA_HEADER, MEM_WRITE))
		return NEXT_FAULT;
	host_fxsave(&img);
	clear_pointers(&img);
	/* What lies behind the last register is not written (SDM vol. 2, FXSAVE). */
	return soft_write(c, lin, &img, xmm_end(c), MEM_WRITE) ? NEXT_FAULT : NEXT_CONTINUE;
}

enum soft_next sys_fxrstor(struct soft_cpu *c, const struct sysop *op)
{
	struct fpu_image img;
	uint64_t lin;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return sys_nm(c, op);
	if (image_address(c, op, AREA_HEADER, 16, false, &lin))
		return NEXT_FAULT;
	/* Registers that this mode does not have keep what they hold. */
	if (!is_code64(c))
		host_fxsave(&img);
	if (soft_read(c, lin, &img, xmm_end(c), MEM_READ))
		return NEXT_FAULT;
	if (!mxcsr_valid(c, image_mxcsr(&img)))
		return soft_gp(c, 0);
	clear_pointers(&img);
	host_fxrstor(&img);
	return NEXT_CONTINUE;
}

/* ---- the XSAVE family ---- */

enum save_kind { SAVE_PLAIN, SAVE_OPT, SAVE_COMPACT };

/* True when the instruction may run; otherwise the fault is set. */
static bool xsave_allowed(struct soft_cpu *c, bool supervisor)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		soft_ud(c);
	else if (c->s.cr0 & CR0_TS)
		soft_raise(c, VEC_NM, false, 0);
	else if (supervisor && c->cpl)
		soft_gp(c, 0);
	else
		return true;
	return false;
}

/* Writes the parts of the legacy region that hold @components (and MXCSR), in as few pieces as possible. */
static int write_legacy(struct soft_cpu *c, uint64_t lin, const struct fpu_image *img, uint64_t components,
			bool mxcsr)
{
	const bool x87 = components & XCR0_X87;
	const struct {
		unsigned from, to;
		bool write;
	} part[] = {
		{ 0, AREA_MXCSR, x87 },
		{ AREA_MXCSR, AREA_ST, mxcsr },
		{ AREA_ST, AREA_XMM, x87 },
		{ AREA_XMM, xmm_end(c), components & XCR0_SSE },
	};
	const unsigned parts = sizeof(part) / sizeof(part[0]);

	for (unsigned i = 0; i < parts; i++) {
		unsigned from = part[i].from;
		if (!part[i].write)
			continue;
		while (i + 1 < parts && part[i + 1].write)
			i++;
		if (soft_write(c, lin + from, img->legacy + from, part[i].to - from, MEM_WRITE))
			return -1;
	}
	return 0;
}

static enum soft_next save(struct soft_cpu *c, const struct sysop *op, enum save_kind kind, bool supervisor)
{
	struct fpu_image img;
	uint64_t lin, rfbm = requested(c), components, header[2];
	bool mxcsr = rfbm & (XCR0_SSE | XCR0_AVX);
	unsigned size = rfbm & XCR0_AVX ? ymmh_end(c) : AREA_YMMH;

	if (!xsave_allowed(c, supervisor))
		return NEXT_FAULT;
	if (image_address(c, op, size, 64, true, &lin) || soft_probe(c, lin, size, MEM_WRITE))
		return NEXT_FAULT;

	host_xsave(&img, rfbm);
	clear_pointers(&img);

	uint64_t in_use = img.xstate_bv & rfbm;
	if (kind == SAVE_COMPACT) {
		/* MXCSR belongs to SSE here (SDM vol. 1, 13.10). */
		if ((rfbm & XCR0_SSE) && image_mxcsr(&img) != MXCSR_DEFAULT)
			in_use |= XCR0_SSE;
		components = in_use;
		mxcsr = in_use & XCR0_SSE;
		header[0] = in_use;
		header[1] = XCOMP_COMPACT | rfbm;
	} else {
		if (soft_read(c, lin + AREA_HEADER, &header[0], sizeof(header[0]), MEM_READ))
			return NEXT_FAULT;
		components = kind == SAVE_OPT ? in_use : rfbm;
		header[0] = (header[0] & ~rfbm) | in_use;
	}

	if (write_legacy(c, lin, &img, components, mxcsr))
		return NEXT_FAULT;
	if ((components & XCR0_AVX) &&
	    soft_write(c, lin + AREA_YMMH, img.ymmh, ymmh_end(c) - AREA_YMMH, MEM_WRITE))
		return NEXT_FAULT;
	/* Last, so that an image is only called valid when it is there. */
	if (soft_write(c, lin + AREA_HEADER, header, kind == SAVE_COMPACT ? 16 : 8, MEM_WRITE))
		return NEXT_FAULT;
	return NEXT_CONTINUE;
}

enum soft_next sys_xsave(struct soft_cpu *c, const struct sysop *op)
{
	return save(c, op, SAVE_PLAIN, false);
}

enum soft_next sys_xsaveopt(struct soft_cpu *c, const struct sysop *op)
{
	return save(c, op, SAVE_OPT, false);
}

enum soft_next sys_xsavec(struct soft_cpu *c, const struct sysop *op)
{
	return save(c, op, SAVE_COMPACT, false);
}

enum soft_next sys_xsaves(struct soft_cpu *c, const struct sysop *op)
{
	return save(c, op, SAVE_COMPACT, true);
}

/* Is the header that was read into @img one that XRSTOR accepts (SDM vol. 1, 13.8 and 13.12)? */
static bool header_valid(const struct soft_cpu *c, const struct fpu_image *img, bool supervisor)
{
	uint64_t xcr0 = c->s.xcr0, reserved = 0;

	if (!(img->xcomp_bv & XCOMP_COMPACT))
		return !supervisor && !(img->xstate_bv & ~xcr0) && !img->xcomp_bv && !img->reserved[0];

	for (unsigned i = 0; i < 6; i++)
		reserved |= img->reserved[i];
	return !reserved && !(img->xcomp_bv & ~XCOMP_COMPACT & ~xcr0) &&
	       !(img->xstate_bv & ~(img->xcomp_bv & ~XCOMP_COMPACT));
}

/*
 * Outside of 64-bit mode, registers 8 to 15 keep what they hold. The host's
 * XRSTOR knows no such mode: it gets their present contents to load.
 */
static void keep_high_registers(struct fpu_image *img, uint64_t rfbm)
{
	struct fpu_image live;

	host_xsave(&live, rfbm);
	if (rfbm & XCR0_SSE) {
		if (!(img->xstate_bv & XCR0_SSE))
			clear(img->legacy + AREA_XMM, AREA_XMM8 - AREA_XMM);
		copy(img->legacy + AREA_XMM8, live.legacy + AREA_XMM8, AREA_XMM_END - AREA_XMM8);
		img->xstate_bv |= XCR0_SSE;
	}
	if (rfbm & XCR0_AVX) {
		if (!(img->xstate_bv & XCR0_AVX))
			clear(img->ymmh, AREA_YMMH8 - AREA_YMMH);
		copy(img->ymmh + 128, live.ymmh + 128, 128);
		img->xstate_bv |= XCR0_AVX;
	}
}

static enum soft_next restore(struct soft_cpu *c, const struct sysop *op, bool supervisor)
{
	struct fpu_image img;
	uint64_t lin, rfbm = requested(c), load;
	bool mxcsr;

	if (!xsave_allowed(c, supervisor))
		return NEXT_FAULT;
	if (image_address(c, op, AREA_YMMH, 64, false, &lin) ||
	    soft_read(c, lin + AREA_HEADER, &img.xstate_bv, AREA_YMMH - AREA_HEADER, MEM_READ))
		return NEXT_FAULT;
	if (!header_valid(c, &img, supervisor))
		return soft_gp(c, 0);

	load = rfbm & img.xstate_bv;
	/* In the standard format MXCSR is loaded whatever XSTATE_BV says (13.8.1). */
	mxcsr = img.xcomp_bv ? load & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
	if ((mxcsr || (load & (XCR0_X87 | XCR0_SSE))) && soft_read(c, lin, img.legacy, xmm_end(c), MEM_READ))
		return NEXT_FAULT;
	if ((load & XCR0_AVX) && (image_address(c, op, ymmh_end(c), 64, false, &lin) ||
				  soft_read(c, lin + AREA_YMMH, img.ymmh, ymmh_end(c) - AREA_YMMH, MEM_READ)))
		return NEXT_FAULT;
	if (mxcsr && !mxcsr_valid(c, image_mxcsr(&img)))
		return soft_gp(c, 0);
	if (!mxcsr)
		image_set_mxcsr(&img, rfbm & XCR0_SSE ? MXCSR_DEFAULT : live_mxcsr());

	/* What the host gets is always a standard image with only that in it. */
	clear_pointers(&img);
	img.xstate_bv = load;
	img.xcomp_bv = 0;
	for (unsigned i = 0; i < 6; i++)
		img.reserved[i] = 0;
	if (!is_code64(c))
		keep_high_registers(&img, rfbm);
	host_xrstor(&img, rfbm);
	return NEXT_CONTINUE;
}

enum soft_next sys_xrstor(struct soft_cpu *c, const struct sysop *op)
{
	return restore(c, op, false);
}

enum soft_next sys_xrstors(struct soft_cpu *c, const struct sysop *op)
{
	return restore(c, op, true);
}

/* ---- x87's own ---- */

/*
 * The 32-bit image as the host's FNSAVE has it; the 16-bit one consists of the
 * lower halves of the environment's seven words (SDM vol. 1, 8.1.10). Formats
 * of real and protected mode differ in the pointers only, and those are zero.
 */
struct x87_image {
	uint32_t fcw, fsw, ftw, fip, fcs_fop, fdp, fds;
	uint8_t st[80];
};

#define X87_ENV_WORDS 7
#define X87_RESERVED  0xffff0000u /* as CPUs fill the upper halves */

static unsigned x87_env_size(const struct sysop *op)
{
	return op->opsize == 2 ? X87_ENV_WORDS * 2 : X87_ENV_WORDS * 4;
}

/* Brings @img into the guest's format in @out; returns its size. */
static unsigned x87_to_guest(const struct sysop *op, struct x87_image *img, bool regs, uint8_t *out)
{
	unsigned env = x87_env_size(op);
	const uint32_t *word = &img->fcw;

	img->fip = img->fcs_fop = img->fdp = 0;
	img->fds = X87_RESERVED;
	for (unsigned i = 0; i < X87_ENV_WORDS; i++) {
		if (op->opsize == 2)
			((uint16_t *)out)[i] = (uint16_t)word[i];
		else
			((uint32_t *)out)[i] = word[i];
	}
	if (!regs)
		return env;
	copy(out + env, img->st, sizeof(img->st));
	return env + (unsigned)sizeof(img->st);
}

static void x87_from_guest(const struct sysop *op, const uint8_t *in, bool regs, struct x87_image *img)
{
	uint32_t *word = &img->fcw;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t v = op->opsize == 2 ? ((const uint16_t *)in)[i] : ((const uint32_t *)in)[i];
		word[i] = v | X87_RESERVED;
	}
	img->fip = img->fcs_fop = img->fdp = 0;
	img->fds = X87_RESERVED;
	if (regs)
		copy(img->st, in + x87_env_size(op), sizeof(img->st));
}

static enum soft_next x87_store(struct soft_cpu *c, const struct sysop *op, bool regs)
{
	struct x87_image img;
	uint32_t out[27];
	unsigned size = x87_env_size(op) + (regs ? (unsigned)sizeof(img.st) : 0);
	uint64_t lin;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return sys_nm(c, op);
	/* Both change the x87 state, so nothing may fault behind them. */
	if (image_address(c, op, size, 1, true, &lin) || soft_probe(c, lin, size, MEM_WRITE))
		return NEXT_FAULT;
	if (regs)
		__asm__ volatile("fnsave %0" : "=m"(img));
	else
		__asm__ volatile("fnstenv %0" : "=m"(img));
	size = x87_to_guest(op, &img, regs, (uint8_t *)out);
	return soft_write(c, lin, out, size, MEM_WRITE) ? NEXT_FAULT : NEXT_CONTINUE;
}

static enum soft_next x87_load(struct soft_cpu *c, const struct sysop *op, bool regs)
{
	struct x87_image img;
	uint32_t in[27];
	unsigned size = x87_env_size(op) + (regs ? (unsigned)sizeof(img.st) : 0);
	uint64_t lin;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return sys_nm(c, op);
	if (x87_pending(c) || image_address(c, op, size, 1, false, &lin) ||
	    soft_read(c, lin, in, size, MEM_READ))
		return NEXT_FAULT;
	x87_from_guest(op, (const uint8_t *)in, regs, &img);
	if (regs)
		__asm__ volatile("frstor %0" : : "m"(img));
	else
		__asm__ volatile("fldenv %0" : : "m"(img));
	return NEXT_CONTINUE;
}

enum soft_next sys_fnstenv(struct soft_cpu *c, const struct sysop *op)
{
	return x87_store(c, op, false);
}

enum soft_next sys_fldenv(struct soft_cpu *c, const struct sysop *op)
{
	return x87_load(c, op, false);
}

enum soft_next sys_fnsave(struct soft_cpu *c, const struct sysop *op)
{
	return x87_store(c, op, true);
}

enum soft_next sys_frstor(struct soft_cpu *c, const struct sysop *op)
{
	return x87_load(c, op, true);
}
