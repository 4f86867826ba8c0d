/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See image.h. */
#include "image.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <lz4hc.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

void image_free(struct image *img)
{
	free(img->data);
	img->data = NULL;
	img->len = 0;
}

uint8_t image_code_byte(size_t i)
{
	/* Not periodic in a page, and compressible. */
	return (uint8_t)(i * 7 + (i >> 8) * 3 + 1);
}

static size_t put_note(uint8_t *p, size_t pos, const char *name, uint32_t type, const void *desc,
		       uint32_t len)
{
	Elf64_Nhdr nh = { .n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = len, .n_type = type };

	memcpy(p + pos, &nh, sizeof(nh));
	pos += sizeof(nh);
	memcpy(p + pos, name, nh.n_namesz);
	pos += (nh.n_namesz + 3) & ~3u;
	memcpy(p + pos, desc, len);
	return pos + ((len + 3) & ~3u);
}

static size_t put_notes(uint8_t *p, unsigned notes, bool is64)
{
	uint64_t entry = IMAGE_PVH_ENTRY;
	size_t pos = 0;

	/* Something else first, whose size is no multiple of 4. */
	pos = put_note(p, pos, "GNU", 3, "12345", 5);
	if (notes & NOTES_PVH)
		pos = put_note(p, pos, "Xen", 18, &entry, is64 ? 8 : 4);
	if (notes & NOTES_LINUX)
		pos = put_note(p, pos, "Linux", 0x100, "salt", 4);
	if (notes & NOTES_XEN_LINUX)
		pos = put_note(p, pos, "Xen", 6, "linux", 6);
	return pos;
}

static void put_code(struct image *img, size_t code_off, size_t data_off)
{
	for (size_t i = 0; i < IMAGE_CODE_SIZE; i++)
		img->data[code_off + i] = image_code_byte(i);
	memset(img->data + data_off, 0xda, IMAGE_DATA_SIZE);
}

#define NOTE_OFF 0x180u
#define CODE_OFF 0x1000u
#define DATA_OFF 0x3000u
#define ELF_LEN  (DATA_OFF + IMAGE_DATA_SIZE)

struct image image_elf64(unsigned notes)
{
	struct image img = { calloc(1, ELF_LEN), ELF_LEN };
	Elf64_Ehdr *eh = image_ehdr64(&img);
	Elf64_Phdr *ph = (Elf64_Phdr *)(img.data + sizeof(*eh));

	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_X86_64;
	eh->e_version = EV_CURRENT;
	eh->e_entry = IMAGE_ENTRY;
	eh->e_phoff = sizeof(*eh);
	eh->e_ehsize = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = notes ? 3 : 2;
	ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
			      .p_offset = CODE_OFF,
			      .p_vaddr = 0xffffffff80000000 + IMAGE_CODE_ADDR,
			      .p_paddr = IMAGE_CODE_ADDR,
			      .p_filesz = IMAGE_CODE_SIZE,
			      .p_memsz = IMAGE_CODE_SIZE };
	ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
			      .p_offset = DATA_OFF,
			      .p_vaddr = 0xffffffff80000000 + IMAGE_DATA_ADDR,
			      .p_paddr = IMAGE_DATA_ADDR,
			      .p_filesz = IMAGE_DATA_SIZE,
			      .p_memsz = IMAGE_DATA_SIZE + IMAGE_BSS_SIZE };
	if (notes)
		ph[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				      .p_offset = NOTE_OFF,
				      .p_align = 4,
				      .p_filesz = put_notes(img.data + NOTE_OFF, notes, true) };
	put_code(&img, CODE_OFF, DATA_OFF);
	return img;
}

struct image image_elf32(unsigned notes)
{
	struct image img = { calloc(1, ELF_LEN), ELF_LEN };
	Elf32_Ehdr *eh = (Elf32_Ehdr *)img.data;
	Elf32_Phdr *ph = (Elf32_Phdr *)(img.data + sizeof(*eh));

	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS32;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_386;
	eh->e_version = EV_CURRENT;
	eh->e_entry = IMAGE_ENTRY;
	eh->e_phoff = sizeof(*eh);
	eh->e_ehsize = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = notes ? 3 : 2;
	ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD,
			      .p_offset = CODE_OFF,
			      .p_vaddr = 0xc0000000 + IMAGE_CODE_ADDR,
			      .p_paddr = IMAGE_CODE_ADDR,
			      .p_filesz = IMAGE_CODE_SIZE,
			      .p_memsz = IMAGE_CODE_SIZE };
	ph[1] = (Elf32_Phdr){ .p_type = PT_LOAD,
			      .p_offset = DATA_OFF,
			      .p_vaddr = 0xc0000000 + IMAGE_DATA_ADDR,
			      .p_paddr = IMAGE_DATA_ADDR,
			      .p_filesz = IMAGE_DATA_SIZE,
			      .p_memsz = IMAGE_DATA_SIZE + IMAGE_BSS_SIZE };
	if (notes)
		ph[2] = (Elf32_Phdr){ .p_type = PT_NOTE,
				      .p_offset = NOTE_OFF,
				      .p_align = 4,
				      .p_filesz = (uint32_t)put_notes(img.data + NOTE_OFF, notes, false) };
	put_code(&img, CODE_OFF, DATA_OFF);
	return img;
}

