/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's CPU model.
 *
 * It is always an AMD family 0x19 (Zen 3), whatever the host is, because that
 * is the model for which Linux needs to defend itself least, and every defence
 * costs a translator more than it costs hardware:
 *
 *   Meltdown, L1TF, MDS, MMIO,  no AMD is affected: no page-table isolation,
 *   ITS, BHI, swapgs            no VERW, no thunks
 *   Spectre v2                  automatic IBRS (0x80000021 EAX[8]) replaces retpolines;
 *                               neither IBPB nor STIBP, so nothing at context switches
 *   Retbleed                    BTC_NO (0x80000008 EBX[29]): no return thunks
 *   SRSO (Inception)            SRSO_NO (0x80000021 EAX[29]): no safe-ret
 *   SSB                         SSB_NO (0x80000008 EBX[26])
 *   TSA                         TSA_SQ_NO, TSA_L1_NO (0x80000021 ECX[1], ECX[2]): no VERW; 6.12.117
 *                               wants to see a third of their kind (ECX[7]), too, not documented yet
 *   VMSCAPE                     kernels look at it without the hypervisor bit only
 *   null selector, LFENCE       0x80000021 EAX[6], EAX[2]: no quirks
 *   FXSAVE leak                 XSAVEERPTR (0x80000008 EBX[2]): no clearing of the x87 pointers,
 *                               which are always zero here (engine/soft/sys_fpu.c)
 *
 * Not needing them is honest: the guest runs in an ordinary process whose
 * isolation from the host is the host's business, and inside of the guest no
 * speculation happens that the host's own mitigations do not already bound.
 *
 * Instruction groups come from the table below: a bit of the host, in the
 * place where the guest sees it. Everything else is ours to decide.
 */
#include "cpu/cpuid.h"
#include "cpu/tsc.h"

#include <assert.h>
#include <cpuid.h>
#include <string.h>

#include "cpu/state.h"
#include "cpu/x86.h"

#define BIT(n) (1u << (n))

enum { EAX, EBX, ECX, EDX };

/* Family 0x19, model 0x01, stepping 1 */
#define SIGNATURE 0x00a00f11u

#define MAX_BASIC    0x16u
#define MAX_KVM      0x40000010u
#define MAX_EXTENDED 0x80000021u

/* What a copied instruction needs besides its own bit. */
enum need { NEED_NONE, NEED_XSAVE, NEED_AVX };

/* Copied instructions: host bit and guest bit are the same one. */
static const struct host_feature {
	uint8_t feature;
	uint8_t need;
	uint8_t reg, bit;
	uint32_t leaf, subleaf;
} host_features[] = {
	{ CPU_SSE3, NEED_NONE, ECX, 0, 1, 0 },
	{ CPU_PCLMUL, NEED_NONE, ECX, 1, 1, 0 },
	{ CPU_SSSE3, NEED_NONE, ECX, 9, 1, 0 },
	{ CPU_FMA, NEED_AVX, ECX, 12, 1, 0 },
	{ CPU_CX16, NEED_NONE, ECX, 13, 1, 0 },
	{ CPU_SSE41, NEED_NONE, ECX, 19, 1, 0 },
	{ CPU_SSE42, NEED_NONE, ECX, 20, 1, 0 },
	{ CPU_MOVBE, NEED_NONE, ECX, 22, 1, 0 },
	{ CPU_POPCNT, NEED_NONE, ECX, 23, 1, 0 },
	{ CPU_AES, NEED_NONE, ECX, 25, 1, 0 },
	{ CPU_XSAVE, NEED_XSAVE, ECX, 26, 1, 0 },
	{ CPU_AVX, NEED_AVX, ECX, 28, 1, 0 },
	{ CPU_F16C, NEED_AVX, ECX, 29, 1, 0 },
	{ CPU_RDRAND, NEED_NONE, ECX, 30, 1, 0 },
	{ CPU_BMI1, NEED_NONE, EBX, 3, 7, 0 },
	{ CPU_AVX2, NEED_AVX, EBX, 5, 7, 0 },
	{ CPU_BMI2, NEED_NONE, EBX, 8, 7, 0 },
	{ CPU_RDSEED, NEED_NONE, EBX, 18, 7, 0 },
	{ CPU_ADX, NEED_NONE, EBX, 19, 7, 0 },
	{ CPU_CLFLUSHOPT, NEED_NONE, EBX, 23, 7, 0 },
	{ CPU_CLWB, NEED_NONE, EBX, 24, 7, 0 },
	{ CPU_SHA, NEED_NONE, EBX, 29, 7, 0 },
	{ CPU_VAES, NEED_AVX, ECX, 9, 7, 0 },
	{ CPU_VPCLMUL, NEED_AVX, ECX, 10, 7, 0 },
	{ CPU_XGETBV1, NEED_XSAVE, EAX, 2, 0xd, 1 },
	{ CPU_LAHF, NEED_NONE, ECX, 0, 0x80000001, 0 },
	{ CPU_LZCNT, NEED_NONE, ECX, 5, 0x80000001, 0 },
	{ CPU_MISALIGNSSE, NEED_NONE, ECX, 7, 0x80000001, 0 },
	{ CPU_PREFETCHW, NEED_NONE, ECX, 8, 0x80000001, 0 },
};

