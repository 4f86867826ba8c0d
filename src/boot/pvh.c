/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PVH, the entry of kernels that know Xen's direct boot: one structure with
 * the memory map, the command line and the initrd ("modules"), its address in
 * EBX, 32-bit protected mode without paging. Specified in Xen's
 * docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.
 */
#include <errno.h>
#include <string.h>

#include "boot/job.h"

#define START_MAGIC 0x336ec578u /* "xEn3" with bit 7 of the E set */

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
	/* version 1 */
	uint64_t memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

#define MAX_ENTRIES 128u

/* As it lies at BOOT_PVH_ADDR */
struct pvh_block {
	struct start_info info;
	struct module initrd;
	struct memmap_entry map[MAX_ENTRIES];
};

_Static_assert(BOOT_PVH_ADDR + sizeof(struct pvh_block) <= BOOT_PARAMS_ADDR, "PVH block fits its place");

int boot_write_pvh(struct boot_job *job)
{
	struct boot_e820_entry e820[MAX_ENTRIES];
	struct pvh_block b = { 0 };
	void *p = guest_range(job->mem, BOOT_PVH_ADDR, sizeof(b));
	int n = boot_memory_map(job, e820, MAX_ENTRIES);

	if (n < 0)
		return n;
	if (!p)
		return boot_fail(job, ENOMEM, "memory: no room for the boot structures");
	b.info = (struct start_info){
		.magic = START_MAGIC,
		.version = 1,
		.cmdline_paddr = BOOT_CMDLINE_ADDR,
		.rsdp_paddr = job->in->acpi_rsdp,
		.memmap_paddr = BOOT_PVH_ADDR + offsetof(struct pvh_block, map),
		.memmap_entries = (uint32_t)n,
	};
	if (job->initrd_size) {
		b.info.nr_modules = 1;
		b.info.modlist_paddr = BOOT_PVH_ADDR + offsetof(struct pvh_block, initrd);
		b.initrd = (struct module){ .paddr = job->initrd_addr, .size = job->initrd_size };
	}
	for (int i = 0; i < n; i++)
		b.map[i] = (struct memmap_entry){ e820[i].addr, e820[i].size, e820[i].type, 0 };
	memcpy(p, &b, sizeof(b));
	return 0;
}
