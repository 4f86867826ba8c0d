/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compares two outcomes of a case and prints what a person needs to see.
 */
#include <string.h>

#include <Zydis/Zydis.h>

#include "cpu/x86.h"

#include "diff.h"

#define FLAGS_COMPARED (FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID)

static const char *const reg_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

static bool differ(FILE *out, const char *what, uint64_t want, uint64_t got)
{
	if (want == got)
		return false;
	if (out)
		fprintf(out, "  %-8s native %016llx  guest %016llx\n", what, (unsigned long long)want,
			(unsigned long long)got);
	return true;
}

static uint32_t error_of(const struct outcome *o)
{
	/* Linux hides the layout of its own half from user programs: it reports P. */
	if (o->vector == 14 && o->cr2 >= 0x7ffffffff000)
		return o->error | PFERR_P;
	switch (o->vector) {
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
	case 17: return o->error;
	default: return 0;
	}
}

static bool differ_fpu(FILE *out, bool ia32, const struct outcome *want, const struct outcome *got)
{
	uint8_t w[XSAVE_BYTES], g[XSAVE_BYTES];
	bool bad = false;

	memcpy(w, want->xsave, sizeof(w));
	memcpy(g, got->xsave, sizeof(g));
	xsave_normalise(w);
	xsave_normalise(g);
	if (ia32) {
		/* 32-bit code does not see xmm8 to xmm15. */
		memset(w + 288, 0, 128);
		memset(g + 288, 0, 128);
		memset(w + 704, 0, 128);
		memset(g + 704, 0, 128);
	}
	if (!memcmp(w, g, sizeof(w)))
		return false;
	for (unsigned i = 0; i < sizeof(w); i += 8) {
		uint64_t a, b;
		char name[16];

		memcpy(&a, w + i, 8);
		memcpy(&b, g + i, 8);
		if (a == b)
			continue;
		if (i == 0)
			snprintf(name, sizeof(name), "fcw/fsw");
		else if (i < 32)
			snprintf(name, sizeof(name), i == 24 ? "mxcsr" : "fip/fdp");
		else if (i < 160)
			snprintf(name, sizeof(name), "st%u.%u", (i - 32) / 16, i / 8 % 2);
		else if (i < 416)
			snprintf(name, sizeof(name), "xmm%u.%u", (i - 160) / 16, i / 8 % 2);
		else
			snprintf(name, sizeof(name), "ymm%u.%u", (i - 576) / 16, 2 + i / 8 % 2);
		bad |= differ(out, name, a, b);
	}
	return bad;
}

/* The IRET to the signal handler makes 0 of null selectors 1 to 3. */
static uint16_t selector(uint16_t sel)
{
	return sel < 4 ? 0 : sel;
}

static uint64_t change_va(uint32_t index)
{
	return data_pages[index / 512].va + index % 512 * 8;
}

static bool differ_memory(FILE *out, const struct outcome *want, const struct outcome *got)
{
	unsigned i = 0, j = 0;

	if (want->nchanges == got->nchanges && want->hash == got->hash)
		return false;
	if (!out)
		return true;
	fprintf(out, "  memory   %u words changed natively, %u in the guest\n", want->nchanges,
		got->nchanges);
	for (unsigned lines = 0; lines < 12;) {
		const struct change *w = i < want->nchanges && i < MAX_CHANGES ? &want->change[i] : NULL;
		const struct change *g = j < got->nchanges && j < MAX_CHANGES ? &got->change[j] : NULL;

		if (!w && !g)
			break;
		if (w && g && w->index == g->index && w->val == g->val) {
			i++;
			j++;
			continue;
		}
		lines++;
		if (w && g && w->index == g->index) {
			fprintf(out, "  [%llx] native %016llx  guest %016llx\n",
				(unsigned long long)change_va(w->index), (unsigned long long)w->val,
				(unsigned long long)g->val);
			i++;
			j++;
		} else if (w && (!g || w->index < g->index)) {
			fprintf(out, "  [%llx] native %016llx  guest unchanged\n",
				(unsigned long long)change_va(w->index), (unsigned long long)w->val);
			i++;
		} else {
			fprintf(out, "  [%llx] native unchanged  guest %016llx\n",
				(unsigned long long)change_va(g->index), (unsigned long long)g->val);
			j++;
		}
	}
	return true;
}

static bool is_maskmov(const struct diff_case *c, uint64_t rip)
{
	const uint8_t *p = c->code + (rip - c->va);

	/* 0F F7 or VEX F7 within the first bytes */
	for (unsigned i = 0; rip >= c->va && rip - c->va < c->len && i < 6; i++)
		if (p[i] == 0xf7)
			return true;
	return false;
}

