// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The soft engine as the machine sees it (engine.h): memory for the code
 * cache and the vCPU, state in and out, statistics. Ordinary C.
 *
 * Reading order for the engine: this file, vcpu.h, dispatch.c (the run loop) and access.c,
 * translate.c and its family, mmu.c, block.c, then the system instructions.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cpu/cpuid.h"
#include "engine/soft/block.h"
#include "engine/soft/dispatch.h"
#include "engine/soft/event.h"
#include "engine/soft/mmu.h"
#include "engine/soft/signal.h"

static const struct {
	const char *name;
	uint32_t bits;
} optimizations[] = {
	{ "forward", SOFT_NO_FORWARD },   { "groups", SOFT_NO_GROUPS },
	{ "held", SOFT_NO_HELD },         { "jump2", SOFT_NO_JUMP2 },
	{ "sampling", SOFT_NO_SAMPLING }, { "cross", SOFT_NO_CROSS },
	{ "carry", SOFT_NO_CARRY },       { "prefetch", SOFT_NO_PREFETCH },
	{ "heads", SOFT_NO_HEADS },       { "shapes", SOFT_NO_SHAPES },
	{ "short", SOFT_NO_SHORT },       { "slots", SOFT_NO_SLOTS },
	{ "stack", SOFT_NO_STACK },       { "strings", SOFT_NO_STRINGS },
	{ "links", SOFT_NO_LINKS },       { "page-jumps", SOFT_NO_PAGE_JUMPS },
	{ "pcid", SOFT_NO_PCID },         { "flags", SOFT_NO_FLAGS },
	{ "inline", SOFT_NO_INLINE },     { "straddle", SOFT_NO_STRADDLE },
	{ "regions", SOFT_NO_REGIONS },   { "loops", SOFT_NO_LOOPS },
	{ "huge", SOFT_NO_HUGE },         { "all", ~0u },
};

/* --soft-disable. False: a line was printed. */
static bool parse_disable(struct soft_engine *e, const char *list)
{
	while (list && *list) {
		size_t len = strcspn(list, ",");
		unsigned i, n = sizeof(optimizations) / sizeof(optimizations[0]);

		for (i = 0; i < n; i++)
			if (strlen(optimizations[i].name) == len &&
			    !strncmp(optimizations[i].name, list, len))
				break;
		if (i == n) {
			fprintf(stderr, "lguest: --soft-disable: %.*s: no such optimization (there are",
				(int)len, list);
			for (i = 0; i < n; i++)
				fprintf(stderr, " %s", optimizations[i].name);
			fprintf(stderr, ")\n");
			return false;
		}
		e->disable |= optimizations[i].bits;
		list += len + (list[len] == ',');
	}
	return true;
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void soft_note_first_run(struct soft_engine *e)
{
	e->first_run_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	e->first_run = now(CLOCK_MONOTONIC);
}

static void *reserve(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		       0);

	if (p == MAP_FAILED)
		return NULL;
#ifdef MADV_NOHUGEPAGE
	/* Sparse tables: a huge page would make one touched entry cost 2 MiB. */
	madvise(p, size, MADV_NOHUGEPAGE);
#endif
	return p;
}

