/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz harness (libFuzzer) for the payload of a bzImage: boot_open_payload().
 * Input: two bytes for the size that the payload claims to have when unpacked
 * (0xffff: more than the limit, which must be refused), then the payload
 * without its last field, the size, which the harness appends.
 * Built and run by loader.sh.
 *
 * The libraries are not instrumented, and not ours to test; the interest is in
 * our use of them and in the parser of lz4's legacy format.
 */
#include <stdlib.h>
#include <string.h>

#include "boot/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct boot_input in = { .kernel = "kernel" };
	char err[256] = "";
	struct boot_job job = { .in = &in, .err = err, .errlen = sizeof(err) };
	struct boot_file file, elf = { .fd = -1 };
	uint8_t *packed;
	uint32_t size;
	bool plain;
	int error;

	if (len < 2)
		return 0;
	size = data[0] | (uint32_t)data[1] << 8;
	if (size == 0xffff)
		size = 0x40000001;
	len -= 2;
	packed = malloc(len + sizeof(size));
	memcpy(packed, data + 2, len);
	memcpy(packed + len, &size, sizeof(size));
	file = (struct boot_file){ .name = "kernel", .fd = -1, .data = packed, .size = len + sizeof(size) };
	error = boot_open_payload(&job, &file, 0, file.size, &elf);
	if (!error && elf.stream)
		error = boot_stream_until(&job, elf.stream, elf.size);
	/* The size is part of the payload: it can be the end of the magic. */
	plain = memcmp(packed, "\177ELF", 4) == 0;
	if (!error && (plain ? elf.size != file.size : elf.size != size || size > 0xffff))
		abort();
	if (error && !err[0])
		abort();
	boot_file_close(&elf);
	free(packed);
	return 0;
}
