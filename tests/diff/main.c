/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The coordinator: makes batches of cases, has two worker processes run them
 * and compares. A worker that crashes or hangs on a case has failed that case;
 * a fresh one takes over behind it.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <Zydis/Zydis.h>

#include "diff.h"

#define TIMEOUT_MS 4000

typedef void worker_fn(const struct worker_args *a);

struct worker {
	pid_t pid; /* 0: none */
	int cmd_fd, done_fd;
};

struct signature {
	char text[96];
	unsigned count;
};

struct diff {
	/* options */
	uint64_t seed, count, skip;
	int family; /* -1: all, by weight */
	unsigned keep_going;
	bool self_check, strict, interrupts;
	const char *disable;

	struct batch *batch;
	struct data_image *images;
	uint8_t *code;
	int code_fd;
	uint64_t next_va;
	struct generator *gen;
	struct worker native, guest;

	uint64_t cases_run, mismatches;
	uint64_t family_cases[FAM_COUNT];
	uint64_t family_completed[FAM_COUNT]; /* reached the INT3 at the end */
	uint64_t vectors[32];
	struct signature sig[256];
	unsigned nsigs;
};

/* ---- workers ---- */

static void stop_worker(struct worker *w)
{
	if (!w->pid)
		return;
	close(w->cmd_fd);
	close(w->done_fd);
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	w->pid = 0;
}

static bool start_worker(struct diff *d, struct worker *w, worker_fn *fn, struct outcome *results)
{
	int cmd[2], done[2];

	if (pipe(cmd) < 0 || pipe(done) < 0) {
		fprintf(stderr, "diff: pipe: %s\n", strerror(errno));
		return false;
	}
	fflush(NULL);
	w->pid = fork();
	if (w->pid < 0) {
		fprintf(stderr, "diff: fork: %s\n", strerror(errno));
		return false;
	}
	if (w->pid == 0) {
		struct worker_args a = {
			.batch = d->batch,
			.images = d->images,
			.code = d->code,
			.code_fd = d->code_fd,
			.interrupts = d->interrupts,
			.disable = d->disable,
			.cmd_fd = cmd[0],
			.done_fd = done[1],
			.results = results,
		};

		close(cmd[1]);
		close(done[0]);
		fn(&a);
		_exit(0);
	}
	close(cmd[0]);
	close(done[1]);
	w->cmd_fd = cmd[1];
	w->done_fd = done[0];
	return true;
}

/* One pass over the batch. False: the worker died or hung at batch->current. */
static bool run_worker(struct diff *d, struct worker *w, const char **how)
{
	struct pollfd p = { .fd = w->done_fd, .events = POLLIN };
	uint32_t last = ~0u;
	char byte = 0;

	d->batch->current = 0;
	d->batch->done = 0;
	if (write(w->cmd_fd, &byte, 1) != 1) {
		*how = "died";
		return false;
	}
	for (;;) {
		int n = poll(&p, 1, TIMEOUT_MS);

		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0)
			break;
		if (d->batch->done == last || d->batch->count == 1) {
			*how = "hung";
			return false;
		}
		last = d->batch->done;
	}
	if (read(w->done_fd, &byte, 1) == 1)
		return true;
	*how = "died";
	return false;
}

static bool fresh_guest(struct diff *d)
{
	stop_worker(&d->guest);
	return start_worker(d, &d->guest, d->self_check ? native_worker : guest_worker, d->batch->guest);
}

static bool fresh_native(struct diff *d)
{
	stop_worker(&d->native);
	return start_worker(d, &d->native, native_worker, d->batch->native);
}

/* ---- batches ---- */

static unsigned pick_family(const struct diff *d, uint64_t seed)
{
	struct rng r = { seed ^ 0xfa311e5 };
	unsigned total = 0, n;

	if (d->family >= 0)
		return (unsigned)d->family;
	for (unsigned i = 0; i < FAM_COUNT; i++)
		total += families[i].weight;
	n = rnd_n(&r, total);
	for (unsigned i = 0;; i++) {
		if (n < families[i].weight)
			return i;
		n -= families[i].weight;
	}
}

