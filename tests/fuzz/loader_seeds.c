/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the first inputs of the two loader harnesses, so that the fuzzer need
 * not invent ELF and bzImage from nothing: loader_seeds DIR fills DIR/loader
 * and DIR/payload.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/image.h"

static void write_seed(const char *dir, const char *kind, const char *name, unsigned n, const uint8_t *prefix,
		       size_t prefix_len, const uint8_t *data, size_t len)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s-%u", dir, kind, name, n);
	f = fopen(path, "w");
	if (!f || fwrite(prefix, 1, prefix_len, f) != prefix_len || fwrite(data, 1, len, f) != len ||
	    fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void write_payload(const char *dir, const char *name, const struct image *in, enum image_packing p)
{
	uint8_t size[2] = { (uint8_t)in->len, (uint8_t)(in->len >> 8) };
	struct image packed = image_pack(in, p);

	/* Without the size at the end; that of gzip is part of the format. */
	write_seed(dir, "payload", name, p, size, 2, packed.data, packed.len - (p == PACK_GZIP ? 0 : 4));
	image_free(&packed);
}

int main(int argc, char **argv)
{
	/* host_decompress, entry, reserved ranges; length of the initrd */
	static const uint8_t settings[][4] = {
		{ 1, 0, 1, 0 }, { 0, 0, 0, 0 }, { 13, 1, 0, 1 }, { 8, 0, 9, 0 }
	};
	struct image text = { (uint8_t *)"abcabcabcabcabcabcabcabcabcabcabc", 33 };

	if (argc != 2)
		return 1;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned notes = 0; notes < 8; notes++) {
			struct image a = image_elf64(notes), b = image_elf32(notes);

			write_seed(argv[1], "loader", "elf64", i * 8 + notes, settings[i], 4, a.data, a.len);
			write_seed(argv[1], "loader", "elf32", i * 8 + notes, settings[i], 4, b.data, b.len);
			image_free(&a);
			image_free(&b);
		}
		for (enum image_packing p = 0; p < PACK_COUNT; p++) {
			struct image elf = image_elf64(NOTES_PVH | NOTES_LINUX),
				     payload = image_pack(&elf, p);
			struct image bz = image_bzimage(&payload);

			write_seed(argv[1], "loader", "bzimage", i * PACK_COUNT + p, settings[i], 4, bz.data,
				   bz.len);
			image_free(&bz);
			image_free(&payload);
			image_free(&elf);
		}
	}
	for (enum image_packing p = PACK_GZIP; p < PACK_COUNT; p++) {
		struct image elf = image_elf32(NOTES_NONE);

		write_payload(argv[1], "elf", &elf, p);
		write_payload(argv[1], "text", &text, p);
		image_free(&elf);
	}
	/* A payload of two bytes and the size make ELF's magic. */
	write_seed(argv[1], "payload", "magic", 0, (const uint8_t *)"LF", 2, (const uint8_t *)"\177E", 2);
	return 0;
}
