/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Booting a guest of the lguest platform: the 32-bit boot protocol with
 * hardware_subarch 1 (boot.rst), boot_params in the very first page and the
 * command line in the second. There is no memory map but one entry, and no BIOS.
 *
 * Kernels of 2.6.3x start with paging on, on tables that the host has built
 * right below the initrd: all of RAM at 0 and again at PAGE_OFFSET. Later ones
 * build their own and want physical addresses at first, which the same tables give.
 */
#include <errno.h>
#include <string.h>

#include "boot/job.h"

#define PARAMS_ADDR  0x0000u
#define CMDLINE_ADDR 0x1000u
#define LOW_END      0x2000u
#define CMDLINE_MAX  (LOW_END - CMDLINE_ADDR - 1)

#define SUBARCH_LGUEST   1
#define LOADER_UNDEFINED 0xff
#define PROTOCOL_SUBARCH 0x207 /* the first that knows subarchitectures */

#define PAGE_OFFSET 0xc0000000u
#define PTE_FLAGS   7u /* present, writable, user */

static int write_params(struct boot_job *job)
{
	struct boot_params params;
	void *p = guest_range(job->mem, PARAMS_ADDR, sizeof(params));

	if (!p)
		return boot_fail(job, ENOMEM, "memory: no room for the boot structures");
	memset(&params, 0, sizeof(params));
	params.hdr = job->hdr;
	if (params.hdr.version < PROTOCOL_SUBARCH)
		params.hdr.version = PROTOCOL_SUBARCH;
	params.hdr.loadflags |= KEEP_SEGMENTS;
	params.hdr.cmd_line_ptr = CMDLINE_ADDR;
	params.hdr.kernel_alignment = 0x1000000;
	params.hdr.hardware_subarch = SUBARCH_LGUEST;
	if (job->initrd_size) {
		params.hdr.type_of_loader = LOADER_UNDEFINED;
		params.hdr.ramdisk_image = (uint32_t)job->initrd_addr;
		/* In whole pages: hosts of 2.6.3x put their page tables below mem - ramdisk_size. */
		params.hdr.ramdisk_size = (uint32_t)(job->initrd_size + 4095) & ~4095u;
	}
	params.e820_entries = 1;
	params.e820_table[0] =
		(struct boot_e820_entry){ .addr = 0, .size = job->mem->low_size, .type = BOOT_RAM };
	memcpy(p, &params, sizeof(params));
	return 0;
}

static int write_cmdline(struct boot_job *job)
{
	const char *cmdline = job->in->cmdline ? job->in->cmdline : "";
	size_t len = strlen(cmdline);

	if (len > CMDLINE_MAX)
		return boot_fail(job, E2BIG, "command line: %zu bytes, but lguest guests take at most %u",
				 len, CMDLINE_MAX);
	memcpy(guest_range(job->mem, CMDLINE_ADDR, len + 1), cmdline, len + 1);
	return 0;
}

/* @limit: the end of the device pages, which a guest in "linear mode" reaches as well. */
static int write_tables(struct boot_job *job, uint64_t limit, uint32_t *pgdir)
{
	uint64_t tables = (limit + 0x3fffff) >> 22;
	uint64_t top = job->initrd_size ? job->initrd_addr : job->mem->low_size & ~4095ull;
	uint64_t size = (tables + 1) * 4096, dir = top - 4096, first = dir - tables * 4096;
	uint32_t *d, *t;

	if (top < size || boot_claim(job, job->in->kernel, first, size, "initial page tables") != 0)
		return boot_fail(
			job, ENOMEM,
			"%s: no room for the initial page tables behind the kernel (give the guest more memory)",
			job->in->kernel);
	d = guest_range(job->mem, dir, 4096);
	t = guest_range(job->mem, first, tables * 4096);
	for (uint64_t page = 0; page < limit >> 12; page++)
		t[page] = (uint32_t)(page << 12) | PTE_FLAGS;
	for (uint32_t i = 0; i < tables; i++) {
		uint32_t entry = ((uint32_t)first + i * 4096) | PTE_FLAGS;

		d[i] = entry;
		/* What does not fit behind PAGE_OFFSET is the host's, or high memory. */
		if (i + (PAGE_OFFSET >> 22) < 1023)
			d[i + (PAGE_OFFSET >> 22)] = entry;
	}
	*pgdir = (uint32_t)dir;
	return 0;
}

static int load_all(struct boot_job *job, uint64_t limit, struct boot_lguest *out)
{
	int error = boot_claim(job, "memory", 0, LOW_END, "boot structures");

	if (!error)
		error = boot_load_kernel(job);
	if (!error && job->mode != BOOT_MODE_LINUX32)
		error = boot_fail(job, ENOEXEC, "%s: not a 32-bit kernel (lguest guests are)",
				  job->in->kernel);
	if (!error)
		error = write_cmdline(job);
	if (!error && job->in->initrd)
		error = boot_load_initrd(job);
	if (!error)
		error = write_tables(job, limit, &out->pgdir);
	if (!error)
		error = write_params(job);
	if (!error)
		error = boot_loading_all(job);
	out->entry = (uint32_t)job->entry;
	return error;
}

int boot_load_lguest(const struct guest_memory *mem, uint64_t ram, const struct boot_input *in,
		     struct boot_lguest *out, char *err, size_t errlen)
{
	/* The loader must not use what lies above RAM. */
	struct guest_memory low = *mem;
	struct boot_job job = { .mem = &low, .in = in, .err = err, .errlen = errlen };
	int error;

	low.size = low.low_size = ram;
	low.high_size = 0;
	error = boot_open(&job);
	if (!error)
		error = load_all(&job, mem->size, out);
	boot_loading_free(job.loading);
	return error;
}