Elf64_Ehdr *image_ehdr64(struct image *img)
{
	return (Elf64_Ehdr *)img->data;
}

Elf64_Phdr *image_phdr64(struct image *img, unsigned i)
{
	return (Elf64_Phdr *)(img->data + sizeof(Elf64_Ehdr)) + i;
}

static size_t pack_gzip(const struct image *in, uint8_t *out, size_t room)
{
	z_stream z = {
		.next_in = in->data, .avail_in = (uInt)in->len, .next_out = out, .avail_out = (uInt)room
	};
	int r = deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);

	assert(r == Z_OK);
	r = deflate(&z, Z_FINISH);
	assert(r == Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

/* As scripts/xz_wrap.sh: xz --check=crc32 --x86 --lzma2=... */
static size_t pack_xz(const struct image *in, uint8_t *out, size_t room)
{
	lzma_options_lzma opt;
	lzma_filter filters[] = { { LZMA_FILTER_X86, NULL },
				  { LZMA_FILTER_LZMA2, &opt },
				  { LZMA_VLI_UNKNOWN, NULL } };
	size_t pos = 0;
	lzma_ret r;

	lzma_lzma_preset(&opt, 6);
	opt.dict_size = 1 << 20;
	r = lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, in->data, in->len, out, &pos, room);
	assert(r == LZMA_OK);
	return pos;
}

static size_t pack_zstd(const struct image *in, uint8_t *out, size_t room)
{
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	size_t n;

	ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(ctx, out, room, in->data, in->len);
	assert(!ZSTD_isError(n));
	ZSTD_freeCCtx(ctx);
	return n;
}

/* lz4 -l: blocks of 8 MiB */
static size_t pack_lz4(const struct image *in, uint8_t *out, size_t room)
{
	static const uint8_t magic[4] = { 0x02, 0x21, 0x4c, 0x18 };
	const size_t block = 8u << 20;
	size_t pos = sizeof(magic);

	memcpy(out, magic, sizeof(magic));
	for (size_t i = 0; i < in->len; i += block) {
		size_t n = in->len - i < block ? in->len - i : block;
		int packed = LZ4_compress_HC((const char *)in->data + i, (char *)out + pos + 4, (int)n,
					     (int)(room - pos - 4), 3);
		uint32_t le = htole32((uint32_t)packed);

		assert(packed > 0);
		memcpy(out + pos, &le, 4);
		pos += 4 + (size_t)packed;
	}
	return pos;
}

struct image image_pack(const struct image *in, enum image_packing packing)
{
	size_t room = in->len * 2 + 65536;
	struct image out = { malloc(room), 0 };
	uint32_t size = htole32((uint32_t)in->len);

	switch (packing) {
	case PACK_GZIP: out.len = pack_gzip(in, out.data, room); return out;
	case PACK_XZ: out.len = pack_xz(in, out.data, room); break;
	case PACK_ZSTD: out.len = pack_zstd(in, out.data, room); break;
	case PACK_LZ4: out.len = pack_lz4(in, out.data, room); break;
	default:
		memcpy(out.data, in->data, in->len);
		out.len = in->len;
		break;
	}
	memcpy(out.data + out.len, &size, 4);
	out.len += 4;
	return out;
}

struct image image_bzimage(const struct image *payload)
{
	size_t code = (IMAGE_STUB_SIZE + payload->len + 15) & ~(size_t)15, len = IMAGE_SETUP_SIZE + code;
	struct image img = { calloc(1, len), len };

	memset(img.data + IMAGE_SETUP_SIZE, 0x90, IMAGE_STUB_SIZE);
	memcpy(img.data + IMAGE_SETUP_SIZE + IMAGE_STUB_SIZE, payload->data, payload->len);
	*image_hdr(&img) = (struct setup_header){
		.setup_sects = 2,
		.syssize = (uint32_t)(code / 16),
		.boot_flag = 0xaa55,
		.jump = 0xeb | (0x26c - 0x202) << 8,
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = LOADED_HIGH | CAN_USE_HEAP,
		.code32_start = 0x100000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.payload_offset = IMAGE_STUB_SIZE,
		.payload_length = (uint32_t)payload->len,
		.pref_address = IMAGE_PREF_ADDR,
		.init_size = IMAGE_INIT_SIZE,
	};
	return img;
}

struct setup_header *image_hdr(struct image *img)
{
	return (struct setup_header *)(img->data + 0x1f1);
}

uint8_t *image_payload(struct image *img)
{
	return img->data + IMAGE_SETUP_SIZE + IMAGE_STUB_SIZE;
}
