/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz harness (libFuzzer) for the payload of a bzImage: boot_decompress().
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
	uint8_t *packed, *out = NULL;
	size_t outlen = 0;
	uint32_t size;

	if (len < 2)
		return 0;
	size = data[0] | (uint32_t)data[1] << 8;
	if (size == 0xffff)
		size = 0x40000001;
	len -= 2;
	packed = malloc(len + sizeof(size));
	memcpy(packed, data + 2, len);
	memcpy(packed + len, &size, sizeof(size));
	if (boot_decompress(&job, "kernel", packed, len + sizeof(size), &out, &outlen) == 0) {
		if (outlen != size || size > 0xffff)
			abort();
		boot_buffer_free(out, outlen);
	} else if (out || !err[0]) {
		abort();
	}
	free(packed);
	return 0;
}