bool outcomes_equal(const struct diff_case *c, const struct outcome *want, const struct outcome *got,
		    bool strict, FILE *out)
{
	uint64_t flags = FLAGS_COMPARED & ~(uint64_t)c->undefined;
	uint64_t page = c->any_cr2 ? ~0ull : c->loose_cr2 ? 0xfff : 0;
	bool bad = false, fpu;

	/* Which operand of CMPS faults first depends on the CPU. */
	if (c->any_cr2 && want->rip == got->rip && want->vector >= VEC_SS && want->vector <= VEC_PF &&
	    got->vector >= VEC_SS && got->vector <= VEC_PF)
		return true;
	if (c->maskmov && want->vector >= VEC_SS && want->vector <= VEC_PF && is_maskmov(c, want->rip))
		return true;
	/* The host knows an encoding that Zydis does not; to the guest it is not offered. */
	if (c->undecodable && got->vector == VEC_UD && got->rip == c->va && want->rip != c->va)
		return true;
	/* An offset that is not canonical, but leads with the base of FS or GS to the upper half: AMD CPUs say #GP. */
	if (want->vector == VEC_GP && got->vector == VEC_PF && want->rip == got->rip && got->cr2 >> 47 &&
	    (c->fsbase | c->gsbase))
		return true;
	/* Which part of an operand that wraps at 4 GiB is looked at first, as well. */
	if (c->ia32 && want->rip == got->rip && want->vector >= VEC_SS && want->vector <= VEC_PF &&
	    got->vector >= VEC_SS && got->vector <= VEC_PF && (want->cr2 | got->cr2) >= 0xfffff000)
		return true;
	/* So does how far a gather gets that faults. */
	fpu = !(c->family == FAM_GATHER && want->vector == VEC_PF && got->vector == VEC_PF);
	if (want->vector == VEC_MF && want->rip == got->rip && got->vector >= VEC_SS && got->vector <= VEC_PF)
		return true;
	if (want->vector != VEC_BP && want->vector != VEC_DB && !strict)
		flags &= ~(uint64_t)FLAG_ARITH;
	bad |= differ(out, "vector", want->vector, got->vector);
	bad |= differ(out, "error", error_of(want), error_of(got));
	bad |= differ(out, "cr2", want->cr2 & ~page, got->cr2 & ~page);
	bad |= differ(out, "rip", want->rip, got->rip);
	bad |= differ(out, "rflags", want->rflags & flags, got->rflags & flags);
	for (unsigned i = 0; i < (c->ia32 ? 8u : 16u); i++)
		bad |= differ(out, reg_names[i], want->regs[i], got->regs[i]);
	bad |= differ(out, "fsbase", want->fsbase, got->fsbase);
	bad |= differ(out, "gsbase", want->gsbase, got->gsbase);
	bad |= differ(out, "cs", want->cs, got->cs);
	bad |= differ(out, "ss", want->ss, got->ss);
	bad |= differ(out, "ds", selector(want->ds), selector(got->ds));
	bad |= differ(out, "es", selector(want->es), selector(got->es));
	bad |= fpu && differ_fpu(out, c->ia32, want, got);
	bad |= c->family != FAM_FENV && differ_memory(out, want, got);
	return !bad;
}

void print_case(const struct diff_case *c, FILE *out)
{
	ZydisDecoder dec;
	ZydisFormatter fmt;

	ZydisDecoderInit(&dec, c->ia32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
			 c->ia32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
	ZydisFormatterInit(&fmt, ZYDIS_FORMATTER_STYLE_INTEL);
	fprintf(out, "  --replay=%llx:%llx:%s\n", (unsigned long long)c->seed, (unsigned long long)c->va,
		families[c->family].name);
	for (unsigned i = 0; i < c->ninsns; i++) {
		unsigned at = c->insn_off[i], len = c->insn_off[i + 1] - at;
		ZydisDecodedInstruction in;
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		char text[128] = "?";
		bool nop = true;

		for (unsigned j = 0; j < len; j++)
			nop &= c->code[at + j] == 0x90;
		if (nop)
			continue;
		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, c->code + at, len, &in, op)))
			ZydisFormatterFormatInstruction(&fmt, &in, op, in.operand_count_visible, text,
							sizeof(text), c->va + at, NULL);
		fprintf(out, "  %llx ", (unsigned long long)c->va + at);
		for (unsigned j = 0; j < len; j++)
			fprintf(out, " %02x", c->code[at + j]);
		fprintf(out, "  %s\n", text);
	}
	for (unsigned i = 0; i < (c->ia32 ? 8u : 16u); i++)
		fprintf(out, "  %s=%llx%s", reg_names[i], (unsigned long long)c->regs[i],
			i % 4 == 3 ? "\n" : "");
	fprintf(out, "  rflags=%llx fsbase=%llx gsbase=%llx image=%u%s\n", (unsigned long long)c->rflags,
		(unsigned long long)c->fsbase, (unsigned long long)c->gsbase, c->image,
		c->flush ? " flush" : "");
}
