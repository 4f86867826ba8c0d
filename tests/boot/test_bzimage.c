/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bzImage: every packing, both ways to enter, and broken ones. */
#include "fixture.h"

#include <endian.h>

static struct image bzimage(enum image_packing packing)
{
	struct image elf = image_elf64(NOTES_PVH | NOTES_LINUX), payload = image_pack(&elf, packing);
	struct image bz = image_bzimage(&payload);

	image_free(&elf);
	image_free(&payload);
	return bz;
}

/* A bzImage around arbitrary bytes. */
static struct image around(const void *bytes, size_t len)
{
	struct image payload = { (uint8_t *)bytes, len };

	return image_bzimage(&payload);
}

static const struct boot_params *params(struct guest *g)
{
	return guest_at(g, g->state.regs[REG_RSI], sizeof(struct boot_params));
}

static void host_decompress(void **unused)
{
	for (enum image_packing p = 0; p < PACK_COUNT; p++) {
		struct image img = bzimage(p);
		struct guest g;

		guest_new(&g, 32);
		check_ok(&g, guest_load(&g, &img));
		check_segments(&g);
		assert_int_equal(g.state.rip, IMAGE_ENTRY);
		assert_int_equal(g.state.efer, EFER_LME | EFER_LMA);
		/* The stub itself is nowhere. */
		assert_null(guest_range(&g.mem, IMAGE_PREF_ADDR + (16 << 20), 1));
		assert_int_equal(*(uint8_t *)guest_at(&g, IMAGE_PREF_ADDR, 1), 0);
		/* The header comes from the image, loadflags without what is not for the kernel. */
		assert_int_equal(params(&g)->hdr.version, 0x20f);
		assert_int_equal(params(&g)->hdr.loadflags, LOADED_HIGH);
		assert_int_equal(params(&g)->hdr.initrd_addr_max, 0x7fffffff);
		assert_int_equal(params(&g)->hdr.type_of_loader, 0xff);
		guest_free(&g);
		image_free(&img);
	}
}

/* A payload of more than one block of 8 MiB, which is what lz4's legacy format has. */
static void large_payload(void **unused)
{
	struct image elf = image_elf64(NOTES_NONE), big = { calloc(1, 20 << 20), 20 << 20 };

	memcpy(big.data, elf.data, elf.len);
	image_phdr64(&big, 1)->p_offset = 17 << 20;
	memset(big.data + (17 << 20), 0xda, IMAGE_DATA_SIZE);
	for (size_t i = 1 << 20; i < 17 << 20; i++)
		big.data[i] = (uint8_t)(i >> 4 ^ i >> 13);
	for (enum image_packing p = PACK_GZIP; p < PACK_COUNT; p++) {
		struct image payload = image_pack(&big, p), img = image_bzimage(&payload);
		struct guest g;

		guest_new(&g, 32);
		check_ok(&g, guest_load(&g, &img));
		check_segments(&g);
		guest_free(&g);
		image_free(&img);
		image_free(&payload);
	}
	image_free(&big);
	image_free(&elf);
}

static unsigned long address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * 4096;
}

/* A guest may reboot often. */
static void no_leaks(void **unused)
{
	struct image img = bzimage(PACK_ZSTD);
	struct guest g;
	unsigned long before;

	/* valgrind grows itself, and finds leaks in the other tests by its own means. */
	if (getenv("UNDER_VALGRIND")) {
		image_free(&img);
		skip();
	}
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	before = address_space();
	for (unsigned i = 0; i < 1000; i++)
		check_ok(&g, guest_load(&g, &img));
	image_payload(&img)[20] ^= 0xff;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_not_equal(guest_load(&g, &img), 0);
	assert_in_range(address_space(), 0, before + (4 << 20));
	guest_free(&g);
	image_free(&img);
}

