/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory that a case finds, and what it made of it.
 *
 * The data pages hold a mixture in which every kind of operand occurs: random
 * bits, small integers, floats and doubles ordinary and special, pointers into
 * the data pages and flag-like patterns. A read-only page stands between
 * writable ones, and unmapped ones around them, so that an access across any
 * boundary has a chance.
 */
#include <string.h>

#include "diff.h"

const struct data_page data_pages[DATA_PAGES] = {
	{ VA_DATA + 0x0000, true }, { VA_DATA + 0x1000, true },  { VA_DATA + 0x2000, false },
	{ VA_DATA + 0x3000, true }, { VA_DATA + 0x4000, true },  { VA_HIGH + 0x0000, true },
	{ VA_HIGH + 0x1000, true }, { VA_STACK + 0x0000, true }, { VA_STACK + 0x1000, true },
};

static uint64_t word_of_kind(struct rng *r, unsigned kind)
{
	static const uint64_t special[] = {
		0,
		~0ull,
		0x8000000000000000ull,
		0x7fffffffffffffffull,
		0x7ff0000000000000ull,
		0xfff0000000000000ull,
		0x7ff8000000000000ull,
		0x7ff4000000000001ull,
		0x3ff0000000000000ull,
		0x0000000000000001ull,
		0x7f8000007f800000ull,
		0x7fc000017fa00001ull,
		0x3f8000003f800000ull,
		0x0000000100000001ull,
		0x800000007fffffffull,
		0xff800000bf800000ull,
	};
	uint64_t v = rnd(r);
	uint64_t a, b;

	switch (kind) {
	case 0: return v;
	case 1: return v >> (32 + (v & 31));
	case 2: /* a double between 2^-32 and 2^32 */
		return (v & 0x800fffffffffffffull) | (1023ull - 32 + rnd_n(r, 64)) << 52;
	case 3: /* two such floats */
		a = (v & 0x807fffff) | (127u - 16 + rnd_n(r, 32)) << 23;
		b = (v >> 32 & 0x807fffff) | (127u - 16 + rnd_n(r, 32)) << 23;
		return b << 32 | a;
	case 4: return special[v % (sizeof(special) / sizeof(special[0]))];
	case 5: return data_pages[v % DATA_PAGES].va + (v >> 32 & 0xfff);
	case 6: return VA_STACK + (v & 0x1ff8);
	default: return (int64_t)(int8_t)v;
	}
}

uint64_t rnd_word(struct rng *r)
{
	return word_of_kind(r, rnd_n(r, 8));
}

void image_fill(struct data_image *img, uint64_t seed)
{
	struct rng r = { seed };

	for (unsigned i = 0; i < DATA_WORDS; i++)
		img->word[i] = rnd_word(&r);
}

void scan_changes(struct outcome *out, const struct data_image *img, uint64_t *const page[DATA_PAGES])
{
	out->nchanges = 0;
	out->hash = 0;
	memset(out->change, 0, sizeof(out->change));
	for (unsigned p = 0; p < DATA_PAGES; p++) {
		const uint64_t *want = img->word + p * 512;
		uint64_t *have = page[p];

		for (unsigned line = 0; line < 512; line += 8) {
			if (!memcmp(have + line, want + line, 64))
				continue;
			for (unsigned i = line; i < line + 8; i++) {
				if (have[i] == want[i])
					continue;
				if (out->nchanges < MAX_CHANGES)
					out->change[out->nchanges] = (struct change){ p * 512 + i, have[i] };
				out->nchanges++;
				out->hash = (out->hash ^ have[i] ^ (uint64_t)(p * 512 + i) << 48) *
					    0x9e3779b97f4a7c15ull;
				have[i] = want[i];
			}
		}
	}
}

void xsave_normalise(uint8_t *x)
{
	uint64_t bv;
	uint16_t fsw;

	memcpy(&bv, x + 512, 8);
	if (!(bv & 1)) {
		static const uint8_t init[32] = { 0x7f, 0x03 };

		memcpy(x, init, 24);
		memset(x + 32, 0, 128);
	}
	if (!(bv & 2))
		memset(x + 160, 0, 256);
	if (!(bv & 4))
		memset(x + 576, 0, 256);
	memcpy(&fsw, x + 2, 2);
	/*
	 * FOP, FIP and FDP: AMD CPUs store them only while an exception is
	 * pending (APM vol. 2, 11.4.4), and the host's own context switches
	 * clear them. MXCSR_MASK is not state.
	 */
	memset(x + 6, 0, 18);
	memset(x + 28, 0, 4);
	/* Reserved and software-usable parts of the legacy area and the header. */
	for (unsigned i = 0; i < 8; i++)
		memset(x + 32 + 16 * i + 10, 0, 6);
	memset(x + 416, 0, 96);
	memset(x + 512, 0, 64);
}
