/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading beside the guest: threads that want pages while they come, kernels that turn out to be
 * corrupt when the guest runs already, and an end in the middle. Run it with -Db_sanitize=thread as well.
 */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define READERS  4
#define DATA_AT  (17u << 20) /* in the file: in the third block of lz4 */
#define CODE_LEN ((12u << 20) + 77)
#define INITRD   ((9u << 20) + 5)

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Code of 12 MiB that does not pack well, data behind the second block. */
static struct image big_elf(void)
{
	struct image elf = image_elf64(NOTES_LINUX), big = { calloc(1, 20 << 20), 20 << 20 };
	uint32_t x = 1;

	memcpy(big.data, elf.data, elf.len);
	image_phdr64(&big, 0)->p_filesz = image_phdr64(&big, 0)->p_memsz = CODE_LEN;
	image_phdr64(&big, 1)->p_offset = DATA_AT;
	/* In the page where the code ends. */
	image_phdr64(&big, 1)->p_paddr = IMAGE_CODE_ADDR + CODE_LEN + 100;
	memset(big.data + DATA_AT, 0xda, IMAGE_DATA_SIZE);
	for (size_t i = 65536; i < CODE_LEN; i++) {
		x = x * 1664525 + 1013904223;
		/* and pages of zeroes between */
		big.data[i] = i >> 14 & 1 ? (uint8_t)(x >> 30) : 0;
	}
	image_free(&elf);
	return big;
}

static struct image big_kernel(enum image_packing packing, bool bare)
{
	struct image elf = big_elf(), payload, bz;

	if (bare)
		return elf;
	payload = image_pack(&elf, packing);
	bz = image_bzimage(&payload);
	image_free(&payload);
	image_free(&elf);
	return bz;
}

struct files {
	char dir[32], kernel[48], initrd[48];
};

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
}

static uint8_t *make_initrd(void)
{
	uint8_t *initrd = malloc(INITRD);

	for (size_t i = 0; i < INITRD; i++)
		initrd[i] = (uint8_t)(i ^ i >> 7 ^ i >> 16);
	return initrd;
}

