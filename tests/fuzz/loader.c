/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz harness (libFuzzer) for everything that looks at a kernel image: ELF,
 * notes, bzImage, the choice of an entry, placement of the initrd, the memory map.
 * Built and run by loader.sh.
 *
 * Input: four bytes of settings, then the kernel image.
 *
 * Beyond "no crash" it wants what boot.h promises: a message of one line and
 * an untouched state on failure; on success an entry point in RAM, boot
 * structures that survived the image, and a sorted memory map.
 */
#include <stdlib.h>
#include <string.h>

#include "boot/job.h"
#include "cpu/state.h"

#define SETTINGS 4u
#define RAM_SIZE (24ull << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_failure(const char *err, const struct x86_state *state)
{
	const uint8_t *p = (const uint8_t *)state;

	require(err[0] != '\0' && !strchr(err, '\n'));
	for (size_t i = 0; i < sizeof(*state); i++)
		require(p[i] == 0x5a);
}

static void check_params(const struct guest_memory *mem, const struct x86_state *s)
{
	const struct boot_params *p = guest_range(mem, s->regs[REG_RSI], sizeof(*p));
	uint64_t end = 0;

	require(p && p->hdr.header == 0x53726448 && !(p->hdr.loadflags & KASLR_FLAG));
	require(p->e820_entries >= 4 && p->e820_entries <= E820_MAX_ENTRIES_ZEROPAGE);
	for (unsigned i = 0; i < p->e820_entries; i++) {
		require(p->e820_table[i].addr >= end && p->e820_table[i].size);
		end = p->e820_table[i].addr + p->e820_table[i].size;
	}
	require(guest_range(mem, p->hdr.ramdisk_image, p->hdr.ramdisk_size));
}

static void check_success(const struct guest_memory *mem, const struct x86_state *s)
{
	require(guest_range(mem, s->rip, 1) && s->rip >= BOOT_LOW_END);
	require(*(uint64_t *)guest_range(mem, s->gdtr.base + s->seg[SEG_DS].sel, 8) == 0x00cf93000000ffff);
	require(!strcmp(guest_range(mem, BOOT_CMDLINE_ADDR, 16), "quiet"));
	if (s->regs[REG_RSI])
		check_params(mem, s);
	else
		require(guest_range(mem, s->regs[REG_RBX], 56) != NULL);
}

/* Unpacking a bomb is not an error, but slow: the harness for it is loader_payload.c. */
static bool claims_bomb(const uint8_t *data, size_t len)
{
	const struct setup_header *hdr = (const struct setup_header *)(data + 0x1f1);
	uint64_t end;
	uint32_t size;

	if (len < 0x1f1 + sizeof(*hdr))
		return false;
	end = ((hdr->setup_sects ? hdr->setup_sects : 4) + 1) * 512ull + hdr->payload_offset +
	      hdr->payload_length;
	if (end > len || end < 4)
		return false;
	memcpy(&size, data + end - 4, 4);
	return size > 4u << 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct boot_range reserved[] = {
		{ 0xe0000000, 0x10000000, BOOT_RESERVED },
		{ 0x800000, 0x1000, BOOT_ACPI },
	};
	struct boot_input in = {
		.kernel = "kernel", .initrd = "initrd", .cmdline = "quiet", .acpi_rsdp = 0xe0000
	};
	struct guest_memory mem;
	struct x86_state state;
	char err[256] = "";
	uint8_t *kernel, *initrd = NULL;
	size_t initrd_len;

	if (len < SETTINGS || claims_bomb(data + SETTINGS, len - SETTINGS))
		return 0;
	in.host_decompress = data[0] & 1;
	in.entry = data[0] >> 1 & 3;
	if (in.entry > BOOT_ENTRY_PVH)
		in.entry = BOOT_ENTRY_AUTO;
	if (data[0] & 8) {
		in.reserved = reserved;
		in.nr_reserved = 2;
	}
	initrd_len = data[1] | data[2] << 8 | (data[3] & 1) << 16;

	/* Copies of the exact size, so that ASan sees the first byte beyond. */
	data += SETTINGS;
	len -= SETTINGS;
	kernel = malloc(len ? len : 1);
	memcpy(kernel, data, len);
	if (initrd_len)
		initrd = calloc(1, initrd_len);
	require(guest_memory_create(&mem, RAM_SIZE) == 0);
	memset(&state, 0x5a, sizeof(state));

	if (boot_load_bytes(&mem, &in, kernel, len, initrd, initrd_len, &state, err, sizeof(err)))
		check_failure(err, &state);
	else
		check_success(&mem, &state);
	guest_memory_destroy(&mem);
	free(initrd);
	free(kernel);
	return 0;
}
