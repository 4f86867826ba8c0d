/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels: a vmlinux of 64 or 32 bits, and other kernels that have a PVH
 * entry.
 *
 * Segments go to their physical addresses. That a vmlinux may be entered
 * there, without the decompressor that normally runs before it, needs some
 * thought; this is what the stub does besides unpacking, and why we can do
 * without (arch/x86/boot/compressed of Linux 6.1 and 6.12):
 *
 * - it chooses addresses (KASLR) and applies the relocations that follow the
 *   ELF file in the payload. We load at the linked address, for which there is
 *   nothing to relocate: a guest that was booted with "nokaslr". The flag
 *   in loadflags that tells the kernel of KASLR stays clear;
 * - it makes sure of init_size bytes, which contain .bss and the early heap
 *   (.brk). In vmlinux both are part of the last segment's p_memsz;
 * - it builds an identity map of kernel, boot_params and command line, which
 *   startup_64 needs until it has its own: entry.c maps all of 0..4 GiB;
 * - it looks up the ACPI RSDP: boot_params has it from us;
 * - it switches to 5-level paging: not offered by our CPUs;
 * - it handles exceptions of its own page faults and of SEV: neither occurs;
 * - it sanitizes boot_params, in case the loader left rubbish: ours is clean;
 * - verify_cpu() is run by startup_64 itself as well.
 *
 * e_entry of a Linux vmlinux is the physical address of startup_64 (or
 * startup_32), with the interface of the boot protocol. PVH would be slower (it
 * passes the same facts in another form, in 32-bit mode), so for Linux
 * the boot protocol wins, and PVH is for the others. Linux is known by its notes.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/job.h"

#define MAX_SEGMENTS 64u
#define MAX_NOTES    65536u

/* Notes of xen/include/public/elfnote.h */
#define XEN_GUEST_OS     6u
#define XEN_PHYS32_ENTRY 18u

struct segment {
	uint32_t type;
	uint64_t offset, paddr, filesz, memsz, align;
};

struct elf {
	bool is64;
	uint64_t entry;
	unsigned nr;
	struct segment seg[MAX_SEGMENTS];

	/* From the notes */
	bool linux_notes, has_pvh;
	uint64_t pvh_entry;
};

