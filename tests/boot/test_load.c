/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files, the initrd, boot_params and the memory map. */
#include "fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of our own, with files in it. */
struct files {
	char dir[32];
	char path[64];
};

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/lguest-test-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "kernel", "initrd", "empty", "fifo", "dir" };
	struct files *f = *state;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, names[i]);
		remove(f->path);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static char *path(struct files *f, const char *name)
{
	char *p = malloc(64);

	snprintf(p, 64, "%s/%s", f->dir, name);
	return p;
}

static char *write_file(struct files *f, const char *name, const void *data, size_t len)
{
	char *p = path(f, name);
	FILE *out = fopen(p, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
	return p;
}

static int load_files(struct guest *g, const char *kernel, const char *initrd)
{
	g->in.kernel = kernel;
	g->in.initrd = initrd;
	return guest_load_files(g);
}

static const struct boot_params *params(struct guest *g)
{
	return guest_at(g, g->state.regs[REG_RSI], sizeof(struct boot_params));
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The same from files as from memory, and nothing stays open. */
static void from_files(void **state)
{
	struct image img = image_elf64(NOTES_NONE), payload = image_pack(&img, PACK_XZ),
		     bz = image_bzimage(&payload);
	const struct image *kernels[] = { &img, &bz };
	uint8_t *initrd = malloc(300000);

	for (size_t i = 0; i < 300000; i++)
		initrd[i] = (uint8_t)(i ^ i >> 8);
	for (unsigned i = 0; i < 2; i++) {
		char *k = write_file(*state, "kernel", kernels[i]->data, kernels[i]->len);
		char *r = write_file(*state, "initrd", initrd, 300000);
		struct guest a, b;
		unsigned fds;

		guest_new(&a, 32);
		guest_new(&b, 32);
		fds = open_files();
		check_ok(&a, load_files(&a, k, r));
		assert_int_equal(open_files(), fds);
		check_ok(&b, boot_load_bytes(&b.mem, &b.in, kernels[i]->data, kernels[i]->len, initrd, 300000,
					     &b.state, b.err, sizeof(b.err)));
		check_segments(&a);
		assert_memory_equal(a.mem.base, b.mem.base, a.mem.size);
		assert_memory_equal(&a.state, &b.state, sizeof(a.state));
		/* Again, as for a reboot. */
		assert_int_equal(guest_memory_clear(&a.mem), 0);
		check_ok(&a, load_files(&a, k, r));
		assert_memory_equal(a.mem.base, b.mem.base, a.mem.size);
		guest_free(&a);
		guest_free(&b);
		free(k);
		free(r);
	}
	free(initrd);
	image_free(&bz);
	image_free(&payload);
	image_free(&img);
}

static void bad_files(void **state)
{
	struct image img = image_elf64(NOTES_NONE);
	char *kernel = write_file(*state, "kernel", img.data, img.len),
	     *empty = write_file(*state, "empty", "", 0);
	char *missing = path(*state, "missing"), *dir = path(*state, "dir"), *fifo = path(*state, "fifo");
	struct {
		char *path;
		int error;
		const char *part;
	} cases[] = {
		{ missing, ENOENT, "/missing: cannot open: No such file or directory" },
		{ dir, EISDIR, "/dir: is a directory" },
		{ fifo, EINVAL, "/fifo: is not a regular file" },
		{ empty, EINVAL, "/empty: file is empty" },
	};
	struct guest g;
	unsigned fds;

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	guest_new(&g, 32);
	fds = open_files();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		check_error(&g, load_files(&g, cases[i].path, NULL), cases[i].error, cases[i].part);
		check_error(&g, load_files(&g, kernel, cases[i].path), cases[i].error, cases[i].part);
		assert_int_equal(open_files(), fds);
	}
	/* Truncated, as a file */
	assert_int_equal(truncate(kernel, 0x2000), 0);
	check_error(&g, load_files(&g, kernel, NULL), EINVAL, "/kernel: truncated in the kernel segment");
	assert_int_equal(open_files(), fds);
	guest_free(&g);
	free(kernel);
	free(empty);
	free(missing);
	free(dir);
	free(fifo);
	image_free(&img);
}

static int load_initrd(struct guest *g, const struct image *img, const void *data, size_t len)
{
	g->err[0] = '\0';
	assert_int_equal(guest_memory_clear(&g->mem), 0);
	return boot_load_bytes(&g->mem, &g->in, img->data, img->len, data, len, &g->state, g->err,
			       sizeof(g->err));
}

static void initrd(void **state)
{
	struct image elf = image_elf64(NOTES_NONE), payload = image_pack(&elf, PACK_GZIP),
		     img = image_bzimage(&payload);
	const struct boot_range hole = { (32 << 20) - 0x3000, 0x1000, BOOT_RESERVED };
	uint8_t *data = malloc(64 << 20);
	struct guest g;

	memset(data, 0x1d, 64 << 20);
	guest_new(&g, 32);

	/* At the top, page aligned */
	check_ok(&g, load_initrd(&g, &img, data, 12345));
	assert_int_equal(params(&g)->hdr.ramdisk_image, (32 << 20) - 0x4000);
	assert_int_equal(params(&g)->hdr.ramdisk_size, 12345);
	assert_memory_equal(guest_at(&g, params(&g)->hdr.ramdisk_image, 12345), data, 12345);
	/* Off a reserved range */
	g.in.reserved = &hole;
	g.in.nr_reserved = 1;
	check_ok(&g, load_initrd(&g, &img, data, 8192));
	assert_int_equal(params(&g)->hdr.ramdisk_image, (32 << 20) - 0x2000);
	check_ok(&g, load_initrd(&g, &img, data, 8193));
	assert_int_equal(params(&g)->hdr.ramdisk_image, (32 << 20) - 0x6000);
	g.in.nr_reserved = 0;
	/* Below initrd_addr_max */
	image_hdr(&img)->initrd_addr_max = 0xffffff;
	check_ok(&g, load_initrd(&g, &img, data, 4096));
	assert_int_equal(params(&g)->hdr.ramdisk_image, 0xfff000);
	/* Between the kernel's end and the limit: 2 MiB + 0x5900 rounded up .. 16 MiB */
	check_ok(&g, load_initrd(&g, &img, data, 0x1000000 - 0x206000));
	assert_int_equal(params(&g)->hdr.ramdisk_image, 0x206000);
	check_segments(&g);
	check_error(&g, load_initrd(&g, &img, data, 0x1000000 - 0x206000 + 1), ENOMEM, "does not fit");
	image_hdr(&img)->initrd_addr_max = 0x7fffffff;
	/* Larger than memory */
	check_error(
		&g, load_initrd(&g, &img, data, 64 << 20), ENOMEM,
		"initrd.img: initrd of 65536 KiB does not fit into 32 MiB of memory beside the kernel (give the guest more)");
	/* A limit that makes no sense */
	image_hdr(&img)->initrd_addr_max = 0;
	check_error(&g, load_initrd(&g, &img, data, 4096), ENOMEM, "does not fit");
	/* Never below 1 MiB, where there is room, but not for this */
	image_hdr(&img)->initrd_addr_max = 0xfffff;
	check_error(&g, load_initrd(&g, &img, data, 4096), ENOMEM, "does not fit");
	/* With a stub, off the room that it unpacks to */
	image_hdr(&img)->initrd_addr_max = 0x7fffffff;
	image_hdr(&img)->init_size = 16 << 20;
	g.in.host_decompress = false;
	check_ok(&g, load_initrd(&g, &img, data, 4096));
	assert_int_equal(params(&g)->hdr.ramdisk_image, 0xfff000);
	guest_free(&g);

	/* Never above initrd_addr_max or 4 GiB, however much memory there is */
	guest_new(&g, 8192);
	g.in.host_decompress = true;
	check_ok(&g, load_initrd(&g, &img, data, 4096));
	assert_int_equal(params(&g)->hdr.ramdisk_image, 0x7ffff000);
	image_hdr(&img)->initrd_addr_max = 0xffffffff;
	check_ok(&g, load_initrd(&g, &img, data, 4096));
	assert_int_equal(params(&g)->hdr.ramdisk_image, GUEST_LOW_MAX - 4096);
	guest_free(&g);
	free(data);
	image_free(&img);
	image_free(&payload);
	image_free(&elf);
}

static void check_map(const struct boot_params *p, const struct boot_range *want, unsigned nr)
{
	assert_int_equal(p->e820_entries, nr);
	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(p->e820_table[i].addr, want[i].addr);
		assert_int_equal(p->e820_table[i].size, want[i].size);
		assert_int_equal(p->e820_table[i].type, want[i].type);
	}
}

