/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel and initrd on their way into guest memory.
 *
 * A kernel of Debian is 53 MB, of which a boot touches the first byte after
 * 20 ms of reading and unpacking, and hardly any of the initrd before a quarter of a second. So the
 * guest starts as soon as it is known that it can, and loading goes on beside it:
 *
 *   boot_file_place()     notes what goes where; nothing is read yet
 *   units                 what was noted cut into pieces that can be loaded in any order: 2 MiB of
 *                         a part of a file, or one block of 8 MiB of a payload packed with lz4. (What is packed
 *                         with gzip, xz or zstd can only be had from the beginning: there, who wants a unit
 *                         ensures those in front of it first.)
 *   ensure()              the only place that loads. Whoever comes first takes the
 *                         unit; others who want the same one wait for him
 *   load_in_order()       a thread that ensures all units, one after the other; from when the guest
 *                         is about to run
 *   wait_for()            memory.h's wait(): ensures the units that the pages in question
 *                         are made of, on the thread that wants them
 *
 * So a vCPU waits for nothing but the units that it needs (of a stream, all in front of them
 * are), and unpacks them itself if nobody has begun: two threads load the kernel, and one can (no thread is needed to make progress).
 *
 * Why nobody sees a page before it is whole: an access to RAM comes through
 * guest_range(), or through a TLB entry of an engine that called wait() before it made it. Both wait for
 * whole pages. A page needs no second look, since a unit is loaded once and places nothing
 * outside of its extents, which are claims, so no two overlap.
 *
 * When a unit cannot be loaded (the file shrank, the payload is corrupt), the first who sees it
 * tells the machine, which stops the guest; then waiters are let go. What the guest sees of its memory
 * until it stops is zero where bytes are missing. That stays with the guest: virtqueues
 * take no buffer any more (guest_load_failed()), so nothing of it gets to a disk or into a network.
 *
 * Files are read with pread(2), by whoever wants the bytes. Where that hangs (a network file system whose
 * server is gone), the vCPU or the loader hangs in it, and so does the end of the
 * guest, SIGTERM's as well: nobody can take the memory away under a read. SIGKILL does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "boot/job.h"

#define UNIT (2u << 20)
#define HEAD (32u << 10)
#define PAGE 4096u

struct extent {
	enum boot_file_id file;
	uint64_t off, addr, len;
	const char *what;
};

enum state { TODO, BUSY, DONE };

/* What is loaded as a whole. */
struct unit {
	enum boot_file_id file;
	enum state state;
	const struct extent *only; /* its bytes alone; NULL: of all extents that lie there */
	uint64_t start, end;
};

struct boot_loading {
	struct guest_memory_loading waiting; /* the first: wait_for() gets it */
	struct guest_memory mem;
	struct boot_file file[BOOT_FILES];
	struct extent extent[BOOT_MAX_CLAIMS];
	unsigned extents;

	struct unit *unit;
	unsigned units;
	bool in_order[BOOT_FILES]; /* streams: no unit before the one in front of it is DONE */
	atomic_bool relaxed;       /* load_in_order() begins no more units */
	pthread_mutex_t lock;      /* for what follows, and the units' states */
	pthread_cond_t changed;
	unsigned left;            /* units that are not DONE */
	struct boot_space *space; /* not lent */
	bool stop;                /* nobody begins another unit */
	int error;                /* the first one, as -errno, and its words */
	char words[512];

	void (*failed)(void *opaque);
	void *opaque;
	pthread_t thread;
	bool has_thread;
};

struct boot_loading *boot_loading_new(const struct guest_memory *mem)
{
	struct boot_loading *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->mem = *mem;
	for (unsigned i = 0; i < BOOT_FILES; i++)
		l->file[i].fd = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	return l;
}

static void close_files(struct boot_loading *l)
{
	/* The payload before the kernel that it is in. */
	for (unsigned i = BOOT_FILES; i-- > 0;)
		boot_file_close(&l->file[i]);
}