/* XCR0 as the host kernel set it: what XSAVE and AVX may be used for. */
static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/* Each leaf is asked for once: inside of a VM, CPUID is a slow exit. */
void cpuid_read_host(struct host_cpu *h)
{
	uint32_t max, max_ext, b, c, d;

	memset(h, 0, sizeof(*h));
	__cpuid(0, max, b, c, d);
	__cpuid(0x80000000, max_ext, b, c, d);
	__cpuid(1, h->leaf1[EAX], h->leaf1[EBX], h->leaf1[ECX], h->leaf1[EDX]);
	if (max >= 7)
		__cpuid_count(7, 0, h->leaf7[EAX], h->leaf7[EBX], h->leaf7[ECX], h->leaf7[EDX]);
	if (max >= 0xd)
		__cpuid_count(0xd, 1, h->leafd1[EAX], h->leafd1[EBX], h->leafd1[ECX], h->leafd1[EDX]);
	if (max_ext >= 0x80000001)
		__cpuid(0x80000001, h->ext1[EAX], h->ext1[EBX], h->ext1[ECX], h->ext1[EDX]);
	if (h->leaf1[ECX] & BIT(27))
		h->xcr0 = host_xcr0();
}

static const uint32_t *host_leaf(const struct host_cpu *h, uint32_t leaf)
{
	return leaf == 1 ? h->leaf1 : leaf == 7 ? h->leaf7 : leaf == 0xd ? h->leafd1 : h->ext1;
}

static void feature_set(struct cpuid_table *t, enum cpu_feature f)
{
	t->features[f / 64] |= (uint64_t)1 << (f % 64);
}

/* Reads which copied instructions the host has into @t->features and @t->xcr0. */
static void features_read(struct cpuid_table *t, const struct host_cpu *host)
{
	uint64_t xcr0 = host->xcr0;
	bool xsave = (xcr0 & (XCR0_X87 | XCR0_SSE)) == (XCR0_X87 | XCR0_SSE);
	bool avx = xsave && (xcr0 & XCR0_AVX);

	for (unsigned i = 0; i < sizeof(host_features) / sizeof(host_features[0]); i++) {
		const struct host_feature *h = &host_features[i];

		if (!(host_leaf(host, h->leaf)[h->reg] >> h->bit & 1))
			continue;
		if ((h->need == NEED_XSAVE && !xsave) || (h->need == NEED_AVX && !avx))
			continue;
		feature_set(t, h->feature);
	}

	static const uint8_t emulated[] = { CPU_FSGSBASE, CPU_SERIALIZE, CPU_INVPCID,
					    CPU_RDTSCP,   CPU_RDPID,     CPU_SMAP };
	for (unsigned i = 0; i < sizeof(emulated); i++)
		feature_set(t, emulated[i]);
	if (cpuid_has(t, CPU_XSAVE)) {
		/* Built by hand from the host's XSAVE, which everybody has. */
		feature_set(t, CPU_XSAVEOPT);
		feature_set(t, CPU_XSAVEC);
		feature_set(t, CPU_XSAVES);
		t->xcr0 = XCR0_X87 | XCR0_SSE | (cpuid_has(t, CPU_AVX) ? XCR0_AVX : 0);
	}
}