/* A 32-bit kernel inside: entered with its 32-bit entry. */
static void payload32(void **unused)
{
	struct image elf = image_elf32(NOTES_NONE), payload = image_pack(&elf, PACK_GZIP);
	struct image img = image_bzimage(&payload);
	struct guest g;

	image_hdr(&img)->xloadflags = 0;
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	check_segments(&g);
	assert_int_equal(g.state.rip, IMAGE_ENTRY);
	assert_int_equal(g.state.efer, 0);
	guest_free(&g);
	image_free(&img);
	image_free(&payload);
	image_free(&elf);
}

static void check_stub(struct guest *g, const struct image *img, uint64_t addr, uint64_t entry, bool is64)
{
	size_t len = img->len - IMAGE_SETUP_SIZE;

	check_ok(g, guest_load(g, img));
	assert_memory_equal(guest_at(g, addr, len), img->data + IMAGE_SETUP_SIZE, len);
	assert_int_equal(g->state.rip, entry);
	assert_int_equal(g->state.efer, is64 ? EFER_LME | EFER_LMA : 0);
	assert_int_equal(g->state.regs[REG_RSI], BOOT_PARAMS_ADDR);
	assert_int_equal(params(g)->hdr.code32_start, addr);
	assert_int_equal(guest_memory_clear(&g->mem), 0);
}

static void stub(void **unused)
{
	struct image img = bzimage(PACK_NONE);
	struct setup_header *hdr = image_hdr(&img);
	struct guest g;

	guest_new(&g, 32);
	g.in.host_decompress = false;
	check_stub(&g, &img, IMAGE_PREF_ADDR, IMAGE_PREF_ADDR + 0x200, true);
	hdr->xloadflags = 0;
	check_stub(&g, &img, IMAGE_PREF_ADDR, IMAGE_PREF_ADDR, false);
	hdr->relocatable_kernel = 0;
	check_stub(&g, &img, 0x100000, 0x100000, false);
	/* What older protocols did not have does not count. */
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->relocatable_kernel = 1;
	hdr->version = 0x20b;
	check_stub(&g, &img, IMAGE_PREF_ADDR, IMAGE_PREF_ADDR, false);
	hdr->version = 0x206;
	check_stub(&g, &img, 0x100000, 0x100000, false);
	/* Nothing to unpack: the stub, although unpacking was asked for. */
	g.in.host_decompress = true;
	check_stub(&g, &img, 0x100000, 0x100000, false);
	hdr->version = 0x20f;
	hdr->payload_length = 0;
	check_stub(&g, &img, IMAGE_PREF_ADDR, IMAGE_PREF_ADDR + 0x200, true);
	/* Zero setup sectors mean four. */
	hdr->setup_sects = 0;
	hdr->syssize = 0;
	check_ok(&g, guest_load(&g, &img));
	assert_int_equal(*(uint8_t *)guest_at(&g, IMAGE_PREF_ADDR, 1), img.data[5 * 512]);
	guest_free(&g);
	image_free(&img);
}

/* What follows the code (a signature) is no part of it. */
static void signature(void **unused)
{
	struct image img = bzimage(PACK_ZSTD);
	struct guest g;
	size_t code = img.len - IMAGE_SETUP_SIZE;

	img.data = realloc(img.data, img.len + 1000);
	memset(img.data + img.len, 0x55, 1000);
	img.len += 1000;
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	g.in.host_decompress = false;
	assert_int_equal(guest_memory_clear(&g.mem), 0);
	check_ok(&g, guest_load(&g, &img));
	assert_int_equal(*(uint8_t *)guest_at(&g, IMAGE_PREF_ADDR + code, 1), 0);
	guest_free(&g);
	image_free(&img);
}

/* A short header of an old kernel: what lies behind it in the file is code, not fields. */
static void short_header(void **unused)
{
	struct image img = bzimage(PACK_XZ);
	struct guest g;

	image_hdr(&img)->version = 0x206;
	image_hdr(&img)->jump = 0xeb | (0x23c - 0x202) << 8; /* ends after cmdline_size */
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	assert_int_equal(params(&g)->hdr.cmdline_size, 2047);
	assert_int_equal(params(&g)->hdr.payload_offset, 0);
	assert_int_equal(params(&g)->hdr.pref_address, 0);
	guest_free(&g);
	image_free(&img);
}