static void write_code(struct diff *d, const struct diff_case *c)
{
	memcpy(d->code + code_offset(c), c->code, c->len + 1u);
}

/* What a guest must do with an instruction that it is not offered. */
static void expect_ud(const struct diff_case *c, struct outcome *o)
{
	uint16_t ds = o->ds, es = o->es;

	memset(o, 0, sizeof(*o));
	o->vector = 6;
	o->rip = c->va + c->insn_off[c->ninsns - 1];
	o->rflags = c->rflags | 0x10000;
	memcpy(o->regs, c->regs, sizeof(o->regs));
	o->fsbase = c->fsbase;
	o->gsbase = c->gsbase;
	o->cs = c->ia32 ? 0x23 : 0x33;
	o->ss = 0x2b;
	o->ds = ds;
	o->es = es;
	memcpy(o->xsave, c->xsave, sizeof(o->xsave));
}

static void cases_from(struct batch *b, unsigned from)
{
	b->count -= from;
	memmove(b->cases, b->cases + from, b->count * sizeof(b->cases[0]));
	memmove(b->native, b->native + from, b->count * sizeof(b->native[0]));
}

/* Does this one case still go wrong, in a fresh guest? */
static bool still_wrong(struct diff *d, const struct diff_case *c)
{
	const char *how;
	struct batch *b = d->batch;

	b->count = 1;
	b->cases[0] = *c;
	write_code(d, c);
	if (!run_worker(d, &d->native, &how)) {
		fresh_native(d);
		return false;
	}
	if (c->expect_ud && !d->self_check)
		expect_ud(c, &b->native[0]);
	if (!fresh_guest(d))
		return false;
	write_code(d, c);
	if (!run_worker(d, &d->guest, &how)) {
		fresh_guest(d);
		return true;
	}
	return !outcomes_equal(c, &b->native[0], &b->guest[0], d->strict, NULL);
}

static void minimise(struct diff *d, struct diff_case *c)
{
	for (unsigned i = c->ninsns; i-- > 0;) {
		struct diff_case t = *c;

		memset(t.code + t.insn_off[i], 0x90, t.insn_off[i + 1] - t.insn_off[i]);
		if (still_wrong(d, &t))
			*c = t;
	}
}

/* The mnemonics that are left: enough to tell one bug from another. */
static void describe(const struct diff_case *c, const char *how, char *text, size_t size)
{
	ZydisDecoder dec;
	size_t n = 0;

	ZydisDecoderInit(&dec, c->ia32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
			 c->ia32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
	n += (size_t)snprintf(text, size, "%s %s:", c->ia32 ? "32" : "64", how);
	for (unsigned i = 0; i < c->ninsns && n < size; i++) {
		ZydisDecodedInstruction in;
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		unsigned at = c->insn_off[i], len = c->insn_off[i + 1] - at;

		if (c->code[at] == 0x90)
			continue;
		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, c->code + at, len, &in, op)))
			n += (size_t)snprintf(text + n, size - n, " %s", ZydisMnemonicGetString(in.mnemonic));
		else
			n += (size_t)snprintf(text + n, size - n, " %02x%02x%02x", c->code[at],
					      c->code[at + 1], c->code[at + 2]);
	}
}