static void files_new(struct files *f, const struct image *kernel)
{
	uint8_t *initrd = make_initrd();

	strcpy(f->dir, "/tmp/lguest-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->kernel, sizeof(f->kernel), "%s/kernel", f->dir);
	snprintf(f->initrd, sizeof(f->initrd), "%s/initrd", f->dir);
	write_file(f->kernel, kernel->data, kernel->len);
	write_file(f->initrd, initrd, INITRD);
	free(initrd);
}

static void files_free(struct files *f)
{
	remove(f->kernel);
	remove(f->initrd);
	rmdir(f->dir);
}

static void name_files(struct guest *g, const struct files *f)
{
	g->in.kernel = f->kernel;
	g->in.initrd = f->initrd;
}

/* What a vCPU or a device does: asks for some pages, and may use their bytes at once. */
struct reader {
	pthread_t thread;
	struct guest *guest, *whole;
	unsigned seed, wrong;
};

static void *read_pages(void *opaque)
{
	struct reader *r = opaque;
	uint64_t pages = r->guest->mem.size >> 12;

	for (unsigned i = 0; i < 4000; i++) {
		uint64_t addr, len;
		const void *p;

		r->seed = r->seed * 1103515245 + 12345;
		addr = (r->seed >> 8) % pages << 12 | (r->seed & 0xfff);
		len = r->guest->mem.size - addr < 5000 ? r->guest->mem.size - addr : 5000;
		p = guest_range(&r->guest->mem, addr, len);
		if (memcmp(p, guest_range(&r->whole->mem, addr, len), len))
			r->wrong++;
	}
	return NULL;
}

static void must_not_fail(void *opaque)
{
	abort();
}

static void compare(const struct image *kernel)
{
	struct reader reader[READERS];
	struct boot_loading *loading = NULL;
	struct guest whole, g;
	uint8_t *initrd = make_initrd();
	struct files f;
	unsigned fds;

	files_new(&f, kernel);
	guest_new(&whole, 64);
	guest_new(&g, 64);
	name_files(&whole, &f);
	name_files(&g, &f);
	fds = open_files();
	/* The reference: one thread, no files, in order. */
	check_ok(&whole, boot_load_bytes(&whole.mem, &whole.in, kernel->data, kernel->len, initrd, INITRD,
					 &whole.state, whole.err, sizeof(whole.err)));
	for (unsigned round = 0; round < 3; round++) {
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		/* The readers load beside the loader, or alone. */
		if (round)
			boot_load_run(loading, must_not_fail, NULL);
		assert_memory_equal(&g.state, &whole.state, sizeof(g.state));
		for (unsigned i = 0; i < READERS; i++) {
			reader[i] =
				(struct reader){ .guest = &g, .whole = &whole, .seed = round * READERS + i };
			assert_int_equal(pthread_create(&reader[i].thread, NULL, read_pages, &reader[i]), 0);
		}
		for (unsigned i = 0; i < READERS; i++) {
			pthread_join(reader[i].thread, NULL);
			assert_int_equal(reader[i].wrong, 0);
		}
		assert_non_null(guest_range(&g.mem, 0, g.mem.size));
		if (!round)
			boot_load_run(loading, must_not_fail, NULL);
		/* What goes nowhere, at the end of a payload, is the loader's alone. */
		while (guest_loading(&g.mem))
			usleep(1000);
		/* All is there: so nothing is open any more, and nobody waits. */
		assert_int_equal(open_files(), fds);
		assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
		assert_null(g.mem.loading);
		assert_memory_equal(g.mem.base, whole.mem.base, g.mem.size);
		assert_int_equal(guest_memory_clear(&g.mem), 0);
	}
	guest_free(&g);
	guest_free(&whole);
	files_free(&f);
	free(initrd);
}

static void every_page_is_whole(void **unused)
{
	for (enum image_packing p = PACK_NONE; p < PACK_COUNT; p++) {
		struct image img = big_kernel(p, false);

		compare(&img);
		image_free(&img);
	}
	struct image bare = big_kernel(PACK_NONE, true);

	compare(&bare);
	image_free(&bare);
}

/* A reset or a signal in the first moments. */
static void stopped_early(void **unused)
{
	struct image img = big_kernel(PACK_LZ4, false);
	struct boot_loading *loading = NULL;
	struct files f;
	struct guest g;
	unsigned fds;

	files_new(&f, &img);
	guest_new(&g, 64);
	name_files(&g, &f);
	fds = open_files();
	for (unsigned i = 0; i < 50; i++) {
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		boot_load_run(loading, must_not_fail, NULL);
		usleep(i * 100);
		assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
		assert_int_equal(open_files(), fds);
		assert_int_equal(guest_memory_clear(&g.mem), 0);
	}
	assert_true(boot_load_stop(&g.mem, NULL, g.err, sizeof(g.err)));
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

struct failure {
	pthread_mutex_t lock;
	pthread_cond_t came;
	unsigned times;
};

static void on_failure(void *opaque)
{
	struct failure *f = opaque;

	pthread_mutex_lock(&f->lock);
	f->times++;
	pthread_cond_signal(&f->came);
	pthread_mutex_unlock(&f->lock);
}

static unsigned times(struct failure *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->times;
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* The second block is no lz4: the guest runs already when that is found, or whoever loads at once is told. */
static void corrupt_in_the_middle(void **unused)
{
	struct image img = big_kernel(PACK_LZ4, false);
	struct failure failure = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
	struct boot_loading *loading = NULL;
	struct files f;
	struct guest g;
	uint32_t first;
	unsigned fds;

	memcpy(&first, image_payload(&img) + 4, 4);
	memset(image_payload(&img) + 4 + 4 + first + 4, 0xff, 20000);
	files_new(&f, &img);
	guest_new(&g, 64);
	name_files(&g, &f);
	fds = open_files();
	check_error(&g, guest_load(&g, &img), EINVAL, "corrupt payload (lz4)");
	for (unsigned i = 0; i < 20; i++) {
		failure.times = 0;
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		if (i % 3 == 0)
			assert_non_null(guest_range(&g.mem, IMAGE_CODE_ADDR + (9 << 20), 1));
		assert_int_equal(failure.times, 0);
		boot_load_run(loading, on_failure, &failure);
		if (i % 3 == 0)
			assert_int_equal(times(&failure), 1);
		if (i % 2) {
			/* Who wants what is missing learns first that it is. */
			assert_non_null(guest_range(&g.mem, IMAGE_CODE_ADDR + (9 << 20), 1));
			assert_int_equal(times(&failure), 1);
			/* And nobody hangs. */
			assert_non_null(guest_range(&g.mem, 0, g.mem.size));
		} else {
			pthread_mutex_lock(&failure.lock);
			while (!failure.times)
				pthread_cond_wait(&failure.came, &failure.lock);
			pthread_mutex_unlock(&failure.lock);
		}
		g.err[0] = '\0';
		assert_false(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
		check_error(&g, -EINVAL, EINVAL, "kernel: corrupt payload (lz4)");
		assert_int_equal(failure.times, 1);
		assert_int_equal(open_files(), fds);
	}
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

static void ignore(void *opaque)
{
}

/* A file that gets shorter meanwhile: all of it was read before, or there is a message. */
static void file_shrinks(void **unused)
{
	struct image img = big_kernel(PACK_NONE, true);
	struct boot_loading *loading = NULL;
	struct guest g;
	unsigned noticed = 0;

	guest_new(&g, 64);
	for (unsigned i = 0; i < 40; i++) {
		struct files f;

		files_new(&f, &img);
		name_files(&g, &f);
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		if (i % 3)
			boot_load_run(loading, ignore, NULL);
		assert_int_equal(truncate(i % 2 ? f.kernel : f.initrd, 4096), 0);
		assert_non_null(guest_range(&g.mem, 0, g.mem.size));
		g.err[0] = '\0';
		if (!boot_load_stop(&g.mem, loading, g.err, sizeof(g.err))) {
			noticed++;
			check_error(&g, -EIO, EIO, "file shrank while being read");
		}
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		files_free(&f);
	}
	assert_int_not_equal(noticed, 0);
	guest_free(&g);
	image_free(&img);
}

/* What is wrong with headers and addresses is found before anything starts. */
static void refused_at_once(void **unused)
{
	struct image img = big_kernel(PACK_LZ4, false);
	struct boot_loading *loading = NULL;
	struct files f;
	struct guest g;
	unsigned fds;

	files_new(&f, &img);
	guest_new(&g, 16);
	name_files(&g, &f);
	memset(&g.state, 0x5a, sizeof(g.state));
	fds = open_files();
	check_error(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)), ENOMEM,
		    "does not fit into 16 MiB");
	assert_int_equal(truncate(f.kernel, 1 << 16), 0);
	check_error(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)), EINVAL,
		    "truncated in the kernel code");
	assert_null(loading);
	assert_null(g.mem.loading);
	assert_int_equal(open_files(), fds);
	for (size_t i = 0; i < sizeof(g.state); i++)
		assert_int_equal(((uint8_t *)&g.state)[i], 0x5a);
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

/* Bytes of anonymous memory that are in use: no files, no guest. */
static uint64_t private_memory(void)
{
	unsigned long size, resident, shared;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_int_equal(fscanf(f, "%lu %lu %lu", &size, &resident, &shared), 3);
	fclose(f);
	return (uint64_t)(resident - shared) * 4096;
}

/* A kernel at the end of a file of 8 PiB, all hole: neither memory nor time for what goes nowhere. */
static void huge_file(void **unused)
{
	const uint64_t far = (8ull << 50) + (1 << 20);
	struct image elf = image_elf64(NOTES_NONE);
	uint64_t at = image_phdr64(&elf, 0)->p_offset, before;
	int fd = memfd_create("kernel", 0);
	char name[32];
	struct guest g;

	guest_new(&g, 32);
	g.in.initrd = NULL;
	image_phdr64(&elf, 0)->p_offset = far;
	assert_int_equal(pwrite(fd, elf.data, elf.len, 0), elf.len);
	assert_int_equal(pwrite(fd, elf.data + at, IMAGE_CODE_SIZE, (off_t)far), IMAGE_CODE_SIZE);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	g.in.kernel = name;
	before = private_memory();
	check_ok(&g, guest_load_files(&g));
	check_segments(&g);
	assert_true(private_memory() < before + (16 << 20));
	close(fd);
	guest_free(&g);
	image_free(&elf);
}

/* Two segments that are the same bytes of the file: each is loaded once, and what a guest wrote stays. */
static void shared_bytes(void **unused)
{
	struct image img = big_kernel(PACK_NONE, true);
	struct boot_loading *loading = NULL;
	struct files f;
	struct guest g;
	uint8_t *written;

	image_phdr64(&img, 1)->p_offset = image_phdr64(&img, 0)->p_offset;
	image_phdr64(&img, 1)->p_filesz = image_phdr64(&img, 1)->p_memsz = CODE_LEN;
	image_phdr64(&img, 1)->p_paddr = IMAGE_CODE_ADDR + (16 << 20);
	files_new(&f, &img);
	guest_new(&g, 64);
	name_files(&g, &f);
	for (unsigned round = 0; round < 10; round++) {
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		for (unsigned mib = 0; mib < 12; mib++) {
			written = guest_at(&g, IMAGE_CODE_ADDR + ((11 - mib + round) % 12 << 20), 4096);
			memset(written, 0x77, 4096);
		}
		guest_at(&g, 0, g.mem.size);
		for (unsigned mib = 0; mib < 12; mib++) {
			written = guest_at(&g, IMAGE_CODE_ADDR + (mib << 20), 4096);
			assert_int_equal(written[0], 0x77);
			assert_memory_equal(written, written + 1, 4095);
			assert_memory_equal(written + 4096, written + 4096 + (16 << 20), (1 << 20) - 4096);
		}
		assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
		assert_int_equal(guest_memory_clear(&g.mem), 0);
	}
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

/* The host has no page for the guest: one line, not a SIGBUS. A descriptor that cannot be written stands for that. */
static void no_host_memory(void **unused)
{
	struct image img = big_kernel(PACK_LZ4, false);
	struct boot_loading *loading = NULL;
	struct failure failure = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
	char name[32];
	struct files f;
	struct guest g;
	int fd;

	files_new(&f, &img);
	guest_new(&g, 64);
	name_files(&g, &f);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", g.mem.fd);
	fd = g.mem.fd;
	g.mem.fd = open(name, O_RDONLY);
	assert_true(g.mem.fd >= 0);
	check_error(&g, guest_load(&g, &img), EBADF, "no host memory for the guest: ");
	check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
	boot_load_run(loading, on_failure, &failure);
	guest_at(&g, 0, g.mem.size);
	assert_int_equal(times(&failure), 1);
	assert_false(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
	check_error(&g, -EBADF, EBADF, "/kernel: no host memory for the guest: ");
	close(g.mem.fd);
	g.mem.fd = fd;
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

/* Nothing of the file goes into memory: then nobody waits for anything, ever. */
static void only_bss(void **unused)
{
	struct image img = image_elf64(NOTES_NONE);
	struct boot_loading *loading = NULL;
	struct files f;
	struct guest g;
	unsigned fds;

	image_phdr64(&img, 0)->p_filesz = image_phdr64(&img, 1)->p_filesz = 0;
	files_new(&f, &img);
	guest_new(&g, 32);
	g.in.kernel = f.kernel;
	g.in.initrd = NULL;
	fds = open_files();
	check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
	assert_false(guest_loading(&g.mem));
	assert_int_equal(open_files(), fds);
	boot_load_relax(loading);
	assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
	check_ok(&g, guest_load_files(&g));
	guest_free(&g);
	files_free(&f);
	image_free(&img);
}

/* The guest has ended, a device is still at work: it gets what it wants, and nothing else is loaded. */
static void relaxed(void **unused)
{
	struct image img = big_kernel(PACK_LZ4, false);
	struct boot_loading *loading = NULL;
	struct guest g, whole;
	struct files f;

	files_new(&f, &img);
	guest_new(&g, 64);
	guest_new(&whole, 64);
	check_ok(&whole, guest_load(&whole, &img));
	name_files(&g, &f);
	check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
	/* In this order, for the loader's thread would be as fast as it likes. */
	boot_load_relax(loading);
	boot_load_run(loading, must_not_fail, NULL);
	usleep(100000);
	assert_true(guest_loading(&g.mem));
	assert_memory_equal(guest_at(&g, IMAGE_CODE_ADDR + (11 << 20), 5000),
			    guest_at(&whole, IMAGE_CODE_ADDR + (11 << 20), 5000), 5000);
	assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
	guest_free(&g);
	guest_free(&whole);
	files_free(&f);
	image_free(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_is_whole),
		cmocka_unit_test(stopped_early),
		cmocka_unit_test(corrupt_in_the_middle),
		cmocka_unit_test(file_shrinks),
		cmocka_unit_test(refused_at_once),
		cmocka_unit_test(huge_file),
		cmocka_unit_test(shared_bytes),
		cmocka_unit_test(no_host_memory),
		cmocka_unit_test(only_bss),
		cmocka_unit_test(relaxed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
