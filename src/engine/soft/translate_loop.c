// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hot loops: several rounds of the loop in one block.
 *
 * A block that ends with a jump to its own start polls, and checks each access, in each
 * round. With the body repeated, the jump back is followed at translation
 * time; what leaves the block is its condition's other side. There is one poll then for all
 * rounds of a block, and what the rounds access becomes groups (translate_group.c): with
 * a pointer that moves by a constant, one check serves them all.
 *
 *	1: movzx eax, [rdi]			1: poll
 *	   add ebx, eax				   check [rdi, rdi + 4): R9
 *	   add rdi, 1				   movzx eax, [r9]
 *	   cmp rdi, rsi				   add ebx, eax
 *	   jne 1b				   add rdi, 1
 *						   cmp rdi, rsi
 *						   je out
 *						   movzx eax, [r9 + 1]
 *						   ...
 *						   jne 1b
 *
 * The body is what is executed if jumps back are taken and jumps ahead are not, and it has to come
 * back to where it began. It consists of nothing but copied instructions, LEA and
 * such jumps: no calls, no stack operations, no system instructions.
 *
 * Only in user code that a timer has found hot: most loops make few rounds. Invariants:
 *
 *  - Unpolled exits (block_exit.forward) lead to a higher address than where their block begins, so
 *    no chain of them is endless, though the jumps back inside a block do not poll.
 *  - A block stays bounded: LOOP_MAX_INSNS instructions until the next poll.
 *  - Each round's copy of an instruction has its own offset, sites and exits: a fault, and a store that changes
 *    the loop's own code, find the state of that round.
 */
#include "engine/soft/translate.h"

#define ROUNDS_MAX 8

static bool is_hot(const struct xlat *x)
{
	uint64_t bit;

	if (mode_view(x->mode) != VIEW_USER || !is_code64(x) || x->single || x->ungrouped || x->absolute ||
	    (x->engine->disable & SOFT_NO_LOOPS))
		return false;
	return (x->engine->disable & SOFT_NO_SAMPLING) || (*slot_hot(x->engine, x->block->phys, &bit) & bit);
}

/* Can it be part of the body? Then *@off becomes where execution goes on, most likely. */
static bool follow(struct insn *in, unsigned *off)
{
	int64_t target;

	if (in->shadow || in->zi.mnemonic == ZYDIS_MNEMONIC_SERIALIZE)
		return false;
	*off += in->len;
	switch ((enum insn_class)in->class) {
	case CLASS_COPY:
	case CLASS_NOP:
	case CLASS_PREFETCH:
	case CLASS_LEA: return !in->ends;
	case CLASS_JCC:
	case CLASS_JMP: break;
	default: return false;
	}
	target = exit_target(in);
	if (in->class == CLASS_JCC && target > in->off)
		return true;
	in->follow = true;
	*off = (unsigned)target;
	return target >= 0 && target < PAGE_SIZE;
}

unsigned decode_loop(struct xlat *x)
{
	unsigned start = x->block->phys & (PAGE_SIZE - 1), off = start, n = 0;
	struct insn *insns = x->t->insns;

	if (!is_hot(x))
		return 0;
	do {
		if (n == BLOCK_MAX_INSNS || off >= PAGE_SIZE || !insn_decode(x, &insns[n], off) ||
		    off + insns[n].len > PAGE_SIZE || !follow(&insns[n++], &off))
			return 0;
	} while (off != start);
	for (x->n = n; x->n + n <= LOOP_MAX_INSNS && x->n < ROUNDS_MAX * n; x->n += n)
		memcpy(insns + x->n, insns, n * sizeof(*insns));
	/* The last one's jump back, if there is one, leads to the poll. */
	insns[x->n - 1].follow = false;
	return n;
}