struct boot_space *boot_space_get(struct boot_job *job)
{
	struct boot_loading *l = job->loading;
	struct boot_space *space;

	pthread_mutex_lock(&l->lock);
	space = l->space;
	if (space)
		l->space = space->next;
	pthread_mutex_unlock(&l->lock);
	/* A start needs the beginning of it: where the host must find huge pages first, one takes 5 ms and more. */
	return space ? space : (struct boot_space *)boot_buffer_new(sizeof(*space), MADV_NOHUGEPAGE);
}

void boot_space_put(struct boot_job *job, struct boot_space *space)
{
	struct boot_loading *l = job->loading;

	if (!space)
		return;
	pthread_mutex_lock(&l->lock);
	space->next = l->space;
	l->space = space;
	pthread_mutex_unlock(&l->lock);
}

static void free_space(struct boot_loading *l)
{
	struct boot_space *space;

	while ((space = l->space)) {
		l->space = space->next;
		boot_buffer_free((uint8_t *)space, sizeof(*space));
	}
}

static void stop(struct boot_loading *l)
{
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	if (l->has_thread)
		pthread_join(l->thread, NULL);
	l->has_thread = false;
}

void boot_loading_free(struct boot_loading *l)
{
	if (!l)
		return;
	stop(l);
	close_files(l);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free_space(l);
	free(l->unit);
	free(l);
}

struct boot_file *boot_loading_file(struct boot_loading *l, enum boot_file_id id)
{
	return &l->file[id];
}

int boot_file_place(struct boot_job *job, enum boot_file_id id, uint64_t off, uint64_t addr, uint64_t len,
		    const char *what)
{
	struct boot_loading *l = job->loading;
	int error = boot_file_check(job, &l->file[id], off, len, what);

	if (error || !len)
		return error;
	if (l->extents == BOOT_MAX_CLAIMS)
		return boot_fail(job, E2BIG, "%s: more than %u parts to load", l->file[id].name,
				 BOOT_MAX_CLAIMS);
	l->extent[l->extents++] = (struct extent){ id, off, addr, len, what };
	return 0;
}

/* ---- units ---- */

static void add_unit(struct boot_loading *l, enum boot_file_id file, const struct extent *only,
		     uint64_t start, uint64_t end)
{
	if (start < end)
		l->unit[l->units++] = (struct unit){ file, TODO, only, start, end };
}

/* Where in its file the first instruction is. */
static bool find_entry(const struct boot_loading *l, uint64_t entry, enum boot_file_id file, uint64_t *off)
{
	for (unsigned i = 0; i < l->extents; i++) {
		const struct extent *e = &l->extent[i];

		if (e->file == file && entry >= e->addr && entry - e->addr < e->len) {
			*off = entry - e->addr + e->off;
			return true;
		}
	}
	return false;
}

static bool is_packed(const struct boot_file *f)
{
	return f->blocks || f->stream;
}

/* All of it, that it be noticed wherever it is corrupt. */
static void cut_packed(struct boot_loading *l, enum boot_file_id id, uint64_t first_instruction)
{
	const struct boot_file *f = &l->file[id];
	uint64_t size = f->blocks ? BOOT_BLOCK : UNIT, entry;

	for (uint64_t off = 0; off < f->size; off += size) {
		uint64_t next = size < f->size - off ? off + size : f->size, middle = off;

		/* A block takes milliseconds, too long for who waits for the first instruction: it comes alone. */
		if (find_entry(l, first_instruction, id, &entry) && entry >= off && entry + HEAD < next)
			middle = entry + HEAD;
		add_unit(l, id, NULL, off, middle);
		add_unit(l, id, NULL, middle, next);
	}
}

/*
 * Only what goes into memory: the file may be large and mostly a hole. Segments may share bytes of it.
 * Where the first instruction is, a piece of whole pages comes alone.
 */
