/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From files to a guest that is ready to run: boot_load_start() puts a kernel,
 * an initrd, a command line and all that the boot protocol wants into guest RAM,
 * the small things at once and the large ones beside the guest, and tells the
 * state in which the boot CPU starts.
 *
 * What it takes: bzImage (boot protocol 2.06 on), ELF64 and ELF32 vmlinux, and
 * any ELF kernel with a PVH entry note. See load.c for how the parts work
 * together, and the table below for what lies where.
 */
#ifndef LGUEST_BOOT_H
#define LGUEST_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_memory;
struct x86_state;

/*
 * Guest-physical layout below 1 MiB. All of it is ordinary RAM to the guest,
 * except the EBDA and the BIOS area, which the memory map calls reserved. The
 * platform puts its ACPI tables into the BIOS area.
 */
#define BOOT_GDT_ADDR     0x01000u /* GDT that the initial selectors refer to */
#define BOOT_PVH_ADDR     0x02000u /* hvm_start_info, module list, memory map */
#define BOOT_PARAMS_ADDR  0x07000u /* boot_params, the "zero page" */
#define BOOT_TABLES_ADDR  0x08000u /* six pages: identity map of 0..4 GiB */
#define BOOT_SEED_ADDR    0x0f000u /* setup_data node with a random seed */
#define BOOT_CMDLINE_ADDR 0x20000u
#define BOOT_CMDLINE_MAX  0x10000u /* with the terminating NUL */
#define BOOT_LOW_END      0x30000u /* below: taken; from here to the EBDA: free */
#define BOOT_EBDA_ADDR    0x9fc00u
#define BOOT_HOLE_ADDR    0xa0000u /* VGA memory, then option ROMs */
#define BOOT_BIOS_ADDR    0xe0000u /* ACPI tables, reserved in the memory map */
#define BOOT_HIGH_ADDR    0x100000u

/* Types of a memory range, ACPI 6.4 table 15.4 */
enum boot_range_type {
	BOOT_RAM = 1,
	BOOT_RESERVED = 2,
	BOOT_ACPI = 3,
	BOOT_ACPI_NVS = 4,
};

struct boot_range {
	uint64_t addr, size;
	enum boot_range_type type;
};

enum boot_entry {
	BOOT_ENTRY_AUTO,  /* boot protocol for Linux, PVH for whoever else has it */
	BOOT_ENTRY_LINUX, /* boot protocol */
	BOOT_ENTRY_PVH,   /* only with an ELF that has the note */
};

struct boot_input {
	const char *kernel;   /* path */
	const char *initrd;   /* path or NULL */
	const char *cmdline;  /* bytes as they are, NULL for none */
	bool host_decompress; /* decompress the payload of a bzImage here and enter it directly */
	enum boot_entry entry;
	uint64_t acpi_rsdp; /* guest-physical address, 0 for none */
	/*
	 * What the memory map says beyond RAM and the BIOS area, for example the
	 * PCI configuration window. Kernel and initrd keep off these ranges.
	 */
	const struct boot_range *reserved;
	unsigned nr_reserved;
	/* Goes to the guest's random number generator (SETUP_RNG_SEED); NULL for none. */
	const uint8_t *rng_seed; /* BOOT_SEED_SIZE bytes */
};

#define BOOT_SEED_SIZE 32u

/*
 * Loads the guest, which may start before all is there: all checks of headers and addresses are
 * made and the boot structures written, the bytes of kernel and initrd follow, on a thread of their
 * own and on whatever thread wants them first. Until then @mem->loading is set (memory.h), and who
 * looks at guest memory honours it. The strings of @in must live until boot_load_stop().
 *
 * @mem must be all zero below 4 GiB outside @in->reserved and
 * the BIOS area, as it is after guest_memory_create() or _clear(). On success
 * fills all of @state (what the boot protocol does not speak of gets its value
 * after power-on; tsc_offset is 0) and *@loading, and returns 0. Else returns a negative errno,
 * and @err holds one line without newline and without the program's name, which
 * says which file, what is wrong and what helps; guest memory is then in part
 * written, @state untouched.
 *
 * The files are opened anew by every call and closed when all of them is loaded, nothing is
 * cached: a reset of the guest calls it again and so starts what is in the file
 * then, like a machine that boots from a disk.
 */
struct boot_loading;

int boot_load_start(struct guest_memory *mem, const struct boot_input *in, struct x86_state *state,
		    struct boot_loading **loading, char *err, size_t errlen);
/*
 * The guest is about to run: what is left is loaded beside it from now on, and not only what somebody waits for.
 * @failed will be called, once, when a part cannot be loaded: on any thread, before anybody sees
 * memory that lacks it. Must not touch guest memory. Called at once if that has happened already.
 */
void boot_load_run(struct boot_loading *loading, void (*failed)(void *opaque), void *opaque);
/*
 * The guest does not run any more: nothing is loaded ahead of who wants it. Devices may still be at
 * work, and get what they want.
 */
void boot_load_relax(struct boot_loading *loading);
/*
 * When nobody looks at guest memory any more: ends what is left to do, frees @loading (may be NULL).
 * False: a part could not be loaded, @err has the line as for boot_load_start().
 */
bool boot_load_stop(struct guest_memory *mem, struct boot_loading *loading, char *err, size_t errlen);

/* Where a guest of the lguest platform starts. */
struct boot_lguest {
	uint32_t entry; /* guest-physical = virtual, at first */
	uint32_t pgdir; /* guest-physical address of its initial page directory */
};

/*
 * The same for the lguest platform (lguest.c), but all is there when it returns, of which @in's fields kernel,
 * initrd, cmdline and host_decompress count. The guest's RAM is the first @ram bytes of @mem;
 * the rest is for devices, and mapped at first.
 */
int boot_load_lguest(const struct guest_memory *mem, uint64_t ram, const struct boot_input *in,
		     struct boot_lguest *out, char *err, size_t errlen);

/*
 * The same with the images in memory and all loaded when it returns; @in->kernel and @in->initrd only serve as
 * names in messages. @initrd may be NULL. For tests and fuzzing.
 */
int boot_load_bytes(struct guest_memory *mem, const struct boot_input *in, const void *kernel,
		    size_t kernel_len, const void *initrd, size_t initrd_len, struct x86_state *state,
		    char *err, size_t errlen);

#endif