/* The feature bits of the host table that belong into one register of one leaf. */
static uint32_t copied_bits(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < sizeof(host_features) / sizeof(host_features[0]); i++) {
		const struct host_feature *h = &host_features[i];
		if (h->leaf == leaf && h->subleaf == subleaf && h->reg == reg && cpuid_has(t, h->feature))
			bits |= BIT(h->bit);
	}
	return bits;
}

static void add(struct cpuid_table *t, uint32_t leaf, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	assert(t->count < CPUID_MAX_ENTRIES);
	t->entry[t->count++] = (struct cpuid_entry){ .leaf = leaf, .eax = a, .ebx = b, .ecx = c, .edx = d };
}

static void add_sub(struct cpuid_table *t, uint32_t leaf, uint32_t sub, uint32_t a, uint32_t b, uint32_t c,
		    uint32_t d)
{
	add(t, leaf, a, b, c, d);
	t->entry[t->count - 1].subleaf = sub;
	t->entry[t->count - 1].per_subleaf = true;
}

static uint32_t four(const char *s)
{
	uint32_t v;

	memcpy(&v, s, sizeof(v));
	return v;
}

/* Bits of an APIC id that number the CPUs of the one package. */
static unsigned id_bits(unsigned vcpus)
{
	unsigned bits = 0;

	while (BIT(bits) < vcpus)
		bits++;
	return bits;
}

/* Bits 0-9, 12-17, 23 and 24 of leaf 1 EDX, which AMD repeats in 0x80000001. */
static const uint32_t edx_basic = BIT(0) /* FPU */ | BIT(2) /* DE */ | BIT(3) /* PSE */ | BIT(4) /* TSC */ |
				  BIT(5) /* MSR */ | BIT(6) /* PAE */ | BIT(7) /* MCE */ | BIT(8) /* CX8 */ |
				  BIT(9) /* APIC */ | BIT(12) /* MTRR */ | BIT(13) /* PGE */ |
				  BIT(14) /* MCA */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ |
				  BIT(23) /* MMX */ | BIT(24) /* FXSR */;

static void build_basic(struct cpuid_table *t, const struct host_cpu *host, unsigned vcpus)
{
	add(t, 0, MAX_BASIC, four("Auth"), four("cAMD"), four("enti"));

	/* EBX: CLFLUSH line in quadwords, CPUs in the package; the APIC id is filled in per CPU */
	add(t, 1, SIGNATURE, 8 << 8 | (vcpus < 255 ? vcpus : 255) << 16,
	    copied_bits(t, 1, 0, ECX) | BIT(17) /* PCID */ | BIT(21) /* x2APIC */ |
		    BIT(24) /* TSC deadline */ | BIT(31) /* hypervisor */,
	    edx_basic | BIT(11) /* SEP */ | BIT(19) /* CLFLUSH */ | BIT(25) /* SSE */ | BIT(26) /* SSE2 */ |
		    (vcpus > 1 ? BIT(28) /* HTT: the count in EBX is valid */ : 0));

	/* ARAT: the APIC timer never stops, so Linux wants no broadcast timer */
	add(t, 6, BIT(2), 0, 0, 0);

	/*
	 * REP MOVSB is the host's own, so ERMS is as true as there. Not FSRM:
	 * a short one costs a call of C here, and kernels then prefer MOVs.
	 */
	add_sub(t, 7, 0, 0,
		copied_bits(t, 7, 0, EBX) | BIT(0) /* FSGSBASE */ | BIT(1) /* TSC_ADJUST */ |
			BIT(7) /* SMEP */ | BIT(10) /* INVPCID */ | BIT(20) /* SMAP */ |
			(host->leaf7[EBX] & BIT(9)) /* ERMS */,
		copied_bits(t, 7, 0, ECX) | BIT(2) /* UMIP */ | BIT(22) /* RDPID */,
		/*
		 * Kernels serialize at each patch of their code, a hundred thousand
		 * times during boot. Without SERIALIZE they do it by an IRET to
		 * themselves, which costs half a dozen calls of C here.
		 */
		BIT(14) /* SERIALIZE */);

	/* Topology: cores without threads, one package. EDX is the x2APIC id. */
	add_sub(t, 0xb, 0, 0, 1, 1 << 8 | 0, 0);
	add_sub(t, 0xb, 1, id_bits(vcpus), vcpus, 2 << 8 | 1, 0);

	if (t->xcr0) {
		/* EBX, the size of what is enabled now, is filled in by cpuid_query() */
		add_sub(t, 0xd, 0, t->xcr0, 0, t->xcr0 & XCR0_AVX ? X86_XSAVE_SIZE : 576, 0);
		add_sub(t, 0xd, 1,
			BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(3) /* XSAVES */ |
				copied_bits(t, 0xd, 1, EAX),
			0, 0, 0);
		if (t->xcr0 & XCR0_AVX)
			add_sub(t, 0xd, 2, 256, 576, 0, 0);
	}

	/* TSC = crystal * EBX / EAX, with the APIC bus for the crystal. MHz in 0x16. */
	add(t, 0x15, CPUID_APIC_BUS_KHZ, t->tsc_khz, CPUID_APIC_BUS_KHZ * 1000, 0);
	add(t, 0x16, t->tsc_khz / 1000, t->tsc_khz / 1000, CPUID_APIC_BUS_KHZ / 1000, 0);
}

