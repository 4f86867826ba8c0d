/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ELF kernels: what gets loaded, how the CPU starts, and what is refused. */
#include "fixture.h"

#include <stddef.h>

static void check_flat(const struct x86_state *s)
{
	static const unsigned data[] = { SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(s->seg[data[i]].sel, 0x18);
		assert_int_equal(s->seg[data[i]].attr, 0xc093);
		assert_int_equal(s->seg[data[i]].base, 0);
		assert_int_equal(s->seg[data[i]].limit, 0xffffffff);
	}
	assert_int_equal(s->seg[SEG_CS].sel, 0x10);
	assert_int_equal(s->seg[SEG_CS].base, 0);
	assert_int_equal(s->seg[SEG_CS].limit, 0xffffffff);
	/* IF clear, as every protocol wants it */
	assert_int_equal(s->rflags, 2);
	assert_int_equal(s->xsave[0] | s->xsave[1] << 8, 0x37f);
	assert_int_equal(s->xsave[24] | s->xsave[25] << 8, 0x1f80);
	assert_int_equal(s->xcr0, 1);
}

/* The descriptors in memory say what the hidden parts say. */
static void check_gdt(struct guest *g)
{
	const struct x86_state *s = &g->state;
	uint64_t *gdt = guest_at(g, s->gdtr.base, s->gdtr.limit + 1u);

	assert_int_equal(gdt[0], 0);
	assert_int_equal(gdt[0x10 / 8],
			 s->seg[SEG_CS].attr == 0xa09b ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	assert_int_equal(gdt[0x18 / 8], 0x00cf93000000ffff);
	assert_int_equal(gdt[s->tr.sel / 8], 0x00008b0000000067);
	assert_int_equal(s->idtr.limit, 0);
}

/* Walks 4-level page tables; all ones when there is no translation. */
static uint64_t walk(struct guest *g, uint64_t va)
{
	uint64_t table = g->state.cr3;

	for (int shift = 39; shift >= 12; shift -= 9) {
		uint64_t *t = guest_at(g, table & 0xffffffffff000, 4096), e = t[va >> shift & 511];

		if ((e & 3) != 3)
			return ~0ull;
		if (shift < 39 && (shift == 12 || e & 0x80))
			return (e & 0xffffffffff000 & ~((1ull << shift) - 1)) | (va & ((1ull << shift) - 1));
		table = e;
	}
	return ~0ull;
}

static void elf64_linux(void **unused)
{
	static const uint64_t probes[] = {
		0, 0x7000, 0x100040, 0x200000, 0x3fffffff, 0xbfffffff, 0xffffffff
	};
	struct image img = image_elf64(NOTES_NONE);
	struct guest g;

	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	check_segments(&g);
	check_flat(&g.state);
	check_gdt(&g);
	assert_int_equal(g.state.rip, IMAGE_ENTRY);
	assert_int_equal(g.state.seg[SEG_CS].attr, 0xa09b);
	assert_int_equal(g.state.regs[REG_RSI], BOOT_PARAMS_ADDR);
	assert_int_equal(g.state.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	assert_int_equal(g.state.cr4, CR4_PAE);
	assert_int_equal(g.state.efer, EFER_LME | EFER_LMA);
	for (unsigned i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
		assert_int_equal(walk(&g, probes[i]), probes[i]);
	assert_true(walk(&g, 1ull << 32) == ~0ull);
	guest_free(&g);
	image_free(&img);
}

static void elf32_linux(void **unused)
{
	struct image img = image_elf32(NOTES_NONE);
	struct guest g;

	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	check_segments(&g);
	check_flat(&g.state);
	check_gdt(&g);
	assert_int_equal(g.state.rip, IMAGE_ENTRY);
	assert_int_equal(g.state.seg[SEG_CS].attr, 0xc09b);
	assert_int_equal(g.state.regs[REG_RSI], BOOT_PARAMS_ADDR);
	assert_int_equal(g.state.regs[REG_RBP] | g.state.regs[REG_RDI] | g.state.regs[REG_RBX], 0);
	assert_int_equal(g.state.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(g.state.cr4, 0);
	assert_int_equal(g.state.efer, 0);
	guest_free(&g);
	image_free(&img);
}

/* xen/include/public/arch-x86/hvm/start_info.h, byte by byte */
static void check_start_info(struct guest *g, const char *cmdline, uint64_t initrd_len)
{
	uint8_t *p = guest_at(g, g->state.regs[REG_RBX], 56);
	uint32_t w[4], entries;
	uint64_t q[4], map[3], module[4];

	memcpy(w, p, sizeof(w));
	memcpy(q, p + 16, sizeof(q));
	memcpy(&entries, p + 48, 4);
	assert_int_equal(w[0], 0x336ec578);
	assert_int_equal(w[1], 1);
	assert_int_equal(w[2], 0);
	assert_int_equal(w[3], initrd_len ? 1 : 0);
	assert_string_equal(guest_at(g, q[1], 64), cmdline);
	assert_int_equal(q[2], 0xe0010);
	if (initrd_len) {
		memcpy(module, guest_at(g, q[0], sizeof(module)), sizeof(module));
		assert_int_equal(module[1], initrd_len);
		assert_memory_equal(guest_at(g, module[0], initrd_len), "initrd!", initrd_len);
	}
	assert_true(entries >= 3);
	memcpy(map, guest_at(g, q[3], 24), sizeof(map));
	assert_int_equal(map[0], 0);
	assert_int_equal(map[1], BOOT_EBDA_ADDR);
	assert_int_equal(map[2], 1);
}

static void check_pvh(struct guest *g)
{
	check_flat(&g->state);
	check_gdt(g);
	assert_int_equal(g->state.rip, IMAGE_PVH_ENTRY);
	assert_int_equal(g->state.seg[SEG_CS].attr, 0xc09b);
	assert_int_equal(g->state.cr0, CR0_PE | CR0_ET);
	assert_int_equal(g->state.cr4, 0);
	assert_int_equal(g->state.efer, 0);
	assert_int_equal(g->state.tr.limit, 0x67);
}

static void pvh_entry(void **unused)
{
	struct image img64 = image_elf64(NOTES_PVH), img32 = image_elf32(NOTES_PVH);
	struct guest g;

	guest_new(&g, 32);
	g.in.acpi_rsdp = 0xe0010;
	check_ok(&g, boot_load_bytes(&g.mem, &g.in, img64.data, img64.len, "initrd!", 7, &g.state, g.err,
				     sizeof(g.err)));
	check_pvh(&g);
	check_start_info(&g, "console=ttyS0", 7);

	assert_int_equal(guest_memory_clear(&g.mem), 0);
	check_ok(&g, guest_load(&g, &img32));
	check_pvh(&g);
	check_start_info(&g, "console=ttyS0", 0);
	guest_free(&g);
	image_free(&img64);
	image_free(&img32);
}

/* Linux has both entries: which one depends on the notes and on what was asked for. */
static void choice_of_entry(void **unused)
{
	static const struct {
		unsigned notes;
		enum boot_entry want;
		uint64_t rip; /* 0: refused */
	} cases[] = {
		{ NOTES_NONE, BOOT_ENTRY_AUTO, IMAGE_ENTRY },
		{ NOTES_LINUX, BOOT_ENTRY_AUTO, IMAGE_ENTRY },
		{ NOTES_PVH, BOOT_ENTRY_AUTO, IMAGE_PVH_ENTRY },
		{ NOTES_PVH | NOTES_LINUX, BOOT_ENTRY_AUTO, IMAGE_ENTRY },
		{ NOTES_PVH | NOTES_XEN_LINUX, BOOT_ENTRY_AUTO, IMAGE_ENTRY },
		{ NOTES_PVH | NOTES_LINUX, BOOT_ENTRY_PVH, IMAGE_PVH_ENTRY },
		{ NOTES_PVH, BOOT_ENTRY_LINUX, IMAGE_ENTRY },
		{ NOTES_LINUX, BOOT_ENTRY_PVH, 0 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image img = image_elf64(cases[i].notes);
		struct guest g;

		guest_new(&g, 32);
		g.in.entry = cases[i].want;
		if (cases[i].rip) {
			check_ok(&g, guest_load(&g, &img));
			assert_int_equal(g.state.rip, cases[i].rip);
			assert_int_equal(g.state.regs[REG_RSI] == BOOT_PARAMS_ADDR,
					 cases[i].rip == IMAGE_ENTRY);
		} else {
			check_error(&g, guest_load(&g, &img), ENOEXEC, "no PVH entry");
		}
		guest_free(&g);
		image_free(&img);
	}
}

/* Cut off anywhere, it is refused; ASan and valgrind see any byte read beyond the end. */
static void truncated(void **unused)
{
	struct image img[2] = { image_elf64(NOTES_PVH), image_elf32(NOTES_PVH) };
	size_t ehdr[2] = { sizeof(Elf64_Ehdr), sizeof(Elf32_Ehdr) };
	size_t phdrs[2] = { 3 * sizeof(Elf64_Phdr), 3 * sizeof(Elf32_Phdr) };
	struct guest g;

	guest_new(&g, 4);
	for (unsigned k = 0; k < 2; k++) {
		/* Headers byte by byte, then with bigger steps, always with the last byte. */
		for (size_t len = 0; len < img[k].len;
		     len += len < 0x200 || len + 65 >= img[k].len ? 1 : 61) {
			struct image cut = { malloc(len ? len : 1), len };
			const char *part = len < 4                    ? "not a kernel"
					   : len < ehdr[k]            ? "truncated in the ELF header"
					   : len < ehdr[k] + phdrs[k] ? "truncated in the program headers"
					   : len < 0x1000             ? "truncated in the "
								      : "truncated in the kernel segment";

			memcpy(cut.data, img[k].data, len);
			check_error(&g, guest_load(&g, &cut), len < 4 ? ENOEXEC : EINVAL, part);
			image_free(&cut);
		}
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		check_ok(&g, guest_load(&g, &img[k]));
		assert_int_equal(guest_memory_clear(&g.mem), 0);
		image_free(&img[k]);
	}
	guest_free(&g);
}

static void bad_headers(void **unused)
{
	struct image img = image_elf64(NOTES_PVH);
	Elf64_Ehdr *eh = image_ehdr64(&img), good = *eh;
	struct image img32 = image_elf32(NOTES_NONE);

	eh->e_machine = EM_AARCH64;
	expect_bad(&img, ENOEXEC, "for another machine (183");
	*eh = good;
	eh->e_machine = EM_386; /* class says 64 */
	expect_bad(&img, ENOEXEC, "for another machine (3");
	*eh = good;
	eh->e_ident[EI_DATA] = ELFDATA2MSB;
	expect_bad(&img, ENOEXEC, "big endian");
	*eh = good;
	eh->e_ident[EI_CLASS] = 3;
	expect_bad(&img, ENOEXEC, "neither of 32 nor of 64 bits");
	*eh = good;
	eh->e_type = ET_REL;
	expect_bad(&img, ENOEXEC, "type 1, not executable");
	*eh = good;
	eh->e_type = ET_DYN;
	expect_bad(&img, ENOEXEC, "type 3, not executable");
	*eh = good;
	eh->e_phnum = 0;
	expect_bad(&img, ENOEXEC, "nothing to load");
	*eh = good;
	eh->e_phnum = 65;
	expect_bad(&img, ENOEXEC, "65 program headers");
	*eh = good;
	eh->e_phnum = 0xffff;
	expect_bad(&img, ENOEXEC, "65535 program headers");
	*eh = good;
	eh->e_phentsize = 55;
	expect_bad(&img, ENOEXEC, "strange size (55)");
	*eh = good;
	eh->e_phoff = 0xfffffffffffffff0;
	expect_bad(&img, EINVAL, "truncated in the program headers");
	*eh = good;
	eh->e_entry = 0xffffffff80100040; /* virtual */
	eh->e_phnum = 2;
	expect_bad(&img, ENOEXEC, "entry point 0xffffffff80100040 is not in the kernel");
	*eh = good;
	image_free(&img);

	((Elf32_Ehdr *)img32.data)->e_machine = EM_ARM;
	expect_bad(&img32, ENOEXEC, "for another machine (40, 32 bits");
	image_free(&img32);
}

static void bad_segments(void **unused)
{
	static const struct {
		uint64_t paddr, memsz;
		int error;
		const char *part;
	} cases[] = {
		/* outside RAM: above what the guest has, above what can be, wrapping */
		{ 0x2000000 - 0x800, 0x1000, ENOMEM,
		  "needs memory up to 0x2000800, the guest has 32 MiB (give it at least 33)" },
		{ 0x200000, 0x10000000, ENOMEM, "give it at least 258" },
		{ 0xbffff000, 0x2000, EINVAL, "outside of what can be RAM" },
		{ 0x100000000, 0x1000, EINVAL, "outside of what can be RAM" },
		{ 0xfffffffffffff000, 0x1000, EINVAL, "outside of what can be RAM" },
		{ 0xfffffffffffff000, 0x2000, EINVAL, "outside of what can be RAM" },
		{ 0x1000, 0xfffffffffffff000, EINVAL, "outside of what can be RAM" },
		/* on top of something else */
		{ BOOT_PARAMS_ADDR, 0x1000, EINVAL, "overlaps the boot structures" },
		{ BOOT_PARAMS_ADDR + 0xfff, 0x1000, EINVAL, "overlaps the boot structures" },
		{ 0, 0x1000, EINVAL, "overlaps the boot structures" },
		{ 0x9f000, 0x1000, EINVAL, "overlaps the BIOS area" },
		{ 0xff000, 0x1000, EINVAL, "overlaps the BIOS area" },
		{ IMAGE_CODE_ADDR - 0x900, 0x901, EINVAL, "overlaps the BIOS area" },
		{ IMAGE_CODE_ADDR + IMAGE_CODE_SIZE - 1, 0x1000, EINVAL, "overlaps the kernel segment" },
		{ IMAGE_CODE_ADDR, IMAGE_CODE_SIZE, EINVAL, "overlaps the kernel segment" },
		/* smaller than its bytes in the file */
		{ 0x200000, IMAGE_DATA_SIZE - 1, ENOEXEC, "more bytes in the file than in memory" },
		{ 0x200000, 0, ENOEXEC, "more bytes in the file than in memory" },
	};
	struct image img = image_elf64(NOTES_NONE);
	struct guest g;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		Elf64_Phdr *ph = image_phdr64(&img, 1);

		ph->p_paddr = cases[i].paddr;
		ph->p_memsz = cases[i].memsz;
		ph->p_filesz = cases[i].memsz < IMAGE_DATA_SIZE ? IMAGE_DATA_SIZE : 0x800;
		if (cases[i].memsz == 0x901)
			ph->p_filesz = 0;
		expect_bad(&img, cases[i].error, cases[i].part);
	}
	image_free(&img);

	/* Just beside each other is fine, and so is the free memory below the EBDA. */
	img = image_elf64(NOTES_NONE);
	image_phdr64(&img, 1)->p_paddr = IMAGE_CODE_ADDR + IMAGE_CODE_SIZE;
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	image_phdr64(&img, 1)->p_paddr = BOOT_LOW_END;
	assert_int_equal(guest_memory_clear(&g.mem), 0);
	check_ok(&g, guest_load(&g, &img));
	guest_free(&g);

	/* One byte too many, on either side. */
	image_phdr64(&img, 0)->p_paddr = 0x300000;
	image_phdr64(&img, 1)->p_paddr = 0x300000 - image_phdr64(&img, 1)->p_memsz + 1;
	image_ehdr64(&img)->e_entry = 0x300000;
	expect_bad(&img, EINVAL, "overlaps the kernel segment at 0x300000");
	image_phdr64(&img, 1)->p_paddr = 0x300000 + IMAGE_CODE_SIZE - 1;
	expect_bad(&img, EINVAL, "overlaps the kernel segment at 0x300000");

	image_phdr64(&img, 1)->p_offset = 0xffffffffffffff00;
	image_phdr64(&img, 1)->p_paddr = IMAGE_DATA_ADDR;
	expect_bad(&img, EINVAL, "truncated in the kernel segment");
	image_free(&img);
}

/* Segments need not begin or end at a page. */
static void odd_address(void **unused)
{
	struct image img = image_elf64(NOTES_NONE);
	struct guest g;

	image_phdr64(&img, 0)->p_paddr = 0x400ffd;
	image_ehdr64(&img)->e_entry = 0x400ffd;
	guest_new(&g, 32);
	check_ok(&g, guest_load(&g, &img));
	for (size_t i = 0; i < IMAGE_CODE_SIZE; i++)
		assert_int_equal(*(uint8_t *)guest_at(&g, 0x400ffd + i, 1), image_code_byte(i));
	guest_free(&g);
	image_free(&img);
}

/* Notes are parsed with sizes that the file chose. */
static void bad_notes(void **unused)
{
	static const uint32_t sizes[] = { 0xffffffff, 0xfffffffc, 0x80000000, 0x10000, 200 };
	struct image img = image_elf64(NOTES_PVH);
	Elf64_Phdr *ph = image_phdr64(&img, 2);
	Elf64_Nhdr *nh = (Elf64_Nhdr *)(img.data + ph->p_offset);
	struct guest g;

	/* A note that does not fit ends the list: no PVH entry then. */
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (unsigned k = 0; k < 2; k++) {
			Elf64_Nhdr good = *nh;

			*(k ? &nh->n_namesz : &nh->n_descsz) = sizes[i];
			guest_new(&g, 32);
			g.in.entry = BOOT_ENTRY_PVH;
			check_error(&g, guest_load(&g, &img), ENOEXEC, "no PVH entry");
			guest_free(&g);
			*nh = good;
		}
	}
	/* The last note, cut off in its descriptor */
	ph->p_filesz -= 4;
	guest_new(&g, 32);
	g.in.entry = BOOT_ENTRY_PVH;
	check_error(&g, guest_load(&g, &img), ENOEXEC, "no PVH entry");
	guest_free(&g);
	ph->p_filesz = 1 << 20;
	expect_bad(&img, ENOEXEC, "bytes of notes");
	ph->p_filesz = 0x8000;
	expect_bad(&img, EINVAL, "truncated in the ELF notes");
	image_free(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf64_linux),  cmocka_unit_test(elf32_linux),
		cmocka_unit_test(pvh_entry),    cmocka_unit_test(choice_of_entry),
		cmocka_unit_test(truncated),    cmocka_unit_test(bad_headers),
		cmocka_unit_test(bad_segments), cmocka_unit_test(bad_notes),
		cmocka_unit_test(odd_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