static void cut_extent(struct boot_loading *l, const struct extent *e, uint64_t first_instruction)
{
	uint64_t entry = first_instruction & ~(uint64_t)(PAGE - 1), head = e->len, behind = e->len;

	if (first_instruction >= e->addr && first_instruction - e->addr < e->len) {
		head = entry > e->addr ? entry - e->addr : 0;
		behind = HEAD < e->len - head ? head + HEAD : e->len;
	}
	for (uint64_t done = 0, end; done < e->len; done = end) {
		uint64_t limit = done < head ? head : done < behind ? behind : e->len;

		end = UNIT < limit - done ? done + UNIT : limit;
		add_unit(l, e->file, e, e->off + done, e->off + end);
	}
}

/* All is noted: cuts it into units. */
static int prepare(struct boot_job *job)
{
	struct boot_loading *l = job->loading;
	size_t units = 0;

	/* Not many: a packed file is at most MAX_OUTPUT (decompress.c), extents do not overlap in low RAM. */
	for (unsigned i = 0; i < BOOT_FILES; i++) {
		l->in_order[i] = l->file[i].stream != NULL;
		if (is_packed(&l->file[i]))
			units += l->file[i].size / UNIT + 2;
	}
	for (unsigned i = 0; i < l->extents; i++)
		if (!is_packed(&l->file[l->extent[i].file]))
			units += l->extent[i].len / UNIT + 3;
	l->unit = calloc(units + 1, sizeof(*l->unit));
	if (!l->unit)
		return boot_fail(job, ENOMEM, "%s: out of memory", job->in->kernel);
	for (unsigned i = 0; i < BOOT_FILES; i++)
		if (is_packed(&l->file[i]))
			cut_packed(l, i, job->entry);
	for (unsigned i = 0; i < l->extents; i++)
		if (!is_packed(&l->file[l->extent[i].file]))
			cut_extent(l, &l->extent[i], job->entry);
	l->left = l->units;
	return 0;
}

/* @job: where an error goes. */
static int load_unit(struct boot_loading *l, struct boot_job *job, const struct unit *u)
{
	const struct boot_file *f = &l->file[u->file];
	struct boot_space *block = NULL;
	int error = f->stream ? boot_stream_until(job, f->stream, u->end) : 0;

	if (f->blocks) {
		uint64_t i = u->start / BOOT_BLOCK;

		block = boot_space_get(job);
		error = block ? boot_file_unpack(job, f, (unsigned)i, u->end - i * BOOT_BLOCK, block)
			      : boot_fail(job, ENOMEM, "%s: no memory to unpack the payload", f->name);
	}
	for (unsigned i = 0; i < l->extents && !error; i++) {
		const struct extent *e = &l->extent[i];
		uint64_t from = e->off > u->start ? e->off : u->start;
		uint64_t to = e->off + e->len < u->end ? e->off + e->len : u->end;

		/* Low RAM: guest-physical is the offset in the mapping. */
		if (e->file == u->file && (!u->only || u->only == e) && from < to)
			error = boot_file_copy(job, f, &l->mem, from, l->mem.base + e->addr + (from - e->off),
					       to - from, block, e->what);
	}
	boot_space_put(job, block);
	return error;
}

/* Lock held. */
static void note_failure(struct boot_loading *l, int error, const char *words)
{
	if (l->error)
		return;
	l->error = error;
	atomic_store_explicit(&l->waiting.failed, true, memory_order_release);
	memcpy(l->words, words, sizeof(l->words));
	l->stop = true;
	/* Before anybody can get at what is missing. Kicks the vCPU, wakes the main thread, nothing else. */
	if (l->failed)
		l->failed(l->opaque);
}

