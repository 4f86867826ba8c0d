/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions decoded by their shape (translate_decode.c) are what Zydis says they
 * are: random ones, of opcodes that have shapes and of all others. --fuzz=N: so many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "cpu/cpuid.h"
#include "engine/soft/translate.h"

static struct cpuid_table cpuid;
static struct soft_engine engine = { .cpuid = &cpuid };
static struct insn by_shape, by_zydis;
static uint8_t page[PAGE_SIZE];
static unsigned long rounds = 2000000;
static uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull;
}

static unsigned pick(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

static void random_bytes(uint8_t *b)
{
	static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x64, 0x2e };
	unsigned at = 0;

	for (unsigned i = 0; i < 16; i += 8) {
		uint64_t v = rnd();

		memcpy(b + i, &v, 8);
	}
	if (!pick(20))
		return;
	while (!pick(3))
		b[at++ & 3] = prefixes[pick(pick(4) ? 3 : sizeof(prefixes))];
	at = at > 3 ? 3 : at;
	if (pick(2))
		b[at++] = (uint8_t)(0x40 + pick(16));
	if (pick(3) == 0)
		b[at++] = 0x0f;
	/* The opcode stays as it is; of ModRM, all forms are as likely, with SIBs of no index or base. */
	if (pick(4) == 0)
		b[at + 1] = (uint8_t)((b[at + 1] & 0x38) | 4 | pick(3) << 6);
	if (pick(4) == 0)
		b[at + 2] = (uint8_t)((b[at + 2] & 0xc0) | (pick(2) ? 4 : pick(8)) << 3 |
				      (pick(2) ? 5 : pick(8)));
}

static void dump(const char *how, const struct insn *in)
{
	print_message("%s: length %u class %u mnemonic %u, %u operands, width %u, attributes %lx\n", how,
		      in->len, in->class, (unsigned)in->zi.mnemonic, in->op_count, in->zi.operand_width,
		      (unsigned long)in->zi.attributes);
	for (unsigned i = 0; i < in->op_count; i++)
		print_message("\ttype %u encoding %u actions %u size %u: %u %u %u %u\n",
			      (unsigned)in->ops[i].type, (unsigned)in->ops[i].encoding, in->ops[i].actions,
			      in->ops[i].size, (unsigned)in->ops[i].mem.type,
			      (unsigned)in->ops[i].mem.segment, (unsigned)in->ops[i].mem.base,
			      (unsigned)in->ops[i].mem.index);
}

static void same_as_zydis(void **unused)
{
	/* User and kernel code, code without an FPU; 32-bit code has no shapes. */
	static const uint32_t modes[] = { MODE_CS64 | MODE_USER,  MODE_CS64 | MODE_CPL0,
					  MODE_CS64 | MODE_NOFPU, MODE_CS64 | MODE_NOSSE,
					  MODE_CS64 | MODE_EM,    MODE_CS32 | MODE_USER };
	struct xlat x = { .engine = &engine, .page = page };
	unsigned long shaped = 0;

	for (unsigned long n = 0; n < rounds; n++) {
		unsigned off = pick(50) ? pick(PAGE_SIZE - 16) : PAGE_SIZE - 1 - pick(16);
		uint8_t b[16];
		bool ok;

		/* The table fills, and what comes then is decoded by what has been kept of others. */
		if (n % 100000 == 0) {
			translator_destroy(x.t);
			x.t = engine.translator = translator_create(&engine);
			assert_non_null(x.t);
		}
		random_bytes(b);
		memcpy(page + off, b, off + 16 > PAGE_SIZE ? PAGE_SIZE - off : 16);
		x.mode = modes[pick(3) ? 0 : pick(sizeof(modes) / sizeof(modes[0]))];
		x.decoder = &x.t->decoder[x.mode & MODE_CS64 ? 2 : 1];
		/* What was there before must not show. */
		memset(&by_shape, (int)rnd(), sizeof(by_shape));
		engine.disable = 0;
		ok = insn_decode(&x, &by_shape, off);
		shaped += ok && !by_shape.context.definition;
		engine.disable = SOFT_NO_SHAPES;
		assert_int_equal(insn_decode(&x, &by_zydis, off), ok);
		if (!ok)
			continue;
		if (!insn_same(&by_shape, &by_zydis)) {
			for (unsigned i = 0; i < 16; i++)
				print_message("%02x ", b[i]);
			print_message("mode %x\n", x.mode);
			dump("by shape", &by_shape);
			dump("by Zydis", &by_zydis);
			fail();
		}
		if (by_shape.class == CLASS_COPY) {
			ZydisDecodedOperand all[2][ZYDIS_MAX_OPERAND_COUNT];

			assert_true(insn_all_operands(&x, &by_shape, all[0]));
			assert_true(insn_all_operands(&x, &by_zydis, all[1]));
			for (unsigned i = by_shape.op_count; i < by_shape.zi.operand_count; i++)
				assert_int_equal(all[0][i].type, all[1][i].type);
		}
	}
	print_message("%lu of %lu by shape, %u shapes\n", shaped, rounds, x.t->shape_count);
	assert_true(shaped > rounds / 5);
	translator_destroy(x.t);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_zydis) };

	state = 0x123456789abcdefull;
	if (argc > 1 && !strncmp(argv[1], "--fuzz=", 7)) {
		rounds = strtoul(argv[1] + 7, NULL, 0);
		state ^= (uint64_t)time(NULL) << 20;
		printf("seed %#lx\n", (unsigned long)state);
	}
	/* All features that there are. */
	memset(cpuid.features, 0xff, sizeof(cpuid.features));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
