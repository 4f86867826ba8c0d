/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of the PC: written into guest memory before each start.
 */
#ifndef LGUEST_PLATFORM_ACPI_H
#define LGUEST_PLATFORM_ACPI_H

#include <stdint.h>

struct guest_memory;

/*
 * All tables live in [ACPI_TABLES_BASE, ACPI_TABLES_END), the BIOS area of a
 * PC: the memory map must not call it usable RAM. The RSDP stands at its
 * start, where kernels that were not told about it look, too.
 */
#define ACPI_TABLES_BASE 0xe0000u
#define ACPI_TABLES_END  0x100000u

/*
 * Writes the tables for @vcpus CPUs and returns the address of the RSDP
 * (ACPI_TABLES_BASE), or 0 when the memory is too small or @vcpus too many.
 */
uint64_t acpi_build(const struct guest_memory *mem, unsigned vcpus);

#endif
