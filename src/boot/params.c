/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot_params, the "zero page" of the boot protocol (the kernel's
 * Documentation/x86/boot.rst and zero-page.rst), which the Linux entries get.
 * What is not set here is zero: no VGA screen, no APM, no EFI, no disks.
 */
#include <errno.h>
#include <string.h>

#include "boot/job.h"

/* boot.rst, type_of_loader: no number assigned */
#define LOADER_UNDEFINED 0xff

/* boot.rst, vid_mode: "normal", nothing to switch */
#define VIDEO_NORMAL 0xffff

/*
 * Random bytes for the kernel's generator, from 6.0 on. Older kernels reserve
 * the node and look no further.
 */
static int write_seed(struct boot_job *job)
{
	struct setup_data node = { .type = SETUP_RNG_SEED, .len = BOOT_SEED_SIZE };
	uint8_t *p = guest_range(job->mem, BOOT_SEED_ADDR, sizeof(node) + BOOT_SEED_SIZE);

	if (!p)
		return boot_fail(job, ENOMEM, "memory: no room for the boot structures");
	memcpy(p, &node, sizeof(node));
	memcpy(p + sizeof(node), job->in->rng_seed, BOOT_SEED_SIZE);
	return 0;
}

static void fill_header(struct boot_job *job, struct setup_header *hdr)
{
	*hdr = job->hdr;
	hdr->type_of_loader = LOADER_UNDEFINED;
	hdr->vid_mode = VIDEO_NORMAL;
	/*
	 * The stub and the kernel pass KASLR_FLAG between them; a loader leaves
	 * it clear. CAN_USE_HEAP is about the real-mode code.
	 */
	hdr->loadflags &= (uint8_t) ~(KASLR_FLAG | CAN_USE_HEAP | KEEP_SEGMENTS);
	hdr->cmd_line_ptr = BOOT_CMDLINE_ADDR;
	hdr->ramdisk_image = (uint32_t)job->initrd_addr;
	hdr->ramdisk_size = (uint32_t)job->initrd_size;
	/* setup_data is there since 2.09. */
	hdr->setup_data = job->in->rng_seed && hdr->version >= 0x209 ? BOOT_SEED_ADDR : 0;
}

int boot_write_params(struct boot_job *job)
{
	struct boot_params params;
	void *p = guest_range(job->mem, BOOT_PARAMS_ADDR, sizeof(params));
	int n, error = 0;

	_Static_assert(sizeof(params) == 4096, "boot_params is one page");
	if (!p)
		return boot_fail(job, ENOMEM, "memory: no room for the boot structures");
	memset(&params, 0, sizeof(params));
	fill_header(job, &params.hdr);
	params.acpi_rsdp_addr = job->in->acpi_rsdp;
	n = boot_memory_map(job, params.e820_table, E820_MAX_ENTRIES_ZEROPAGE);
	if (n < 0)
		return n;
	params.e820_entries = (uint8_t)n;
	if (job->in->rng_seed)
		error = write_seed(job);
	memcpy(p, &params, sizeof(params));
	return error;
}