static void soft_set_state(struct vcpu *vcpu, const struct x86_state *s)
{
	struct soft_vcpu *v = (struct soft_vcpu *)vcpu;
	struct soft_cpu *c = &v->c;

	c->s = *s;
	c->cpl = (s->seg[SEG_SS].attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
	cpu_set_rflags(c, s->rflags);
	cpu_update_mode(c);
	c->shutdown = c->stop = false;
	c->irq_waiting = 0;
	mmu_flush_all(c);
}

static void soft_get_state(struct vcpu *vcpu, struct x86_state *s)
{
	struct soft_vcpu *v = (struct soft_vcpu *)vcpu;

	*s = v->c.s;
	s->rflags = cpu_get_rflags(&v->c);
}

static void soft_kick(struct vcpu *vcpu)
{
	((struct soft_vcpu *)vcpu)->c.exit_request = 1;
}

static enum vcpu_exit soft_vcpu_run(struct vcpu *vcpu)
{
	struct soft_vcpu *v = (struct soft_vcpu *)vcpu;
	struct signal_thread t;
	enum vcpu_exit ret;
	int err;

	err = signal_install();
	if (!err)
		err = signal_thread_enter(&t, v, &v->host_fault);
	if (err) {
		fprintf(stderr, "lguest: soft engine: cannot prepare the vCPU thread: %s\n", strerror(-err));
		return VCPU_EXIT_ERROR;
	}
	v->c.stop = false;
	ret = soft_run(v);
	signal_thread_leave(&t);
	if (ret == VCPU_EXIT_ERROR)
		fprintf(stderr, "lguest: soft engine: host fault %u at guest rip %#" PRIx64 " (%s)\n",
			v->host_fault.fault_vector, v->c.s.rip,
			v->host_fault.fault_vector == VEC_PF ? "is the host out of memory?" : "code cache");
	return ret;
}

static struct vcpu *soft_vcpu_create(struct engine *engine, unsigned index, const struct vcpu_bus *bus,
				     const struct cpuid_table *cpuid)
{
	struct soft_engine *e = (struct soft_engine *)engine;
	struct soft_vcpu *v;

	if (e->vcpu) {
		fprintf(stderr, "lguest: soft engine: only one vCPU so far\n");
		return NULL;
	}
	v = (struct soft_vcpu *)(e->code_rx - VCPU_SPACE);
	e->cpuid = cpuid;
	v->c.index = index;
	v->c.bus = *bus;
	v->c.cpuid = cpuid;
	v->c.engine = e;
	v->c.fpu_depth = 1; /* ordinary C is running */
	v->host_fault = (struct signal_target){
		.code = (uint64_t)(uintptr_t)e->code_rx,
		.code_size = CODE_CACHE_SIZE,
		.exit_pc = (uint64_t)(uintptr_t)e->code_rx + e->thunk_exit,
		.exit_r9 = DESC_HOST_FAULT,
	};
	e->vcpu = v;
	guest_memory_watch(e->watched_memory, dma_written, e);
	mmu_reset(v);
	/* Nothing is known of pages that an earlier vCPU has left code of. */
	for (uint32_t i = 1; i < e->code_page_next && i < PAGE_VAS; i++)
		v->page_va[i] = PAGE_VA_NONE;
	/* Of the caches of jumps nothing else is touched: 400 fresh pages cost a millisecond. */
	for (unsigned i = 0; i < VIEW_COUNT; i++)
		for (unsigned n = 0; n < JC_FIRST; n++)
			v->jc[i].tag[n] = jc_none(n);
	/* The XSAVE image of a CPU after reset: x87 and MXCSR defaults. */
	v->c.s.xsave[0] = 0x7f;
	v->c.s.xsave[1] = 0x03;
	v->c.s.xsave[24] = 0x80;
	v->c.s.xsave[25] = 0x1f;
	return (struct vcpu *)v;
}

static void soft_vcpu_destroy(struct vcpu *vcpu)
{
	struct soft_vcpu *v = (struct soft_vcpu *)vcpu;

	guest_memory_watch(v->c.engine->watched_memory, NULL, NULL);
	v->c.engine->vcpu = NULL;
	/* The next one finds zeros. */
	madvise(v, VCPU_SPACE, MADV_DONTNEED);
}

static const char *const desc_names[DESC_KINDS] = {
	[DESC_EXIT] = "direct",  [DESC_JUMP] = "indirect",    [DESC_STALE] = "stale",
	[DESC_POLL] = "poll",    [DESC_ACCESS] = "memory",    [DESC_SEGMENT] = "segment",
	[DESC_SYSOP] = "system", [DESC_STORED] = "stored",    [DESC_STRING] = "string",
	[DESC_GROUP] = "group",  [DESC_HOST_FAULT] = "fault",
};

static void soft_print_stats(struct engine *engine, FILE *out)
{
	struct soft_engine *e = (struct soft_engine *)engine;
	const struct soft_stats *s;

	if (!e->vcpu)
		return;
	s = &e->vcpu->stats;
	if (e->started && e->first_run)
		fprintf(out,
			"lguest: soft engine: first guest instruction after %.1f ms, %.1f ms of CPU time\n",
			(double)(e->first_run - e->started) / 1e6, (double)e->first_run_cpu / 1e6);
	fprintf(out,
		"lguest: soft engine: blocks translated %" PRIu64 " (%" PRIu64
		" instructions), invalidated %" PRIu64 ", evicted from a full hash bucket %" PRIu64
		", for want of a head %" PRIu64 ", links %" PRIu64 "\n",
		s->translated_blocks, s->translated_insns, s->invalidations, s->evictions, s->heads,
		s->links);
	fprintf(out,
		"lguest: soft engine: code cache of %u KiB and %u of tables, in %u regions; region %u has hot %u of %u, cold %u of %u, "
		"tables %u of %u KiB; regions emptied %" PRIu64 "\n",
		CODE_CACHE_SIZE / 1024, META_SIZE / 1024, CODE_REGIONS, e->region,
		(e->hot_next - e->region * REGION_HOT) / 1024, REGION_HOT / 1024,
		(e->cold_next - CODE_HOT_SIZE - e->region * REGION_COLD) / 1024, REGION_COLD / 1024,
		(e->meta_next - e->region * REGION_META) / 1024, REGION_META / 1024, s->code_flushes);
	fprintf(out, "lguest: soft engine: exits by reason:");
	for (unsigned i = 0; i < DESC_KINDS; i++)
		fprintf(out, " %s %" PRIu64, desc_names[i], s->exits[i]);
	fprintf(out, "\n");
	fprintf(out,
		"lguest: soft engine: dispatches %" PRIu64 ", TLB misses and slow accesses %" PRIu64
		" (bounced %" PRIu64 "), kicks %" PRIu64 "\n",
		s->dispatches, s->tlb_misses, s->bounces, s->polls);
	fprintf(out,
		"lguest: soft engine: interrupts %" PRIu64 ", exceptions %" PRIu64
		" (raised by the host CPU %" PRIu64 "), halts %" PRIu64 ", MMIO %" PRIu64
		", writes to code pages %" PRIu64 " (by devices %" PRIu64 ")\n",
		s->interrupts, s->faults, s->host_faults, s->halts, s->mmio, s->smc_writes, s->dma_writes);
	fprintf(out,
		"lguest: soft engine: TLB flushes %" PRIu64 " (global) %" PRIu64 " (CR3, %" PRIu64
		" to a PCID with entries) %" PRIu64 " (INVLPG, %" PRIu64
		" of pages with jumps into them), moves of the user stack's entries %" PRIu64
		", of slots %" PRIu64 " (given up %" PRIu64 ", pieces of code %" PRIu64 ")\n",
		s->flush_all, s->flush_nonglobal, s->spaces_kept, s->invlpg, s->jc_forgets, s->stack_moves,
		s->slot_moves, s->slots_given_up, s->hot_pieces);
}

static void soft_destroy(struct engine *engine)
{
	struct soft_engine *e = (struct soft_engine *)engine;
	size_t pages = e->memory.size >> PAGE_SHIFT;

	if (e->perf_map)
		fclose(e->perf_map);
	hugepages_destroy(e->huge);
	if (e->code_rw)
		munmap(e->code_rw, CODE_CACHE_SIZE);
	if (e->code_rx)
		munmap(e->code_rx - VCPU_SPACE, VCPU_SPACE + CODE_CACHE_SIZE);
	if (e->code_fd >= 0)
		close(e->code_fd);
	if (e->meta)
		munmap(e->meta, META_SIZE);
	if (e->code_pages)
		munmap(e->code_pages, pages * sizeof(*e->code_pages));
	if (e->code_page_pool)
		munmap(e->code_page_pool, (pages + 1) * sizeof(*e->code_page_pool));
	if (e->writers)
		munmap(e->writers, pages * sizeof(*e->writers));
	if (e->hash)
		munmap(e->hash, sizeof(*e->hash) << HASH_BUCKET_BITS);
	if (e->by_hot)
		munmap(e->by_hot, sizeof(*e->by_hot) * CODE_REGIONS);
	if (e->trampolines)
		munmap(e->trampolines, sizeof(*e->trampolines) * e->trampoline_max);
	free(e->tramp_cache);
	translator_destroy(e->translator);
	free(e);
}

/* The code cache: one memory object, mapped once to write and once, behind the vCPU, to execute. */
static bool map_code_cache(struct soft_engine *e)
{
	uint8_t *p;

	e->code_fd = memfd_create("lguest-code", MFD_CLOEXEC);
	if (e->code_fd < 0 || ftruncate(e->code_fd, CODE_CACHE_SIZE))
		return false;
	e->code_rw = huge_reserve(CODE_CACHE_SIZE, PROT_NONE);
	if (!e->code_rw || mmap(e->code_rw, CODE_CACHE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				e->code_fd, 0) == MAP_FAILED)
		return false;
	p = huge_reserve(VCPU_SPACE + CODE_CACHE_SIZE, PROT_READ | PROT_WRITE);
	if (!p)
		return false;
	madvise(p, VCPU_SPACE, MADV_NOHUGEPAGE); /* see reserve() */
	e->code_rx = p + VCPU_SPACE;
	return mmap(e->code_rx, CODE_CACHE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, e->code_fd,
		    0) != MAP_FAILED;
}

static bool prepare_huge(struct soft_engine *e)
{
	if (e->disable & SOFT_NO_HUGE)
		return true;
	e->huge = hugepages_create();
	if (!e->huge)
		return false;
	e->huge_hot = hugepages_add(e->huge, e->code_rx);
	/* The huge page that both are in counts as cold: it is moved when there is some cold code. */
	e->huge_cold = hugepages_add(e->huge, e->code_rx + (CODE_HOT_SIZE & -HUGE_SIZE));
	e->huge_meta = hugepages_add(e->huge, e->meta);
	return true;
}

static struct engine *soft_create(const struct engine_config *cfg)
{
	struct soft_engine *e = calloc(1, sizeof(*e));
	size_t pages = cfg->memory->size >> PAGE_SHIFT;
	char path[64];

	if (!e)
		goto fail;
	e->code_fd = -1;
	e->memory = *cfg->memory;
	e->watched_memory = cfg->memory;
	e->started = cfg->started;
	e->e = (struct engine){
		.ops = &engine_soft,
		.vcpu_create = soft_vcpu_create,
		.vcpu_destroy = soft_vcpu_destroy,
		.vcpu_set_state = soft_set_state,
		.vcpu_get_state = soft_get_state,
		.vcpu_run = soft_vcpu_run,
		.vcpu_flush_page = mmu_vcpu_flush_page,
		.vcpu_flush_tlb = mmu_vcpu_flush_tlb,
		.vcpu_park = event_park,
		.vcpu_unpark = event_unpark,
		.vcpu_kick = soft_kick,
		.print_stats = soft_print_stats,
		.destroy = soft_destroy,
	};
	e->trampoline_max = 1u << 14;
	if (!parse_disable(e, cfg->soft_disable)) {
		soft_destroy(&e->e);
		return NULL;
	}
	e->hash = reserve(sizeof(*e->hash) << HASH_BUCKET_BITS);
	e->by_hot = reserve(CODE_REGIONS * sizeof(*e->by_hot));
	e->trampolines = reserve(e->trampoline_max * sizeof(*e->trampolines));
	e->tramp_cache = calloc(TRAMP_CACHE_SIZE, sizeof(*e->tramp_cache));
	e->meta = huge_reserve(META_SIZE, PROT_READ | PROT_WRITE);
	e->code_pages = reserve(pages * sizeof(*e->code_pages));
	e->code_page_pool = reserve((pages + 1) * sizeof(*e->code_page_pool));
	e->writers = reserve(pages * sizeof(*e->writers));
	e->translator = translator_create(e);
	if (!e->hash || !e->by_hot || !e->trampolines || !e->tramp_cache || !e->meta || !e->code_pages ||
	    !e->code_page_pool || !e->writers || !e->translator || !map_code_cache(e) || !prepare_huge(e))
		goto fail;
	if (cfg->perf_map) {
		snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
		e->perf_map = fopen(path, "w");
		if (!e->perf_map) {
			fprintf(stderr, "lguest: --perf-map: %s: %s\n", path, strerror(errno));
			soft_destroy(&e->e);
			return NULL;
		}
	}
	thunks_create(e);
	block_start(e);
	return &e->e;

fail:
	fprintf(stderr, "lguest: soft engine: cannot set up the code cache: %s\n", strerror(errno));
	if (e)
		soft_destroy(&e->e);
	return NULL;
}

const struct engine_ops engine_soft = {
	.name = "soft",
	.help = "translate guest code; needs no virtualization hardware",
	.create = soft_create,
};
