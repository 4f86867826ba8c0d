/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Booting a guest of the lguest platform: boot_params in the first page, the
 * initrd at the top, and below it the page tables that guests of 2.6.3x start on.
 */
#include "fixture.h"

#include <unistd.h>

#define RAM          (32u << 20)
#define DEVICE_AREA  (256u << 12)
#define PAGE_OFFSET  0xc0000000u
#define DIR_FLAGS    7u
#define LGUEST       1
#define KEEP_SEGMENT 0x40

struct world {
	struct guest g;
	struct boot_lguest start;
	char kernel[32], initrd[32];
};

static void write_file(char *path, const void *data, size_t len)
{
	int fd;

	strcpy(path, "/tmp/lguest-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* As the machine does: RAM, then the device area, one block. @initrd: bytes, 0: none. */
static int load(struct world *w, const struct image *img, size_t initrd, uint32_t ram)
{
	uint8_t *data = malloc(initrd + 1);
	int ret;

	memset(w, 0, sizeof(*w));
	memset(data, 0x1d, initrd + 1);
	assert_int_equal(guest_memory_create(&w->g.mem, ram + DEVICE_AREA), 0);
	write_file(w->kernel, img->data, img->len);
	write_file(w->initrd, data, initrd);
	w->g.in.kernel = w->kernel;
	w->g.in.initrd = initrd ? w->initrd : NULL;
	w->g.in.cmdline = "console=hvc0";
	w->g.in.host_decompress = true;
	ret = boot_load_lguest(&w->g.mem, ram, &w->g.in, &w->start, w->g.err, sizeof(w->g.err));
	unlink(w->kernel);
	unlink(w->initrd);
	free(data);
	return ret;
}

static const struct boot_params *params(struct world *w)
{
	return guest_at(&w->g, 0, sizeof(struct boot_params));
}

static uint32_t word(struct world *w, uint64_t addr)
{
	uint32_t val;

	memcpy(&val, guest_at(&w->g, addr, 4), 4);
	return val;
}

/* What @lin leads to by the initial tables, or ~0. */
static uint32_t translate(struct world *w, uint32_t lin)
{
	uint32_t dir = word(w, w->start.pgdir + 4 * (lin >> 22)), page;

	if (!(dir & 1))
		return ~0u;
	assert_int_equal(dir & 0xfff, DIR_FLAGS);
	page = word(w, (dir & ~0xfffu) + 4 * (lin >> 12 & 1023));
	if (!(page & 1))
		return ~0u;
	assert_int_equal(page & 0xfff, DIR_FLAGS);
	return (page & ~0xfffu) | (lin & 0xfff);
}

static void check_tables(struct world *w, uint32_t ram)
{
	const uint32_t limit = ram + DEVICE_AREA;

	for (uint32_t lin = 0; lin < limit; lin += 4096) {
		assert_int_equal(translate(w, lin), lin);
		assert_int_equal(translate(w, PAGE_OFFSET + lin), lin);
	}
	assert_int_equal(translate(w, limit), ~0u);
	assert_int_equal(translate(w, PAGE_OFFSET + limit), ~0u);
	/* The last entry is the host's. */
	assert_int_equal(word(w, w->start.pgdir + 4 * 1023), 0);
}

static void zero_page(void **state)
{
	struct image img = image_elf32(NOTES_NONE);
	struct world w;

	check_ok(&w.g, load(&w, &img, 0, RAM));
	check_segments(&w.g);
	assert_int_equal(w.start.entry, IMAGE_ENTRY);
	assert_int_equal(params(&w)->hdr.hardware_subarch, LGUEST);
	assert_true(params(&w)->hdr.version >= 0x207);
	assert_int_equal(params(&w)->hdr.loadflags & KEEP_SEGMENT, KEEP_SEGMENT);
	assert_int_equal(params(&w)->hdr.cmd_line_ptr, 0x1000);
	assert_string_equal(guest_at(&w.g, 0x1000, 13), "console=hvc0");
	/* Guests find their last page by this, and the device page behind it. */
	assert_int_equal(params(&w)->e820_entries, 1);
	assert_int_equal(params(&w)->e820_table[0].addr, 0);
	assert_int_equal(params(&w)->e820_table[0].size, RAM);
	assert_int_equal(params(&w)->e820_table[0].type, 1);
	/* No initrd: tables at the top of RAM. */
	assert_int_equal(params(&w)->hdr.ramdisk_size, 0);
	assert_int_equal(params(&w)->hdr.type_of_loader, 0);
	assert_int_equal(w.start.pgdir, RAM - 4096);
	check_tables(&w, RAM);
	/* Nothing of it lies where the devices go. */
	for (uint32_t i = 0; i < DEVICE_AREA; i += 4)
		assert_int_equal(word(&w, RAM + i), 0);
	guest_free(&w.g);
	image_free(&img);
}

/* Hosts of 2.6.3x build the tables below mem - ramdisk_size, so this is in whole pages; ours keep to that place. */
static void initrd(void **state)
{
	static const size_t sizes[] = { 1, 4095, 4096, 4097, 300000 };
	struct image img = image_elf32(NOTES_NONE);
	struct world w;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t pages = (uint32_t)(sizes[i] + 4095) & ~4095u;
		/* For RAM and device area, 4 MiB each */
		uint32_t tables = (RAM + DEVICE_AREA + 0x3fffff) >> 22;

		check_ok(&w.g, load(&w, &img, sizes[i], RAM));
		assert_int_equal(params(&w)->hdr.ramdisk_size, pages);
		assert_int_equal(params(&w)->hdr.ramdisk_image, RAM - pages);
		assert_int_equal(params(&w)->hdr.type_of_loader, 0xff);
		for (uint32_t k = 0; k < pages; k++)
			assert_int_equal(*(uint8_t *)guest_at(&w.g, RAM - pages + k, 1),
					 k < sizes[i] ? 0x1d : 0);
		assert_int_equal(w.start.pgdir, RAM - pages - 4096);
		check_tables(&w, RAM);
		for (uint32_t k = 0; k < tables; k++)
			assert_int_equal(word(&w, w.start.pgdir + 4 * k) & ~0xfffu,
					 w.start.pgdir - 4096 * (tables - k));
		check_segments(&w.g);
		guest_free(&w.g);
	}
	image_free(&img);
}

/* Guests too small for the kernel died in clearing their bss, with the original. */
static void no_room(void **state)
{
	struct image img = image_elf32(NOTES_NONE);
	struct world w;

	check_error(&w.g, load(&w, &img, 0, 2 << 20), ENOMEM, "give it at least");
	guest_free(&w.g);
	check_error(&w.g, load(&w, &img, 14 << 20, 16 << 20), ENOMEM, "does not fit");
	guest_free(&w.g);
	/* The kernel ends at 2 MiB + 0x5900; a directory and a table are to go behind it. */
	check_error(&w.g, load(&w, &img, 0, (2 << 20) + 0x6000), ENOMEM,
		    "no room for the initial page tables");
	guest_free(&w.g);
	check_ok(&w.g, load(&w, &img, 0, (2 << 20) + 0x6000 + 0x2000));
	check_tables(&w, (2 << 20) + 0x6000 + 0x2000);
	check_segments(&w.g);
	guest_free(&w.g);
	image_free(&img);
}

static void kernels(void **state)
{
	struct image elf = image_elf32(NOTES_NONE), payload = image_pack(&elf, PACK_GZIP),
		     bz = image_bzimage(&payload), elf64 = image_elf64(NOTES_NONE);
	char *line = malloc(8192);
	struct world w;

	check_ok(&w.g, load(&w, &bz, 5000, RAM));
	check_segments(&w.g);
	assert_int_equal(params(&w)->hdr.hardware_subarch, LGUEST);
	assert_int_equal(w.start.entry, IMAGE_ENTRY);
	check_tables(&w, RAM);
	guest_free(&w.g);

	check_error(&w.g, load(&w, &elf64, 0, RAM), ENOEXEC, "not a 32-bit kernel");
	/* The command line has one page. */
	memset(line, 'x', 8191);
	line[8191] = 0;
	write_file(w.kernel, elf.data, elf.len);
	w.g.in.kernel = w.kernel;
	w.g.in.cmdline = line;
	check_error(&w.g, boot_load_lguest(&w.g.mem, RAM, &w.g.in, &w.start, w.g.err, sizeof(w.g.err)), E2BIG,
		    "command line: 8191 bytes, but lguest guests take at most 4095");
	line[4095] = 0;
	check_ok(&w.g, boot_load_lguest(&w.g.mem, RAM, &w.g.in, &w.start, w.g.err, sizeof(w.g.err)));
	unlink(w.kernel);
	guest_free(&w.g);
	free(line);
	image_free(&elf64);
	image_free(&bz);
	image_free(&payload);
	image_free(&elf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_page),
		cmocka_unit_test(initrd),
		cmocka_unit_test(no_room),
		cmocka_unit_test(kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