static void truncated(void **unused)
{
	struct image img = bzimage(PACK_GZIP);
	struct guest g;

	guest_new(&g, 32);
	for (unsigned host = 0; host < 2; host++) {
		g.in.host_decompress = host;
		for (size_t len = 0; len < img.len; len += len < 0x280 || len + 48 > img.len ? 1 : 31) {
			struct image cut = { malloc(len ? len : 1), len };
			const char *part = len < 0x206               ? "not a kernel: file has only"
					   : len < 0x26c             ? "truncated in the setup header"
					   : len <= IMAGE_SETUP_SIZE ? "truncated in the setup code"
								     : "truncated in the kernel code";

			memcpy(cut.data, img.data, len);
			/* Old kernels were not padded to the 16 bytes that syssize counts in. */
			if (img.len - len < 16 && !host)
				check_ok(&g, guest_load(&g, &cut));
			else if (img.len - len < 16)
				assert_true(guest_load(&g, &cut) == 0 ||
					    strstr(g.err, "truncated in the payload"));
			else
				check_error(&g, guest_load(&g, &cut), len < 0x206 ? ENOEXEC : EINVAL, part);
			assert_int_equal(guest_memory_clear(&g.mem), 0);
			image_free(&cut);
		}
	}
	guest_free(&g);
	image_free(&img);
}

static void bad_header(void **unused)
{
	struct image img = bzimage(PACK_GZIP);
	struct setup_header *hdr = image_hdr(&img), good = *hdr;
	struct guest g;

	hdr->version = 0x205;
	expect_bad(&img, ENOEXEC, "boot protocol 2.05, older than 2.06");
	*hdr = good;
	hdr->loadflags = 0;
	expect_bad(&img, ENOEXEC, "is a zImage");
	*hdr = good;
	hdr->header++;
	expect_bad(&img, ENOEXEC, "not a kernel: neither a bzImage nor an ELF file");
	*hdr = good;
	hdr->boot_flag = 0;
	expect_bad(&img, ENOEXEC, "not a kernel: neither a bzImage nor an ELF file");
	*hdr = good;
	hdr->setup_sects = 200;
	expect_bad(&img, EINVAL, "truncated in the setup code");
	*hdr = good;
	hdr->syssize = 0xffffffff;
	expect_bad(&img, EINVAL, "truncated in the kernel code");
	*hdr = good;
	hdr->payload_offset = 0xfffffff0;
	expect_bad(&img, EINVAL, "truncated in the payload");
	*hdr = good;
	hdr->payload_length++;
	hdr->payload_offset = (uint32_t)(img.len - IMAGE_SETUP_SIZE) - good.payload_length;
	expect_bad(&img, EINVAL, "truncated in the payload");
	*hdr = good;
	hdr->payload_length = 0xffffffff;
	expect_bad(&img, EINVAL, "truncated in the payload");
	*hdr = good;

	guest_new(&g, 32);
	g.in.host_decompress = false;
	hdr->pref_address = 0xfffffffffffff000;
	check_error(&g, guest_load(&g, &img), EINVAL, "outside of what can be RAM");
	hdr->pref_address = BOOT_PARAMS_ADDR;
	check_error(&g, guest_load(&g, &img), EINVAL, "overlaps the boot structures");
	*hdr = good;
	hdr->init_size = 17 << 20;
	check_error(&g, guest_load(&g, &img), ENOMEM, "the guest has 32 MiB (give it at least 33)");
	*hdr = good;
	g.in.entry = BOOT_ENTRY_PVH;
	check_error(&g, guest_load(&g, &img), ENOEXEC, "stub of a bzImage has no PVH entry");
	/* but the payload has */
	g.in.host_decompress = true;
	check_ok(&g, guest_load(&g, &img));
	assert_int_equal(g.state.rip, IMAGE_PVH_ENTRY);
	guest_free(&g);
	image_free(&img);
}