static void ensure(struct boot_loading *l, struct unit *u)
{
	char words[sizeof(l->words)] = "";
	struct boot_job job = { .loading = l, .err = words, .errlen = sizeof(words) };
	int error;

	pthread_mutex_lock(&l->lock);
	while (u->state == BUSY)
		pthread_cond_wait(&l->changed, &l->lock);
	if (u->state == TODO && !l->stop) {
		u->state = BUSY;
		pthread_mutex_unlock(&l->lock);
		error = load_unit(l, &job, u);
		pthread_mutex_lock(&l->lock);
		if (error)
			note_failure(l, error, words);
		u->state = DONE;
		pthread_cond_broadcast(&l->changed);
		if (--l->left == 0) {
			close_files(l);
			free_space(l);
			atomic_store_explicit(&l->waiting.busy, false, memory_order_release);
		}
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- all of it: at once, or beside the guest ---- */

static void load_in_order(struct boot_loading *l)
{
	for (unsigned i = 0; i < l->units && !atomic_load(&l->relaxed); i++)
		ensure(l, &l->unit[i]);
}

static void *loader_main(void *opaque)
{
	pthread_setname_np(pthread_self(), "loader");
	load_in_order(opaque);
	return NULL;
}

int boot_loading_all(struct boot_job *job)
{
	struct boot_loading *l = job->loading;
	int error = l->unit ? 0 : prepare(job);

	if (error)
		return error;
	load_in_order(l);
	return l->error ? boot_fail(job, -l->error, "%s", l->words) : 0;
}

/* [@start, @end): where the bytes of @e are in its file. */
static void ensure_bytes(struct boot_loading *l, const struct extent *e, uint64_t start, uint64_t end)
{
	if (l->in_order[e->file])
		start = 0;
	for (unsigned i = 0; i < l->units; i++) {
		struct unit *u = &l->unit[i];

		if (u->file == e->file && (!u->only || u->only == e) && u->start < end && start < u->end)
			ensure(l, u);
	}
}

/* memory.h. The range is RAM, so no sum wraps. Looks at nothing of the files: whoever is last closes them. */
static void wait_for(struct guest_memory_loading *waiting, uint64_t addr, uint64_t len)
{
	struct boot_loading *l = (struct boot_loading *)waiting;
	uint64_t start = addr & ~(uint64_t)(PAGE - 1), end = (addr + len + PAGE - 1) & ~(uint64_t)(PAGE - 1);

	for (unsigned i = 0; i < l->extents; i++) {
		const struct extent *e = &l->extent[i];
		uint64_t from = e->addr > start ? e->addr : start;
		uint64_t to = e->addr + e->len < end ? e->addr + e->len : end;

		if (from < to)
			ensure_bytes(l, e, from - e->addr + e->off, to - e->addr + e->off);
	}
}

int boot_loading_start(struct boot_job *job, struct guest_memory *mem)
{
	struct boot_loading *l = job->loading;
	int error = prepare(job);

	if (error)
		return error;
	if (!l->left) {
		/* A kernel of nothing but bss: nobody would ever say that it is all there. */
		close_files(l);
		return 0;
	}
	atomic_init(&l->waiting.busy, true);
	l->waiting.wait = wait_for;
	mem->loading = &l->waiting;
	return 0;
}

void boot_load_run(struct boot_loading *l, void (*failed)(void *opaque), void *opaque)
{
	pthread_mutex_lock(&l->lock);
	l->failed = failed;
	l->opaque = opaque;
	if (l->error)
		failed(opaque);
	pthread_mutex_unlock(&l->lock);
	/* Not earlier: where there is one CPU it would take it from those who get the guest ready. */
	if (!atomic_load(&l->waiting.busy))
		return;
	/* The main thread has blocked the signals that are somebody's; so has its child. */
	l->has_thread = pthread_create(&l->thread, NULL, loader_main, l) == 0;
	if (!l->has_thread)
		load_in_order(l);
}

void boot_load_relax(struct boot_loading *l)
{
	atomic_store(&l->relaxed, true);
}

bool boot_load_stop(struct guest_memory *mem, struct boot_loading *l, char *err, size_t errlen)
{
	bool ok;

	if (!l)
		return true;
	stop(l);
	mem->loading = NULL;
	ok = !l->error;
	if (!ok)
		snprintf(err, errlen, "%s", l->words);
	boot_loading_free(l);
	return ok;
}