static int check_header(struct boot_job *job, const char *name, unsigned type, unsigned machine, bool is64,
			unsigned phentsize, unsigned phnum)
{
	if (machine != (is64 ? EM_X86_64 : EM_386))
		return boot_fail(job, ENOEXEC, "%s: ELF file for another machine (%u, %s bits; wanted x86)",
				 name, machine, is64 ? "64" : "32");
	if (type != ET_EXEC)
		return boot_fail(job, ENOEXEC, "%s: ELF file is not a kernel: it has type %u, not executable",
				 name, type);
	if (!phnum)
		return boot_fail(job, ENOEXEC, "%s: ELF file has nothing to load: no program headers", name);
	if (phnum > MAX_SEGMENTS)
		return boot_fail(job, ENOEXEC, "%s: ELF file has %u program headers, more than any kernel",
				 name, phnum);
	if (phentsize != (is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return boot_fail(job, ENOEXEC, "%s: ELF file has program headers of a strange size (%u)",
				 name, phentsize);
	return 0;
}

/* Both classes have the same fields, of other widths and in another order. */
static int parse_headers(struct boot_job *job, const struct boot_file *f, struct elf *elf)
{
	union {
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
	} eh;
	union {
		Elf32_Phdr p32[MAX_SEGMENTS];
		Elf64_Phdr p64[MAX_SEGMENTS];
	} ph;
#define EH(field)    (elf->is64 ? eh.e64.field : eh.e32.field)
#define PH(i, field) (elf->is64 ? ph.p64[i].field : ph.p32[i].field)
	int error;

	error = boot_file_read(job, f, 0, &eh, elf->is64 ? sizeof(eh.e64) : sizeof(eh.e32), "ELF header");
	if (error)
		return error;
	error = check_header(job, f->name, EH(e_type), EH(e_machine), elf->is64, EH(e_phentsize),
			     EH(e_phnum));
	if (error)
		return error;
	elf->entry = EH(e_entry);
	elf->nr = EH(e_phnum);
	error = boot_file_read(job, f, EH(e_phoff), &ph, elf->nr * (size_t)EH(e_phentsize),
			       "program headers");
	if (error)
		return error;
	for (unsigned i = 0; i < elf->nr; i++)
		elf->seg[i] = (struct segment){ PH(i, p_type),   PH(i, p_offset), PH(i, p_paddr),
						PH(i, p_filesz), PH(i, p_memsz),  PH(i, p_align) };
#undef EH
#undef PH
	return 0;
}

static int parse(struct boot_job *job, const struct boot_file *f, struct elf *elf)
{
	unsigned char id[EI_NIDENT];
	int error = boot_file_read(job, f, 0, id, sizeof(id), "ELF header");

	if (error)
		return error;
	if (id[EI_CLASS] != ELFCLASS64 && id[EI_CLASS] != ELFCLASS32)
		return boot_fail(job, ENOEXEC, "%s: ELF file is neither of 32 nor of 64 bits", f->name);
	if (id[EI_DATA] != ELFDATA2LSB)
		return boot_fail(job, ENOEXEC, "%s: ELF file for another machine (big endian)", f->name);
	elf->is64 = id[EI_CLASS] == ELFCLASS64;
	return parse_headers(job, f, elf);
}

static void parse_note(struct elf *elf, const Elf64_Nhdr *nh, const char *name, const uint8_t *desc)
{
	if (nh->n_namesz == 6 && !memcmp(name, "Linux", 6))
		elf->linux_notes = true;
	if (nh->n_namesz != 4 || memcmp(name, "Xen", 4))
		return;
	if (nh->n_type == XEN_GUEST_OS && nh->n_descsz >= 5 && !memcmp(desc, "linux", 5))
		elf->linux_notes = true;
	/* One machine word, of 32 or 64 bits. */
	if (nh->n_type == XEN_PHYS32_ENTRY && (nh->n_descsz == 4 || nh->n_descsz == 8)) {
		elf->pvh_entry = 0;
		memcpy(&elf->pvh_entry, desc, nh->n_descsz);
		elf->has_pvh = true;
	}
}

static int parse_notes(struct boot_job *job, const struct boot_file *f, struct elf *elf,
		       const struct segment *s)
{
	/* The header of a note is the same in both classes. Padding is to 4 bytes, unless p_align says 8. */
	size_t pad = s->align == 8 ? 7 : 3, len = s->filesz, pos = 0;
	uint8_t *buf;
	int error;

	if (s->filesz > MAX_NOTES)
		return boot_fail(job, ENOEXEC, "%s: ELF file has %llu bytes of notes, more than any kernel",
				 f->name, (unsigned long long)s->filesz);
	buf = malloc(len + 1);
	if (!buf)
		return boot_fail(job, ENOMEM, "%s: out of memory", f->name);
	error = boot_file_read(job, f, s->offset, buf, len, "ELF notes");
	/* All sizes below are 32 bits plus little, in 64-bit arithmetic: no wrapping. */
	while (!error && len - pos >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr nh;
		uint64_t name = pos + sizeof(nh), desc, next;

		memcpy(&nh, buf + pos, sizeof(nh));
		desc = (name + nh.n_namesz + pad) & ~(uint64_t)pad;
		next = (desc + nh.n_descsz + pad) & ~(uint64_t)pad;
		if (desc + nh.n_descsz > len)
			break;
		parse_note(elf, &nh, (const char *)buf + name, buf + desc);
		if (next > len)
			break;
		pos = next;
	}
	free(buf);
	return error;
}

static int load_segment(struct boot_job *job, enum boot_file_id id, const struct segment *s)
{
	const struct boot_file *f = boot_loading_file(job->loading, id);
	int error;

	if (s->filesz > s->memsz)
		return boot_fail(job, ENOEXEC, "%s: ELF segment has more bytes in the file than in memory",
				 f->name);
	if (!s->memsz)
		return 0;
	error = boot_claim(job, f->name, s->paddr, s->memsz, "kernel segment");
	if (error)
		return error;
	return boot_file_place(job, id, s->offset, s->paddr, s->filesz, "kernel segment");
}

/*
 * Too little memory should be one message that tells how much is needed for
 * all segments, not for the first one that does not fit.
 */
static int check_room(struct boot_job *job, const char *name, const struct elf *elf)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < elf->nr; i++) {
		const struct segment *s = &elf->seg[i];
		uint64_t s_end;

		/* Addresses that no amount of memory can serve are boot_claim()'s business. */
		if (s->type == PT_LOAD && !__builtin_add_overflow(s->paddr, s->memsz, &s_end) &&
		    s_end <= GUEST_LOW_MAX && s_end > end)
			end = s_end;
	}
	return end > job->mem->low_size ? boot_fail_room(job, name, "kernel", end) : 0;
}

