/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Builds small kernel images in memory, good ones, which the tests then break
 * at one place each.
 */
#ifndef TESTS_BOOT_IMAGE_H
#define TESTS_BOOT_IMAGE_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
	uint8_t *data; /* malloc */
	size_t len;
};

void image_free(struct image *img);

enum image_notes {
	NOTES_NONE = 0,
	NOTES_PVH = 1,       /* Xen, PHYS32_ENTRY */
	NOTES_LINUX = 2,     /* Linux, build salt */
	NOTES_XEN_LINUX = 4, /* Xen, GUEST_OS "linux" */
};

/*
 * ELF executables with two segments: code at 1 MiB (IMAGE_CODE_SIZE bytes of a
 * pattern; entry IMAGE_ENTRY) and data at 2 MiB (IMAGE_DATA_SIZE bytes, then
 * IMAGE_BSS_SIZE of bss), and a note segment when @notes is not 0. The program
 * headers follow the ELF header.
 */
#define IMAGE_CODE_ADDR 0x100000u
#define IMAGE_CODE_SIZE 0x1800u
#define IMAGE_ENTRY     0x100040u
#define IMAGE_PVH_ENTRY 0x100080u
#define IMAGE_DATA_ADDR 0x200000u
#define IMAGE_DATA_SIZE 0x900u
#define IMAGE_BSS_SIZE  0x5000u

struct image image_elf64(unsigned notes);
struct image image_elf32(unsigned notes);
Elf64_Ehdr *image_ehdr64(struct image *img);
Elf64_Phdr *image_phdr64(struct image *img, unsigned i);

/* The byte at offset @i of the code segment. */
uint8_t image_code_byte(size_t i);

enum image_packing { PACK_NONE, PACK_GZIP, PACK_XZ, PACK_ZSTD, PACK_LZ4, PACK_COUNT };

/* Packs as the kernel's build does, with the size appended. */
struct image image_pack(const struct image *in, enum image_packing packing);

/*
 * bzImage of protocol 2.15 with the payload @payload; setup code of two
 * sectors beyond the boot sector, stub of IMAGE_STUB_SIZE bytes (0x90), then
 * the payload. Wants to run at 16 MiB, init_size 1 MiB.
 */
#define IMAGE_STUB_SIZE  0x300u
#define IMAGE_SETUP_SIZE (3 * 512u)
#define IMAGE_PREF_ADDR  0x1000000u
#define IMAGE_INIT_SIZE  0x100000u

struct image image_bzimage(const struct image *payload);
struct setup_header *image_hdr(struct image *img);
/* After a change of the payload's bytes: where they are. */
uint8_t *image_payload(struct image *img);

#endif