static void build_hypervisor(struct cpuid_table *t)
{
	add(t, 0x40000000, MAX_KVM, four("KVMK"), four("VMKV"), four("M\0\0\0"));
	add(t, 0x40000001, CPUID_KVM_FEATURES, 0, 0, 0);
	add(t, 0x40000010, t->tsc_khz, CPUID_APIC_BUS_KHZ, 0, 0);
}

/*
 * Caches as AMD tells them (APM vol. 3, appendix E): the old leaves for a
 * quick look, 0x8000001d for what is shared by whom. The sizes are those of
 * a common Zen 3; software uses them to choose block sizes.
 */
static void build_caches(struct cpuid_table *t, unsigned vcpus)
{
	const uint32_t line = 64;
	const struct {
		uint32_t type, level, ways, sets, sharing, flags;
	} cache[] = {
		{ 1, 1, 8, 64, 1, 0 },              /* 32 KiB data */
		{ 2, 1, 8, 64, 1, 0 },              /* 32 KiB code */
		{ 3, 2, 8, 1024, 1, BIT(1) },       /* 512 KiB, inclusive */
		{ 3, 3, 16, 32768, vcpus, BIT(0) }, /* 32 MiB */
	};

	/* L1: TLBs, then 32 KiB, 8 ways, 1 line a tag, 64 bytes a line */
	add(t, 0x80000005, 0xff40ff40, 0xff40ff40, 32 << 24 | 8 << 16 | 1 << 8 | 64,
	    32 << 24 | 8 << 16 | 1 << 8 | 64);
	/* L2 TLBs; L2 512 KiB, 8 ways (code 6); L3 in units of 512 KiB, 16 ways (code 8) */
	add(t, 0x80000006, 0x48002200, 0x68004200, 512u << 16 | 6 << 12 | 1 << 8 | 64,
	    64u << 18 | 8 << 12 | 1 << 8 | 64);

	for (unsigned i = 0; i < sizeof(cache) / sizeof(cache[0]); i++)
		add_sub(t, 0x8000001d, i,
			cache[i].type | cache[i].level << 5 | BIT(8) /* self initializing */ |
				(cache[i].sharing - 1) << 14,
			(line - 1) | (cache[i].ways - 1) << 22, cache[i].sets - 1, cache[i].flags);
}

