/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading beside the guest: threads that want pages while they come, kernels that turn out to be
 * corrupt when the guest runs already, and an end in the middle. Run it with -Db_sanitize=thread as well.
 */
#include "fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define READERS  4
#define DATA_AT  (17u << 20) /* in the file: in the third block of lz4 */
#define CODE_LEN ((12u << 20) + 77)

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

static void files_new(struct files *f, const struct image *kernel)
{
	size_t len = (9 << 20) + 5;
	uint8_t *initrd = malloc(len);

	strcpy(f->dir, "/tmp/lguest-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->kernel, sizeof(f->kernel), "%s/kernel", f->dir);
	snprintf(f->initrd, sizeof(f->initrd), "%s/initrd", f->dir);
	for (size_t i = 0; i < len; i++)
		initrd[i] = (uint8_t)(i ^ i >> 7 ^ i >> 16);
	write_file(f->kernel, kernel->data, kernel->len);
	write_file(f->initrd, initrd, len);
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

static void compare(const struct image *kernel)
{
	struct reader reader[READERS];
	struct boot_loading *loading = NULL;
	struct guest whole, g;
	struct files f;
	unsigned fds;

	files_new(&f, kernel);
	guest_new(&whole, 64);
	guest_new(&g, 64);
	name_files(&whole, &f);
	name_files(&g, &f);
	fds = open_files();
	check_ok(&whole, boot_load(&whole.mem, &whole.in, &whole.state, whole.err, sizeof(whole.err)));
	for (unsigned round = 0; round < 3; round++) {
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
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
		/* All is there: so nothing is open any more, and nobody waits. */
		assert_false(guest_loading(&g.mem));
		assert_int_equal(open_files(), fds);
		assert_true(boot_load_stop(&g.mem, loading, g.err, sizeof(g.err)));
		assert_null(g.mem.loading);
		assert_memory_equal(g.mem.base, whole.mem.base, g.mem.size);
		assert_int_equal(guest_memory_clear(&g.mem), 0);
	}
	guest_free(&g);
	guest_free(&whole);
	files_free(&f);
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
	check_error(&g, boot_load(&g.mem, &g.in, &g.state, g.err, sizeof(g.err)), EINVAL,
		    "corrupt payload (lz4)");
	assert_int_equal(open_files(), fds);
	for (unsigned i = 0; i < 20; i++) {
		failure.times = 0;
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		check_ok(&g, boot_load_start(&g.mem, &g.in, &g.state, &loading, g.err, sizeof(g.err)));
		if (i % 3 == 0)
			usleep(i * 1000);
		boot_load_watch(loading, on_failure, &failure);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_is_whole),   cmocka_unit_test(stopped_early),
		cmocka_unit_test(corrupt_in_the_middle), cmocka_unit_test(file_shrinks),
		cmocka_unit_test(refused_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