#define NR(a) (sizeof(a) / sizeof((a)[0]))

static void memory_map(void **state)
{
	static const struct boot_range small[] = {
		{ 0, 0x9fc00, 1 },
		{ 0x9fc00, 0x400, 2 },
		{ 0xe0000, 0x20000, 2 },
		{ 0x100000, 0x1f00000, 1 },
	};
	static const struct boot_range large[] = {
		{ 0, 0x9fc00, 1 },
		{ 0x9fc00, 0x400, 2 },
		{ 0xe0000, 0x20000, 2 },
		{ 0x100000, GUEST_LOW_MAX - 0x100000, 1 },
		{ 0x100000000, 5ull << 30, 1 },
	};
	/* In RAM, outside of it, at its end, over the border of two entries, and two that touch. */
	static const struct boot_range reserved[] = {
		{ 0xe0000000, 0x10000000, 2 }, { 0x400000, 0x1000, 3 },  { 0x401000, 0x1000, 4 },
		{ 0x1fff000, 0x1000, 2 },      { 0xff000, 0x101000, 2 }, { 0xfec00000, 0x1000, 2 },
	};
	static const struct boot_range carved[] = {
		{ 0, 0x9fc00, 1 },         { 0x9fc00, 0x400, 2 },
		{ 0xe0000, 0x1f000, 2 },   { 0xff000, 0x101000, 2 },
		{ 0x200000, 0x200000, 1 }, { 0x400000, 0x1000, 3 },
		{ 0x401000, 0x1000, 4 },   { 0x402000, 0x1bfd000, 1 },
		{ 0x1fff000, 0x1000, 2 },  { 0xe0000000, 0x10000000, 2 },
		{ 0xfec00000, 0x1000, 2 },
	};
	static const struct boot_range wraps = { 0xfffffffffffff000, 0x2000, 2 };
	struct boot_range many[140];
	struct image img = image_elf64(NOTES_NONE);
	struct guest g;

	guest_new(&g, 8192);
	check_ok(&g, guest_load(&g, &img));
	check_map(params(&g), large, NR(large));
	guest_free(&g);

	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	check_map(params(&g), small, NR(small));

	/* The kernel must be off the reserved range. */
	g.in.reserved = reserved;
	g.in.nr_reserved = NR(reserved);
	check_error(&g, guest_load(&g, &img), EINVAL, "kernel segment at 0x100000..0x101800 overlaps the ");
	image_phdr64(&img, 0)->p_paddr = 0x500000;
	image_ehdr64(&img)->e_entry = 0x500000;
	check_ok(&g, guest_load(&g, &img));
	check_map(params(&g), carved, NR(carved));

	g.in.reserved = &wraps;
	g.in.nr_reserved = 1;
	check_error(&g, guest_load(&g, &img), EINVAL, "reserved range at 0xfffffffffffff000 wraps");
	for (unsigned i = 0; i < NR(many); i++)
		many[i] = (struct boot_range){ 0x1000000 + i * 0x2000, 0x1000, BOOT_RESERVED };
	g.in.reserved = many;
	g.in.nr_reserved = NR(many);
	check_error(&g, guest_load(&g, &img), E2BIG, "more than");
	g.in.nr_reserved = 100;
	check_error(&g, guest_load(&g, &img), E2BIG, "memory map: more than 128 entries");
	guest_free(&g);
	image_free(&img);
}