/* False: enough. */
static bool report(struct diff *d, const struct diff_case *c, const char *how)
{
	struct batch *saved = malloc(sizeof(*saved));
	struct diff_case t = *c;
	char text[sizeof(d->sig[0].text)];
	bool alone;
	unsigned s;

	if (!saved)
		return false;
	memcpy(saved, d->batch, sizeof(*saved));
	d->mismatches++;
	if (still_wrong(d, &t))
		minimise(d, &t);
	else
		printf("(does not fail alone)\n");
	alone = still_wrong(d, &t);
	describe(&t, how, text, sizeof(text));
	for (s = 0; s < d->nsigs && strcmp(d->sig[s].text, text); s++)
		;
	if (s == d->nsigs && s < 255)
		strcpy(d->sig[d->nsigs++].text, text);
	if (d->sig[s].count++ < 2) {
		printf("MISMATCH %llu (%s)\n", (unsigned long long)d->mismatches, text);
		print_case(&t, stdout);
		if (!alone) {
			unsigned i = (unsigned)(c - d->batch->cases);

			outcomes_equal(c, &saved->native[i], &saved->guest[i], d->strict, stdout);
		} else if (still_wrong(d, &t))
			outcomes_equal(&t, &d->batch->native[0], &d->batch->guest[0], d->strict, stdout);
	}
	fflush(stdout);
	memcpy(d->batch, saved, sizeof(*saved));
	free(saved);
	return fresh_guest(d) && d->mismatches < d->keep_going;
}

static bool compare_batch(struct diff *d)
{
	struct batch *b = d->batch;
	const char *how;

	for (;;) {
		unsigned done;
		bool alive;

		/* Self-modifying cases have run natively. */
		for (unsigned i = 0; i < b->count; i++)
			write_code(d, &b->cases[i]);
		alive = run_worker(d, &d->guest, &how);
		done = alive ? b->count : b->current;
		for (unsigned i = 0; i < done; i++) {
			if (outcomes_equal(&b->cases[i], &b->native[i], &b->guest[i], d->strict, NULL))
				continue;
			if (!report(d, &b->cases[i], "differs"))
				return false;
		}
		if (alive)
			return true;
		if (!report(d, &b->cases[done], how))
			return false;
		if (done + 1 == b->count)
			return true;
		cases_from(b, done + 1);
	}
}

static bool run_native(struct diff *d)
{
	struct batch *b = d->batch;
	const char *how;

	for (;;) {
		unsigned bad;

		/* Cases that modify themselves may have run before. */
		for (unsigned i = 0; i < b->count; i++)
			write_code(d, &b->cases[i]);
		if (run_worker(d, &d->native, &how))
			break;
		bad = b->current;

		/* Should not happen: the generator's mistake. Say so and drop the case. */
		printf("native worker %s:\n", how);
		print_case(&b->cases[bad], stdout);
		if (!fresh_native(d))
			return false;
		b->count--;
		if (!b->count)
			return true;
		memmove(b->cases + bad, b->cases + bad + 1, (b->count - bad) * sizeof(b->cases[0]));
	}
	for (unsigned i = 0; i < b->count; i++) {
		d->vectors[b->native[i].vector & 31]++;
		d->family_completed[b->cases[i].family] += b->native[i].vector == 3;
	}
	if (!d->self_check)
		for (unsigned i = 0; i < b->count; i++)
			if (b->cases[i].expect_ud)
				expect_ud(&b->cases[i], &b->native[i]);
	return true;
}

static bool run_all(struct diff *d)
{
	const uint64_t end = VA_CODE + CODE_PAGES * 4096ull - BATCH * (MAX_CODE + 1);
	time_t shown = time(NULL);

	if (!fresh_native(d) || !fresh_guest(d))
		return false;
	for (uint64_t i = 0; i < d->count;) {
		struct batch *b = d->batch;
		uint64_t n = d->count - i < BATCH ? d->count - i : BATCH;

		d->next_va = (d->next_va + 4095) & ~4095ull;
		if (d->next_va >= end) {
			d->next_va = VA_CODE;
			memset(d->code, 0xcc, CODE_PAGES * 4096ul);
			if (!fresh_guest(d))
				return false;
		}
		b->count = (uint32_t)n;
		for (unsigned j = 0; j < n; j++) {
			uint64_t seed = (d->seed * 1000003 + i + j) & 0x00ffffffffffffffull;
			struct diff_case *c = &b->cases[j];
			unsigned family = pick_family(d, seed);

			d->family_cases[family]++;
			generate_case(d->gen, c, family, seed,
				      d->next_va + (family == FAM_SMC ? VA_SMC - VA_CODE : 0));
			write_code(d, c);
			d->next_va += c->len + 1u;
		}
		i += n;
		if (i <= d->skip)
			continue;
		if (!run_native(d))
			return false;
		if (!compare_batch(d))
			return true;
		d->cases_run = i;
		if (isatty(1) && time(NULL) != shown) {
			shown = time(NULL);
			printf("\r%llu cases, %llu mismatches", (unsigned long long)i,
			       (unsigned long long)d->mismatches);
			fflush(stdout);
		}
	}
	return true;
}