static void small_memory(void **unused)
{
	struct image img = bzimage(PACK_LZ4);
	struct guest g;

	guest_new(&g, 1);
	check_error(&g, guest_load(&g, &img), ENOMEM, "memory: 1024 KiB are too few");
	guest_free(&g);
	guest_new(&g, 2);
	check_error(&g, guest_load(&g, &img), ENOMEM, "the guest has 2 MiB (give it at least 3)");
	guest_free(&g);
	guest_new(&g, 16);
	g.in.host_decompress = false;
	check_error(&g, guest_load(&g, &img), ENOMEM, "the guest has 16 MiB (give it at least 17)");
	guest_free(&g);
	image_free(&img);
}

static void unsupported_compression(void **unused)
{
	static const struct {
		const char *bytes, *part;
	} cases[] = {
		{ "BZh91AY&SY..............",
		  "packed with bzip2, which lguest cannot unpack (use --no-host-decompress)" },
		{ "\x5d\0\0\x80\0..................",
		  "packed with lzma, which lguest cannot unpack (use --no-host-decompress)" },
		{ "\x89LZO\0\r\n\x1a\n.............",
		  "packed with lzo, which lguest cannot unpack (use --no-host-decompress)" },
		{ "what is this, one wonders", "unknown compression (try --no-host-decompress)" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image img = around(cases[i].bytes, 20);
		struct guest g;

		expect_bad(&img, ENOTSUP, cases[i].part);
		/* and the remedy works */
		guest_new(&g, 32);
		g.in.host_decompress = false;
		check_ok(&g, guest_load(&g, &img));
		guest_free(&g);
		image_free(&img);
	}
}

static void corrupt_payload(void **unused)
{
	for (enum image_packing p = PACK_GZIP; p < PACK_COUNT; p++) {
		struct image img = bzimage(p);
		uint32_t len = image_hdr(&img)->payload_length, size,
			 wrong[] = { 0, 1, 0x40000001, 0xffffffff, 0, 0 };
		uint8_t *payload = image_payload(&img);
		unsigned noticed = 0, passed = 0;
		struct guest g;

		/* The size at the end: impossible, too small, too large. */
		memcpy(&size, payload + len - 4, 4);
		wrong[4] = htole32(le32toh(size) - 1);
		wrong[5] = htole32(le32toh(size) + 1);
		for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			memcpy(payload + len - 4, &wrong[i], 4);
			expect_bad(&img, EINVAL,
				   wrong[i] == 0 || i == 2 || i == 3 ? "payload: claims to unpack to "
								     : "corrupt payload (");
		}
		memcpy(payload + len - 4, &size, 4);

		/* Cut short, with the right size at its end. */
		image_hdr(&img)->payload_length = len / 2 + 4;
		for (uint32_t i = 0; i < 4; i++) {
			uint8_t keep = payload[len / 2 + i];

			payload[len / 2 + i] = payload[len - 4 + i];
			payload[len - 4 + i] = keep;
		}
		expect_bad(&img, EINVAL, "corrupt payload (");
		image_free(&img);

		/*
		 * One byte flipped, anywhere. Formats with a checksum notice, unless the byte does not
		 * matter (a time stamp, a window size), and then the kernel is whole. lz4's legacy
		 * format has none: there only memory safety is tested.
		 */
		img = bzimage(p);
		payload = image_payload(&img);
		guest_new(&g, 32);
		for (uint32_t i = 0; i < len; i += 3) {
			payload[i] ^= 0x41;
			assert_int_equal(guest_memory_clear(&g.mem), 0);
			if (guest_load(&g, &img)) {
				noticed++;
			} else {
				passed++;
				if (p != PACK_LZ4)
					check_segments(&g);
			}
			payload[i] ^= 0x41;
		}
		assert_true(noticed > (p == PACK_LZ4 ? 0 : 10 * passed));
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		check_ok(&g, guest_load(&g, &img));
		guest_free(&g);
		image_free(&img);
	}
}