static void build_extended(struct cpuid_table *t, unsigned vcpus)
{
	static const char brand[48] = "lguest virtual CPU";

	add(t, 0x80000000, MAX_EXTENDED, four("Auth"), four("cAMD"), four("enti"));
	add(t, 0x80000001, SIGNATURE, 0,
	    copied_bits(t, 0x80000001, 0, ECX) | BIT(22) /* TOPOEXT */ |
		    (vcpus > 1 ? BIT(1) /* CMP_LEGACY */ : 0),
	    edx_basic | BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(22) /* MMXEXT */ |
		    BIT(26) /* 1 GiB pages */ | BIT(27) /* RDTSCP */ | BIT(29) /* long mode */);
	for (unsigned i = 0; i < 3; i++)
		add(t, 0x80000002 + i, four(brand + 16 * i), four(brand + 16 * i + 4),
		    four(brand + 16 * i + 8), four(brand + 16 * i + 12));
	build_caches(t, vcpus);
	add(t, 0x80000007, 0, 0, 0, BIT(8) /* invariant TSC */);
	add(t, 0x80000008, CPUID_PHYS_BITS | 48 << 8,
	    BIT(2) /* XSAVEERPTR */ | BIT(20) /* no EFER.LMSLE */ | BIT(26) /* SSB_NO */ |
		    BIT(29) /* BTC_NO */,
	    id_bits(vcpus) << 12 | ((vcpus - 1) & 0xff), 0);
	/* APIC id, core id (filled in per CPU) with one thread a core, node 0 of 1 */
	add(t, 0x8000001e, 0, 0, 0, 0);
	add(t, 0x80000021,
	    BIT(2) /* LFENCE serializes */ | BIT(6) /* null selector clears base */ |
		    BIT(8) /* automatic IBRS */ | BIT(29) /* SRSO_NO */ | BIT(30) /* SRSO_USER_KERNEL_NO */,
	    0, BIT(1) /* TSA_SQ_NO */ | BIT(2) /* TSA_L1_NO */ | BIT(7) /* see above */, 0);
}

void cpuid_build_for(struct cpuid_table *t, unsigned vcpus, const struct host_cpu *host, uint32_t tsc_khz)
{
	memset(t, 0, sizeof(*t));
	t->tsc_khz = tsc_khz;
	features_read(t, host);
	build_basic(t, host, vcpus);
	build_hypervisor(t);
	build_extended(t, vcpus);
}

void cpuid_build(struct cpuid_table *t, unsigned vcpus, const struct tsc_moment *since)
{
	struct host_cpu host;

	cpuid_read_host(&host);
	cpuid_build_for(t, vcpus, &host, tsc_frequency_khz(since));
}

/* Bytes of an XSAVE area with the components of @xcr0; both formats agree for x87, SSE, AVX. */
static uint32_t xsave_size(uint64_t xcr0)
{
	return xcr0 & XCR0_AVX ? X86_XSAVE_SIZE : 576;
}

void cpuid_query(const struct cpuid_table *t, const struct x86_state *s, unsigned cpu, uint32_t leaf,
		 uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(out[0]));
	for (unsigned i = 0; i < t->count; i++) {
		const struct cpuid_entry *e = &t->entry[i];
		if (e->leaf == leaf && (!e->per_subleaf || e->subleaf == subleaf)) {
			out[EAX] = e->eax;
			out[EBX] = e->ebx;
			out[ECX] = e->ecx;
			out[EDX] = e->edx;
			break;
		}
	}

	switch (leaf) {
	case 1:
		out[EBX] |= (cpu & 0xff) << 24;
		if (s->cr4 & CR4_OSXSAVE)
			out[ECX] |= BIT(27);
		break;
	case 0xb:
		/* Levels beyond the last: type 0, but ECX[7:0] and EDX still answer (SDM vol. 2, CPUID) */
		out[ECX] |= subleaf & 0xff;
		out[EDX] = cpu;
		break;
	case 0xd:
		if (t->xcr0 && subleaf == 0)
			out[EBX] = xsave_size(s->xcr0);
		if (t->xcr0 && subleaf == 1)
			out[EBX] = xsave_size(s->xcr0 | s->xss);
		break;
	case 0x8000001e:
		out[EAX] = cpu;
		out[EBX] = cpu & 0xff;
		break;
	}
}