/* ---- options ---- */

static int find_family(const char *name)
{
	for (int i = 0; i < FAM_COUNT; i++)
		if (!strcmp(families[i].name, name))
			return i;
	return -1;
}

static bool set_up(struct diff *d)
{
	struct offered offered;

	if (!what_is_offered(&offered))
		return false;
	d->gen = generator_new(&offered);
	d->batch = mmap(NULL, sizeof(*d->batch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	d->images = calloc(IMAGES, sizeof(*d->images));
	d->code_fd = memfd_create("diff-code", MFD_CLOEXEC);
	if (!d->gen || d->batch == MAP_FAILED || !d->images || d->code_fd < 0 ||
	    ftruncate(d->code_fd, CODE_PAGES * 4096l) < 0)
		return false;
	d->code = mmap(NULL, CODE_PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_SHARED, d->code_fd, 0);
	if (d->code == MAP_FAILED)
		return false;
	memset(d->code, 0xcc, CODE_PAGES * 4096ul);
	for (unsigned i = 0; i < IMAGES; i++) {
		image_fill(&d->images[i], i + 1);
		/* Read-only pages keep their contents for the life of a worker. */
		for (unsigned p = 0; p < DATA_PAGES; p++)
			if (!data_pages[p].writable)
				memcpy(d->images[i].word + p * 512, d->images[0].word + p * 512, 4096);
	}
	d->next_va = VA_CODE;
	return true;
}

static void tear_down(struct diff *d)
{
	stop_worker(&d->native);
	stop_worker(&d->guest);
	generator_free(d->gen);
	free(d->images);
	free(d);
}

static void usage(FILE *out)
{
	fprintf(out, "usage: diff [options]\n"
		     "  --seed=N        first seed (default 1)\n"
		     "  --count=N       number of cases (default 100000)\n"
		     "  --skip=N        do not run the first N of them\n"
		     "  --skip=N        do not run the first N of them\n"
		     "  --family=NAME   only this family (default: all)\n"
		     "  --keep-going=N  stop after N mismatches (default 1)\n"
		     "  --replay=SEED:VA:FAMILY  one case, as a mismatch names it\n"
		     "  --self-check    native against native: tests the tester\n"
		     "  --interrupts    interrupt the guest all the time\n"
		     "  --disable=LIST  leave out optimizations, as lguest --soft-disable\n"
		     "  --print         with --replay: print the case even if it agrees\n"
		     "families:\n");
	for (unsigned i = 0; i < FAM_COUNT; i++)
		fprintf(out, "  %-10s %s\n", families[i].name, families[i].help);
}

static int replay(struct diff *d, const char *arg, bool print)
{
	unsigned long long seed, va;
	char name[32];
	struct diff_case *c = &d->batch->cases[0];
	int family;

	if (sscanf(arg, "%llx:%llx:%31s", &seed, &va, name) != 3 || (family = find_family(name)) < 0) {
		fprintf(stderr, "diff: --replay=%s: want SEED:VA:FAMILY\n", arg);
		return 2;
	}
	generate_case(d->gen, c, (unsigned)family, seed, va);
	write_code(d, c);
	d->batch->count = 1;
	if (print)
		print_case(c, stdout);
	if (!fresh_native(d) || !fresh_guest(d) || !run_native(d))
		return 2;
	if (print) {
		struct outcome *o = &d->batch->native[0];

		printf("  native: vector %u error %#x rip %llx cr2 %llx\n", o->vector, o->error,
		       (unsigned long long)o->rip, (unsigned long long)o->cr2);
	}
	d->keep_going = 1;
	compare_batch(d);
	if (!d->mismatches)
		printf("agrees\n");
	return d->mismatches ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "family", required_argument, NULL, 'f' },
		{ "keep-going", required_argument, NULL, 'k' },
		{ "replay", required_argument, NULL, 'r' },
		{ "self-check", no_argument, NULL, 'S' },
		{ "skip", required_argument, NULL, 'n' },
		{ "interrupts", no_argument, NULL, 'i' },
		{ "disable", required_argument, NULL, 'D' },
		{ "strict-flags", no_argument, NULL, 'F' },
		{ "print", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct diff *d = calloc(1, sizeof(*d));
	const char *replay_arg = NULL;
	bool print = false;
	int opt, ret;

	if (!d)
		return 2;
	d->seed = 1;
	d->count = 100000;
	d->family = -1;
	d->keep_going = 1;
	while ((opt = getopt_long(argc, argv, "h", longopts, NULL)) != -1) {
		switch (opt) {
		case 's': d->seed = strtoull(optarg, NULL, 0); break;
		case 'n': d->skip = strtoull(optarg, NULL, 0); break;
		case 'c': d->count = strtoull(optarg, NULL, 0); break;
		case 'k': d->keep_going = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'r': replay_arg = optarg; break;
		case 'S': d->self_check = true; break;
		case 'F': d->strict = true; break;
		case 'i': d->interrupts = true; break;
		case 'D': d->disable = optarg; break;
		case 'p': print = true; break;
		case 'h': usage(stdout); return 0;
		case 'f':
			d->family = find_family(optarg);
			if (d->family < 0) {
				fprintf(stderr, "diff: no family '%s' (--help lists them)\n", optarg);
				return 2;
			}
			break;
		default: usage(stderr); return 2;
		}
	}
	/* native.c loads the FS and GS bases itself and whole YMM registers. */
	if (!(getauxval(AT_HWCAP2) & 2) || !__builtin_cpu_supports("avx")) {
		fprintf(stderr, "diff: skipped: this host lacks FSGSBASE or AVX\n");
		free(d);
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	if (!set_up(d)) {
		fprintf(stderr, "diff: cannot set up: %s\n", strerror(errno));
		return 2;
	}
	if (replay_arg) {
		ret = replay(d, replay_arg, print);
		tear_down(d);
		return ret;
	}
	ret = run_all(d) ? 0 : 2;
	printf("%s%llu cases, %llu mismatches\n", isatty(1) ? "\r" : "", (unsigned long long)d->cases_run,
	       (unsigned long long)d->mismatches);
	for (unsigned i = 0; i < FAM_COUNT; i++)
		if (d->family_cases[i])
			printf("  %-10s %10llu, %2llu%% without an exception\n", families[i].name,
			       (unsigned long long)d->family_cases[i],
			       (unsigned long long)(100 * d->family_completed[i] / d->family_cases[i]));
	if (d->interrupts)
		printf("  %llu interrupts\n", (unsigned long long)d->batch->interrupts);
	printf("  native vectors:");
	for (unsigned i = 0; i < 32; i++)
		if (d->vectors[i])
			printf(" %u:%llu", i, (unsigned long long)d->vectors[i]);
	printf("\n");
	for (unsigned i = 0; i < d->nsigs; i++)
		printf("  %4u x %s\n", d->sig[i].count, d->sig[i].text);
	if (!ret)
		ret = d->mismatches ? 1 : 0;
	tear_down(d);
	return ret;
}