static void zero_page(void **state)
{
	static const uint8_t seed[BOOT_SEED_SIZE] = { 1, 2, 3, 31 };
	struct image img = image_elf64(NOTES_NONE);
	const struct boot_params *p;
	struct guest g;
	uint8_t *node;

	guest_new(&g, 32);
	g.in.acpi_rsdp = 0xe0010;
	check_ok(&g, guest_load(&g, &img));
	p = params(&g);
	assert_int_equal(p->acpi_rsdp_addr, 0xe0010);
	assert_int_equal(p->sentinel, 0);
	assert_int_equal(p->hdr.header, 0x53726448);
	assert_int_equal(p->hdr.boot_flag, 0xaa55);
	assert_true(p->hdr.version >= 0x20c);
	assert_int_equal(p->hdr.loadflags, LOADED_HIGH);
	assert_int_equal(p->hdr.vid_mode, 0xffff);
	assert_int_equal(p->hdr.ramdisk_size, 0);
	assert_int_equal(p->hdr.setup_data, 0);
	assert_string_equal(guest_at(&g, p->hdr.cmd_line_ptr, 14), "console=ttyS0");

	g.in.rng_seed = seed;
	check_ok(&g, guest_load(&g, &img));
	node = guest_at(&g, p->hdr.setup_data, 16 + sizeof(seed));
	assert_memory_equal(node, "\0\0\0\0\0\0\0\0\x09\0\0\0\x20\0\0\0", 16);
	assert_memory_equal(node + 16, seed, sizeof(seed));
	guest_free(&g);
	image_free(&img);
}

/* Pages of zeroes in the image cost no memory of the host. */
static void sparse(void **state)
{
	struct image img = { calloc(1, 24 << 20), 24 << 20 }, elf = image_elf64(NOTES_NONE);
	struct stat before, after;
	struct guest g;

	memcpy(img.data, elf.data, elf.len);
	image_phdr64(&img, 1)->p_filesz = 20 << 20;
	image_phdr64(&img, 1)->p_memsz = 20 << 20;
	img.data[(23 << 20) - 1] =
		1; /* in the last page of the segment, which starts at 0x3000 of the file: */
	image_phdr64(&img, 1)->p_offset = 3 << 20;
	guest_new(&g, 32);
	fstat(g.mem.fd, &before);
	check_ok(&g, guest_load(&g, &img));
	fstat(g.mem.fd, &after);
	assert_int_equal(*(uint8_t *)guest_at(&g, IMAGE_DATA_ADDR + (20 << 20) - 1, 1), 1);
	assert_in_range(after.st_blocks - before.st_blocks, 8, 40 * 8);
	guest_free(&g);
	image_free(&elf);
	image_free(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(from_files, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_files, setup, teardown),
		cmocka_unit_test(initrd),
		cmocka_unit_test(memory_map),
		cmocka_unit_test(zero_page),
		cmocka_unit_test(sparse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