static void payload_is_no_kernel(void **unused)
{
	for (enum image_packing p = PACK_GZIP; p < PACK_COUNT; p++) {
		struct image text = { (uint8_t *)"Not a kernel, but well packed.", 30 };
		struct image payload = image_pack(&text, p), img = image_bzimage(&payload);

		expect_bad(&img, ENOEXEC, "payload is not an ELF file (try --no-host-decompress)");
		image_free(&img);
		image_free(&payload);
	}
}

static void not_a_kernel(void **unused)
{
	struct image elf = image_elf64(NOTES_NONE), gz = image_pack(&elf, PACK_GZIP),
		     xz = image_pack(&elf, PACK_XZ);
	struct image text = { malloc(1000), 1000 };

	memset(text.data, 'x', text.len);
	expect_bad(&text, ENOEXEC, "vmlinuz: not a kernel: neither a bzImage nor an ELF file");
	text.len = 100;
	expect_bad(&text, ENOEXEC, "vmlinuz: not a kernel: file has only 100 bytes");
	text.len = 0;
	expect_bad(&text, ENOEXEC, "vmlinuz: not a kernel: file has only 0 bytes");
	expect_bad(&gz, ENOEXEC, "a file packed with gzip (unpack it first)");
	expect_bad(&xz, ENOEXEC, "a file packed with xz (unpack it first)");
	image_free(&text);
	image_free(&xz);
	image_free(&gz);
	image_free(&elf);
}

static void cmdline(void **unused)
{
	struct image img = bzimage(PACK_GZIP);
	char *line = malloc(70001);
	struct guest g;

	memset(line, 'a', 70000);
	line[70000] = '\0';
	guest_new(&g, 32);

	g.in.cmdline = line + 70000 - 2047;
	check_ok(&g, guest_load(&g, &img));
	assert_string_equal(guest_at(&g, params(&g)->hdr.cmd_line_ptr, 2048), g.in.cmdline);
	g.in.cmdline = line + 70000 - 2048;
	check_error(&g, guest_load(&g, &img), E2BIG,
		    "command line: 2048 bytes, but this kernel takes at most 2047");

	/* A kernel that takes more than our place for it. */
	image_hdr(&img)->cmdline_size = 0xffffffff;
	g.in.cmdline = line;
	check_error(&g, guest_load(&g, &img), E2BIG,
		    "command line: 70000 bytes, but this kernel takes at most 65535");
	g.in.cmdline = line + 70000 - 65535;
	assert_int_equal(guest_memory_clear(&g.mem), 0);
	check_ok(&g, guest_load(&g, &img));
	assert_string_equal(guest_at(&g, params(&g)->hdr.cmd_line_ptr, 65536), g.in.cmdline);

	g.in.cmdline = NULL;
	assert_int_equal(guest_memory_clear(&g.mem), 0);
	check_ok(&g, guest_load(&g, &img));
	assert_string_equal(guest_at(&g, params(&g)->hdr.cmd_line_ptr, 1), "");
	guest_free(&g);
	free(line);
	image_free(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_decompress),
		cmocka_unit_test(large_payload),
		cmocka_unit_test(no_leaks),
		cmocka_unit_test(payload32),
		cmocka_unit_test(stub),
		cmocka_unit_test(signature),
		cmocka_unit_test(short_header),
		cmocka_unit_test(truncated),
		cmocka_unit_test(bad_header),
		cmocka_unit_test(small_memory),
		cmocka_unit_test(unsupported_compression),
		cmocka_unit_test(corrupt_payload),
		cmocka_unit_test(payload_is_no_kernel),
		cmocka_unit_test(not_a_kernel),
		cmocka_unit_test(cmdline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