static bool is_loaded(const struct elf *elf, uint64_t addr)
{
	for (unsigned i = 0; i < elf->nr; i++) {
		const struct segment *s = &elf->seg[i];

		if (s->type == PT_LOAD && addr >= s->paddr && addr - s->paddr < s->memsz)
			return true;
	}
	return false;
}

static int choose_entry(struct boot_job *job, const char *name, const struct elf *elf)
{
	enum boot_entry want = job->in->entry;

	if (want == BOOT_ENTRY_PVH && !elf->has_pvh)
		return boot_fail(job, ENOEXEC, "%s: kernel has no PVH entry", name);
	if (want == BOOT_ENTRY_PVH || (want == BOOT_ENTRY_AUTO && elf->has_pvh && !elf->linux_notes)) {
		job->mode = BOOT_MODE_PVH;
		job->entry = elf->pvh_entry;
	} else {
		job->mode = elf->is64 ? BOOT_MODE_LINUX64 : BOOT_MODE_LINUX32;
		job->entry = elf->entry;
	}
	if (!is_loaded(elf, job->entry))
		return boot_fail(job, ENOEXEC,
				 "%s: entry point 0x%llx is not in the kernel (not a physical address?)",
				 name, (unsigned long long)job->entry);
	return 0;
}

/*
 * A vmlinux has no setup header. What it would say is the same since
 * boot protocol 2.06 was made: the limits are COMMAND_LINE_SIZE and
 * MAXMEM of the 32-bit direct map. Untouched when there is one, from the bzImage.
 */
static void default_header(struct boot_job *job)
{
	if (job->hdr.header)
		return;
	job->hdr = (struct setup_header){
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* HdrS */
		.version = 0x20c,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x37ffffff,
		.kernel_alignment = 0x200000,
		.cmdline_size = 2047,
	};
	if (job->mode == BOOT_MODE_LINUX64) {
		job->hdr.initrd_addr_max = 0x7fffffff;
		job->hdr.xloadflags = XLF_KERNEL_64;
	}
	job->cmdline_max = job->mode == BOOT_MODE_PVH ? BOOT_CMDLINE_MAX - 1 : job->hdr.cmdline_size;
}

int boot_load_elf(struct boot_job *job, enum boot_file_id id)
{
	const struct boot_file *f = boot_loading_file(job->loading, id);
	/* What is in a bzImage is Linux, so its notes, half a kernel to unpack, could tell of PVH only. */
	bool notes = job->in->entry == BOOT_ENTRY_PVH || !job->hdr.header;
	struct elf elf = { 0 };
	int error = parse(job, f, &elf);

	if (!error)
		error = check_room(job, f->name, &elf);
	for (unsigned i = 0; i < elf.nr && !error; i++) {
		if (elf.seg[i].type == PT_LOAD)
			error = load_segment(job, id, &elf.seg[i]);
		else if (notes && elf.seg[i].type == PT_NOTE)
			error = parse_notes(job, f, &elf, &elf.seg[i]);
	}
	if (!error)
		error = choose_entry(job, f->name, &elf);
	if (!error)
		default_header(job);
	return error;
}
