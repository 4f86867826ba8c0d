// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From guest bytes to a block of host code.
 *
 * Three passes over at most BLOCK_MAX_INSNS instructions of one page: decode
 * (a short block goes on behind conditional jumps that are not taken), flag
 * liveness backwards, and emission. A block looks like this:
 *
 *	and	r11, -4096		only when entered through the jump cache,
 *	mov	gs:[vbase], r11		with the linear address in R11
 *	cmp	gs:[exit_request], 0	direct entry
 *	jne	poll stub
 *	...				entry for forward exits of the same page
 *
 * What nobody needs of the first four is left out (enum block_head).
 *
 * Ordinary C: runs with the guest's vector state parked.
 */
#include "engine/soft/translate.h"

#include <stdio.h>
#include <stdlib.h>

struct translator *translator_create(struct soft_engine *e)
{
	struct translator *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->engine = e;
	classify_create(t);
	ZydisDecoderInit(&t->decoder[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&t->decoder[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&t->decoder[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned i = 0; i < 3; i++) {
		/* What the guest's CPU lacks decodes as the NOPs that it is there. */
		ZydisDecoderEnableMode(&t->decoder[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&t->decoder[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&t->decoder[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
	return t;
}

void translator_destroy(struct translator *t)
{
	free(t);
}

static struct peek *peek_slot(const struct xlat *x, uint64_t bytes)
{
	return &x->t->peeks[(bytes ^ x->mode) * 0x9e3779b97f4a7c15ull >> (64 - PEEK_BITS)];
}

/* Decodes for the look-ahead; NULL when the bytes reach beyond the page. */
static const struct peek *peek(struct xlat *x, unsigned off)
{
	struct insn *in = &x->t->peek_insn;
	struct peek *p;
	uint64_t bytes;

	memcpy(&bytes, x->page + off, 8);
	p = peek_slot(x, bytes);
	if (p->len && p->bytes == bytes && p->mode == x->mode)
		return p;
	if (!insn_decode(x, in, off))
		return NULL;
	/* A device may have changed them since: the entry is for those that have been decoded. */
	memcpy(&bytes, in->bytes, 8);
	p = peek_slot(x, bytes);
	*p = (struct peek){
		.bytes = bytes,
		/* An entry that does not hold all of the instruction must not be found again. */
		.mode = in->len > 8 ? ~0u : x->mode,
		.len = in->len & 15,
		.ends = in->ends,
		.class = in->class,
		.reads = flags_pack(in->reads),
		.writes = flags_pack(in->writes),
	};
	if (in->class == CLASS_JCC || in->class == CLASS_LOOP || in->class == CLASS_JMP ||
	    in->class == CLASS_CALL) {
		if (in->len > 8)
			return NULL; /* prefixes to no purpose */
		p->rel = in->zi.raw.imm[0].size / 8 & 7;
	}
	return p;
}

/* Where the branch @p goes to, from its end. */
static int32_t peek_rel(const struct peek *p)
{
	return (int32_t)((int64_t)(p->bytes << (64 - 8 * p->len)) >> (64 - 8 * p->rel));
}

bool insn_straddles(struct xlat *x, int64_t target)
{
	struct insn *in = &x->t->peek_insn;

	if (target <= PAGE_SIZE - 15)
		return false;
	return !insn_decode(x, in, (unsigned)target) || target + in->len > PAGE_SIZE;
}

/*
 * Which flags does the code at page offset @target need? Looks ahead a few
 * instructions, within the page, so that the block depends on nothing else; what
 * cannot be seen needs them all.
 */
static uint32_t look_ahead(struct xlat *x, int64_t target, uint32_t want, unsigned depth)
{
	uint32_t live = 0;

	if (x->engine->disable & SOFT_NO_FLAGS)
		return want;
	for (unsigned n = 0; n < 12 && want; n++) {
		const struct peek *p;
		uint32_t reads;
		int64_t next;

		if (target < 0 || target > PAGE_SIZE - 16)
			break;
		p = peek(x, (unsigned)target);
		if (!p)
			break;
		x->block->dep |= granules((unsigned)target, (unsigned)target + p->len);
		next = target + p->len;
		reads = flags_unpack(p->reads);
		live |= reads & want;
		want &= ~reads;
		if (p->class == CLASS_JCC || p->class == CLASS_LOOP) {
			if (depth == 0)
				break;
			live |= look_ahead(x, next + peek_rel(p), want, depth - 1);
			want &= ~live;
			target = next;
			continue;
		}
		want &= ~flags_unpack(p->writes);
		if (p->class == CLASS_JMP || p->class == CLASS_CALL) {
			target = next + peek_rel(p);
			continue;
		}
		if (p->ends)
			break;
		target = next;
	}
	return live | want;
}

/* True when the instruction after @in must not be translated into this block. */
static bool stop_behind(const struct xlat *x, const struct insn *in, bool in_shadow)
{
	return in->ends || x->single || (in_shadow && !in->shadow);
}

/* A conditional jump belongs to the comparison before it: between two blocks, flags have to be put into memory. */
static bool joins_full_block(const struct xlat *x, const struct insn *in)
{
	return in->class == CLASS_JCC && (in[-1].writes & in->reads) && !(x->engine->disable & SOFT_NO_FLAGS);
}

static bool decode_block(struct xlat *x, bool *need_second)
{
	struct translator *t = x->t;
	unsigned off = x->block->phys & (PAGE_SIZE - 1);
	bool in_shadow = false;

	x->n = 0;
	*need_second = false;
	while (x->n <= BLOCK_MAX_INSNS && off < PAGE_SIZE) {
		struct insn *in = &t->insns[x->n];

		if (!insn_decode(x, in, off)) {
			/* A straddling instruction makes a block of its own. */
			*need_second = x->n == 0;
			break;
		}
		if (x->n > 0 && off + in->len > PAGE_SIZE)
			break;
		if (x->n == BLOCK_MAX_INSNS && !joins_full_block(x, in))
			break;
		x->n++;
		off += in->len;
		if (stop_behind(x, in, in_shadow))
			break;
		in_shadow = in->shadow;
		/*
		 * Code behind a conditional jump may never run, and there is more code in the
		 * guest than the cache holds: only short blocks go on there. What has been
		 * translated already need not be repeated.
		 */
		if (in->class == CLASS_JCC && x->n >= BLOCK_GO_ON && !(x->engine->disable & SOFT_NO_SHORT))
			break;
		if (in->class == CLASS_JCC && off < PAGE_SIZE &&
		    block_find(x->engine, (x->block->phys & PAGE_MASK) + off, x->mode, x->absolute,
			       x->page_va, ~0ull))
			break;
	}
	return x->n > 0;
}

static void compute_liveness(struct xlat *x)
{
	struct translator *t = x->t;
	struct insn *last = &t->insns[x->n - 1];
	uint32_t live = FLAG_ARITH;

	x->forward = !(x->engine->disable & SOFT_NO_FORWARD);
	if (last->class == CLASS_JMP || last->class == CLASS_CALL) {
		last->live_exit = look_ahead(x, (int64_t)last->off + last->len + last->zi.raw.imm[0].value.s,
					     FLAG_ARITH, 2);
		live = last->live_exit;
	} else if (!last->ends && !last->shadow && !x->single) {
		live = look_ahead(x, (int64_t)last->off + last->len, FLAG_ARITH, 2);
	}
	for (unsigned i = x->n; i-- > 0;) {
		struct insn *in = &t->insns[i];

		/* SERIALIZE: what follows may be what a device has written, so it is looked up behind a poll. */
		if (in->class >= CLASS_STRING || in->zi.mnemonic == ZYDIS_MNEMONIC_SERIALIZE)
			x->forward = false;
		in->live_out = live;
		if (in->class == CLASS_JCC || in->class == CLASS_LOOP) {
			in->live_exit = look_ahead(x, exit_target(in), FLAG_ARITH, 2);
			live |= in->live_exit;
		}
		if (in->maybe) {
			in->reads |= live;
			in->writes = FLAG_ARITH;
			live = in->reads;
		} else {
			live = (live & ~in->writes) | in->reads;
		}
		if (x->engine->disable & SOFT_NO_FLAGS)
			live = FLAG_ARITH;
		in->live_in = live;
	}
}

static void emit_sysop(struct xlat *x)
{
	struct insn *in = x->in;
	struct desc *d;

	flags_clobber(x, FLAG_ARITH);
	d = emit_leave(x, in->class == CLASS_STRING ? DESC_STRING : DESC_SYSOP);
	d->resume = cache_off(x, x->hot.p);
	x->host_valid = 0;
	x->mem_valid = FLAG_ARITH;
}

/* Every clock_gettime() of the guest: LFENCE; RDTSC; and the processor id that the guest has set. */
static void emit_rdtscp(struct xlat *x)
{
	struct emitter *o = &x->hot;

	e8(o, 0x0f);
	e8(o, 0xae);
	e8(o, 0xe8);
	e8(o, 0x0f);
	e8(o, 0x31);
	emit_vcpu(o, false, 0x8b, REG_RCX, VOFF(c.s.tsc_aux));
}

bool insn_keeps_scratch(const struct insn *in)
{
	return in->class == CLASS_JCC || in->class == CLASS_NOP || in->class == CLASS_LEA ||
	       (in->class == CLASS_COPY && !insn_memory(in));
}

static void emit_insn(struct xlat *x)
{
	/* Who is copied and needs no check says by itself what it overwrites. */
	if (!(insn_keeps_scratch(x->in) ||
	      (x->in->class == CLASS_COPY && is_member(x, x->in, ACCESS_OPERAND))) ||
	    (x->engine->disable & SOFT_NO_HELD))
		scratch_lost(x, LOST_SCRATCH);
	switch ((enum insn_class)x->in->class) {
	case CLASS_COPY: emit_copy(x); break;
	case CLASS_NOP: break;
	case CLASS_PREFETCH: emit_prefetch(x); break;
	case CLASS_RDTSCP: emit_rdtscp(x); break;
	case CLASS_LEA: emit_lea_insn(x); break;
	case CLASS_MOFFS: emit_moffs(x); break;
	case CLASS_XLAT: emit_xlat(x); break;
	case CLASS_BITSTR: emit_bitstring(x); break;
	case CLASS_INCDEC: emit_incdec(x); break;
	case CLASS_JCC: emit_jcc(x); break;
	case CLASS_LOOP: emit_loop(x); break;
	case CLASS_JMP: emit_jmp(x); break;
	case CLASS_CALL: emit_call(x); break;
	case CLASS_JMP_IND:
	case CLASS_CALL_IND: emit_jump_indirect_insn(x); break;
	case CLASS_RET: emit_ret(x); break;
	case CLASS_PUSH: emit_push(x); break;
	case CLASS_POP: emit_pop(x); break;
	case CLASS_LEAVE: emit_leave_insn(x); break;
	case CLASS_INLINE: emit_inline(x); break;
	case CLASS_STRING:
		if (string_is_fast(x, x->in))
			emit_string(x);
		else
			emit_sysop(x);
		break;
	case CLASS_SYSOP: emit_sysop(x); break;
	}
}

static void emit_entry(struct xlat *x)
{
	struct emitter *o = &x->hot;
	uint32_t stub;

	x->o = o;
	x->in = NULL;
	x->sites = SITE_POLL + 1;
	x->host_valid = 0;
	x->mem_valid = FLAG_ARITH;
	if (x->block->head == HEAD_NONE)
		return;
	if (!x->absolute && x->block->head == HEAD_FULL) {
		eput(o, 0xfffff000e38149, 7); /* and r11, -4096 */
		emit_store(o, SCRATCH0, VOFF(vbase));
	}
	stub = emit_stub(x, SITE_POLL);
	/* cmp qword exit_request, 0: irq_open as well */
	emit_vcpu_imm(o, true, 0x83, 7, VOFF(c.exit_request), 0, 1);
	eput(o, 0x850f, 2);  /* jne stub */
	emit_rel32(x, stub); /* POLL_LEN bytes */
}

/* Does it jump to its own start? Whoever it is made for, it will be wanted with a poll. */
static bool jumps_to_start(const struct xlat *x)
{
	const struct insn *in = x->t->insns;

	for (unsigned i = 0; i < x->n; i++)
		if (in[i].class >= CLASS_JCC && in[i].class <= CLASS_CALL &&
		    exit_target(&in[i]) == (int64_t)in->off)
			return true;
	return false;
}

/*
 * Can the host CPU refuse the instruction as it stands, its operand checked? No,
 * where that is certain. (Of whatever class: where the address may be one that is
 * not canonical, see in_stack_group() and xlat.slotted.)
 *
 * Sets outside the base have #MF, #XM, misaligned operands, reserved bits (LDMXCSR),
 * and features that the host lacks though it decodes the guest's. Of the base,
 * that leaves division; CMPXCHG16B, by its category; and what is locked: across
 * cache lines that is #AC, where the host's kernel wants it (split_lock_detect=fatal).
 */
static bool can_fault(const struct insn *in)
{
	if ((in->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK) ||
	    (in->zi.mnemonic == ZYDIS_MNEMONIC_XCHG && insn_memory(in)))
		return in->class == CLASS_COPY || in->class == CLASS_BITSTR;
	if (in->class != CLASS_COPY)
		return false;
	if (in->zi.meta.isa_ext != ZYDIS_ISA_EXT_BASE && in->zi.meta.isa_ext != ZYDIS_ISA_EXT_LONGMODE)
		return true;
	switch (in->zi.meta.category) {
	case ZYDIS_CATEGORY_BINARY:
		return in->zi.mnemonic == ZYDIS_MNEMONIC_DIV || in->zi.mnemonic == ZYDIS_MNEMONIC_IDIV;
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_FLAGOP:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHIFT: return false;
	default: return true;
	}
}

static void emit_block(struct xlat *x)
{
	struct block *b = x->block;
	struct insn *last = &x->t->insns[x->n - 1];

	emit_entry(x);
	for (unsigned i = 0; i < x->n; i++) {
		struct insn *in = &x->t->insns[i];
		struct insn_map map = {
			.host = (uint16_t)(cache_off(x, x->hot.p) - b->hot),
			.guest = (uint16_t)(in->off - x->t->insns[0].off),
		};

		x->in = in;
		x->store = NULL;
		x->slotted = false;
		/* Memory operands have had their live flags saved by the check. */
		if (!(insn_memory(in) && !is_member(x, in, ACCESS_OPERAND)) &&
		    !is_leader(x, in, ACCESS_STACK))
			map.host_flags = flags_pack(x->host_valid & ~x->mem_valid);
		emit_insn(x);
		/* So they have by that of a slot. */
		if (x->slotted)
			map.host_flags = 0;
		if (can_fault(in) || in_stack_group(x) || x->slotted)
			x->t->map[b->map_count++] = map;
		x->host_valid |= in->writes;
		x->mem_valid &= ~in->writes;
		if (in->class == CLASS_SYSOP || in->class == CLASS_STRING) {
			x->host_valid = 0;
			x->mem_valid = FLAG_ARITH;
		}
		if (in->class >= CLASS_STRING)
			x->r9_group = 0;
		emit_access_done(x);
	}
	/* Not for what has jumped away already. */
	x->in = last;
	switch ((enum insn_class)last->class) {
	case CLASS_JMP:
	case CLASS_CALL:
	case CLASS_JMP_IND:
	case CLASS_CALL_IND:
	case CLASS_RET: break;
	default:
		if (last->shadow && !x->single)
			emit_exit_in_shadow(x, (int64_t)last->off + last->len);
		else
			emit_exit(x, (int64_t)last->off + last->len, last->live_out, 0);
		break;
	}
}

/* Everything behind struct block. False: there is no room for it. */
static bool block_finish(struct xlat *x, uint64_t dep2)
{
	struct translator *t = x->t;
	struct block *b = x->block;
	uint32_t words[SITES_MAX * SITE_WORDS];
	size_t exits = exits_size(b->exit_count), sysops = sizeof(*t->sysops) * b->sysop_count,
	       map = sizeof(*t->map) * b->map_count;
	unsigned n = 0;
	uint8_t *p;

	for (unsigned i = SITE_POLL + 1; i < x->sites; i++)
		n += site_pack(b, &t->sites[i], words + n);
	b->site_words = n & 1023;
	p = meta_alloc(x->engine, exits + 8u * b->absolute + sizeof(struct block_second) * b->second +
					  sysops + n * sizeof(*words) + map);
	if (!p)
		return false;
	memcpy(p, t->exits, sizeof(*t->exits) * b->exit_count);
	p += exits;
	if (b->absolute) {
		memcpy(p, &x->page_va, 8);
		p += 8;
	}
	if (b->second)
		*block_second(b) = (struct block_second){ .phys = x->phys2, .dep = dep2 };
	p += sizeof(struct block_second) * b->second;
	memcpy(p, t->sysops, sysops);
	p += sysops;
	memcpy(p, words, n * sizeof(*words));
	p += n * sizeof(*words);
	memcpy(p, t->map, map);
	return true;
}

/*
 * What was written there last has left the host's caches long ago, and code is
 * written byte by byte: these stores are not to wait for a line each.
 */
static void prefetch_room(const struct soft_engine *e)
{
	for (unsigned i = 0; i < 384; i += 64)
		__builtin_prefetch(e->code_rw + e->hot_next + i, 1);
	for (unsigned i = 0; i < 192; i += 64) {
		__builtin_prefetch(e->code_rw + e->cold_next + i, 1);
		__builtin_prefetch(e->meta + e->meta_next + i, 1);
	}
}

struct block *translate(struct soft_engine *e, uint64_t phys, uint32_t mode, bool absolute, uint64_t page_va,
			uint64_t phys2, enum block_head head, bool *need_second)
{
	struct xlat x = { .engine = e, .t = e->translator, .mode = mode, .absolute = absolute };
	uint64_t dep2 = 0;
	struct block *b;
	unsigned last_end, loop;
	uint32_t room;

	*need_second = false;
	x.page = guest_range(&e->memory, phys & PAGE_MASK, PAGE_SIZE);
	/* Nobody has read these bytes before. */
	__builtin_prefetch(x.page + (phys & (PAGE_SIZE - 1)));
	__builtin_prefetch(x.page + ((phys + 64) & (PAGE_SIZE - 1)));
	prefetch_room(e);
	b = meta_alloc(e, sizeof(*b));
	if (!b)
		return NULL;
	memset(b, 0, sizeof(*b));
	b->phys = phys;
	b->mode = mode;
	b->absolute = absolute;
	b->hot = e->hot_next;
	b->cold = e->cold_next;
	x.block = b;
	x.page_va = absolute ? page_va : 0;
	x.phys2 = ~0ull;
	x.page2 = phys2 != ~0ull ? guest_range(&e->memory, phys2 & PAGE_MASK, PAGE_SIZE) : NULL;
	x.decoder = &e->translator->decoder[mode & MODE_CS64 ? 2 : mode & MODE_CS32 ? 1 : 0];
	/* With a limit on CS each instruction is checked on its way in. */
	x.single = mode & (MODE_TF | MODE_HWBP | MODE_CHECK(SEG_CS));
	x.mode = x.exit_mode = mode & ~MODE_UNGROUPED;
	x.ungrouped = mode & MODE_UNGROUPED;

	loop = decode_loop(&x);
	if (!loop && !decode_block(&x, need_second))
		goto fail;
	room = INSN_MAX_HOST * (x.n + 1);
	if (room > BLOCK_MAX_HOST)
		room = BLOCK_MAX_HOST;
	if (!code_room(e, room))
		goto fail;
	last_end = x.t->insns[x.n - 1].off + x.t->insns[x.n - 1].len;
	if (loop) {
		for (unsigned i = 0; i < loop; i++)
			b->dep |= granules(x.t->insns[i].off, x.t->insns[i].off + x.t->insns[i].len);
	} else if (last_end > PAGE_SIZE) {
		b->second = true;
		x.phys2 = phys2 & PAGE_MASK;
		b->dep |= granules(phys & (PAGE_SIZE - 1), PAGE_SIZE);
		dep2 = granules(0, last_end - PAGE_SIZE);
	} else {
		b->dep |= granules(phys & (PAGE_SIZE - 1), last_end);
	}
	if (!loop && !x.single && !b->second && !(e->disable & SOFT_NO_HEADS))
		b->head = head == HEAD_NONE && jumps_to_start(&x) ? HEAD_POLL : head;
	compute_liveness(&x);
	plan_groups(&x);

	x.hot = code_emitter(e, e->hot_next, room);
	x.cold = code_emitter(e, e->cold_next, room);
	emit_block(&x);
	if (x.hot.overflow || x.cold.overflow)
		abort(); /* that is too small: a bug */
	if (!block_finish(&x, dep2))
		goto fail;
	code_commit(e, b, cache_off(&x, x.hot.p), cache_off(&x, x.cold.p));
	if (e->perf_map)
		fprintf(e->perf_map, "%lx %x guest_%s_%lx_%x\n",
			(unsigned long)(uintptr_t)(e->code_rx + b->hot), cache_off(&x, x.hot.p) - b->hot,
			mode & MODE_USER ? "user" : "kernel",
			(unsigned long)(absolute ? page_va | (phys & 0xfff) : phys), mode);
	e->vcpu->stats.translated_blocks++;
	e->vcpu->stats.translated_insns += x.n;
	return b;

fail:
	e->meta_next = meta_off(e, b);
	return NULL;
}

uint32_t trampoline_make(struct soft_engine *e, const struct desc *site)
{
	struct xlat x = { .engine = e };
	uint32_t start = e->cold_next;

	if (start + 512 + site->access.op_len > e->cold_end || e->trampoline_count == e->trampoline_max)
		return 0;
	x.cold = code_emitter(e, start, e->cold_end - start);
	/* What a trampoline copies works where it is copied to: register moves, gs: fields and the store. */
	ebytes(&x.cold, e->code_rw + site->resume, site->access.op_len);
	/* mov r9d, id; jmp exit thunk that keeps the flags */
	emit_mov_imm(&x.cold, SCRATCH2, site->id | SITE_STORED);
	e8(&x.cold, 0xe9);
	e32(&x.cold, e->thunk_exit_flags - (cache_off(&x, x.cold.p) + 4));
	e->cold_next = cache_off(&x, x.cold.p);
	e->trampolines[e->trampoline_count++] =
		(struct trampoline){ .start = start, .end = e->cold_next, .site = site->id };
	return start;
}
