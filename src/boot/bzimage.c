/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzImage: what distributions install as /boot/vmlinuz. Documented in the
 * kernel's Documentation/x86/boot.rst, "the boot protocol":
 *
 *   0                      boot sector and real-mode code, never run by us
 *   0x1f1                  setup header
 *   (setup_sects + 1)*512  protected-mode code: a stub that decompresses
 *     + payload_offset     the payload: a packed vmlinux
 *
 * With host_decompress the payload is unpacked here and handed to elf.c. Else,
 * or if there is no payload (protocol before 2.08, or no Linux at all), the
 * stub is loaded and entered.
 */
#include <errno.h>
#include <string.h>

#include "boot/codecs.h"
#include "boot/job.h"

#define HDR_OFFSET 0x1f1u

/* The end of the setup header follows from the operand of the short jump before "HdrS". */
#define JUMP_OPERAND 0x201u
#define JUMP_END     0x202u

/* boot.rst, "64-bit boot protocol": the entry is at this offset in the loaded code. */
#define ENTRY64 0x200u

struct bzimage {
	uint64_t code_off, code_len; /* protected-mode part of the file */
};

static int read_header(struct boot_job *job, const struct boot_file *f)
{
	uint8_t jump;
	size_t len;
	int error;

	error = boot_file_read(job, f, JUMP_OPERAND, &jump, 1, "setup header");
	if (error)
		return error;
	/* An old header ends early: what it does not have stays zero. A newer one has fields that we do not know. */
	len = JUMP_END + jump - HDR_OFFSET;
	if (len > sizeof(job->hdr))
		len = sizeof(job->hdr);
	return boot_file_read(job, f, HDR_OFFSET, &job->hdr, len, "setup header");
}

static int check_header(struct boot_job *job, const struct boot_file *f, struct bzimage *bz)
{
	const struct setup_header *hdr = &job->hdr;
	uint64_t syssize = (uint64_t)hdr->syssize * 16;

	if (hdr->version < 0x206)
		return boot_fail(
			job, ENOEXEC,
			"%s: kernel has boot protocol %u.%02u, older than 2.06 (use a kernel from 2.6.22 on)",
			f->name, hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return boot_fail(job, ENOEXEC, "%s: kernel is a zImage, which loads low (use a bzImage)",
				 f->name);

	/* boot.rst: zero means four, for the sake of the oldest kernels. */
	bz->code_off = ((hdr->setup_sects ? hdr->setup_sects : 4) + 1) * 512u;
	if (f->size <= bz->code_off)
		return boot_fail(job, EINVAL,
				 "%s: truncated in the setup code (file has %llu bytes, it ends at %llu)",
				 f->name, (unsigned long long)f->size, (unsigned long long)bz->code_off);
	bz->code_len = f->size - bz->code_off;
	/* Signatures may follow. Old builds rounded syssize up without padding the file. */
	if (syssize > bz->code_len + 15)
		return boot_fail(job, EINVAL,
				 "%s: truncated in the kernel code (file has %llu bytes, it ends at %llu)",
				 f->name, (unsigned long long)f->size,
				 (unsigned long long)(bz->code_off + syssize));
	if (syssize && syssize < bz->code_len)
		bz->code_len = syssize;
	return 0;
}

static bool has_payload(const struct setup_header *hdr)
{
	return hdr->version >= 0x208 && hdr->payload_length;
}

static int load_payload(struct boot_job *job, const struct boot_file *f, const struct bzimage *bz)
{
	const struct setup_header *hdr = &job->hdr;
	struct boot_file *elf = boot_loading_file(job->loading, BOOT_PAYLOAD);
	uint8_t magic[4] = { 0 };
	int error;

	if (hdr->payload_offset > bz->code_len || hdr->payload_length > bz->code_len - hdr->payload_offset)
		return boot_fail(
			job, EINVAL,
			"%s: truncated in the payload (its header asks for 0x%x bytes at 0x%x, there are 0x%llx)",
			f->name, hdr->payload_length, hdr->payload_offset, (unsigned long long)bz->code_len);
	error = boot_open_payload(job, f, bz->code_off + hdr->payload_offset, hdr->payload_length, elf);
	if (!error && elf->size >= sizeof(magic))
		error = boot_file_read(job, elf, 0, magic, sizeof(magic), "payload");
	if (error)
		return error;
	if (memcmp(magic, "\177ELF", 4))
		return boot_fail(job, ENOEXEC, "%s: payload is not an ELF file (try --no-host-decompress)",
				 f->name);
	return boot_load_elf(job, BOOT_PAYLOAD);
}

/*
 * The stub goes where the kernel would like to run, which saves it from moving
 * itself, and needs room there for what it unpacks.
 */
static int load_stub(struct boot_job *job, const struct boot_file *f, const struct bzimage *bz)
{
	const struct setup_header *hdr = &job->hdr;
	uint64_t addr = hdr->code32_start, room = bz->code_len;
	int error;

	if (hdr->version >= 0x20a) {
		if (hdr->relocatable_kernel)
			addr = hdr->pref_address;
		if (hdr->init_size > room)
			room = hdr->init_size;
	}
	if (job->in->entry == BOOT_ENTRY_PVH)
		return boot_fail(job, ENOEXEC, "%s: the stub of a bzImage has no PVH entry", f->name);

	error = boot_claim(job, f->name, addr, room, "kernel");
	if (error)
		return error;
	error = boot_file_place(job, BOOT_KERNEL, bz->code_off, addr, bz->code_len, "kernel code");
	if (error)
		return error;
	if (hdr->version >= 0x20c && hdr->xloadflags & XLF_KERNEL_64) {
		job->mode = BOOT_MODE_LINUX64;
		job->entry = addr + ENTRY64;
		if (bz->code_len <= ENTRY64)
			return boot_fail(job, EINVAL, "%s: kernel code is too short for a 64-bit entry",
					 f->name);
	} else {
		job->mode = BOOT_MODE_LINUX32;
		job->entry = addr;
	}
	job->hdr.code32_start = (uint32_t)addr;
	return 0;
}

int boot_load_bzimage(struct boot_job *job)
{
	const struct boot_file *f = boot_loading_file(job->loading, BOOT_KERNEL);
	struct bzimage bz = { 0 };
	int error = read_header(job, f);

	if (!error)
		error = check_header(job, f, &bz);
	if (error)
		return error;
	job->cmdline_max = job->hdr.cmdline_size;
	if (job->in->host_decompress && boot_has_codecs() && has_payload(&job->hdr))
		return load_payload(job, f, &bz);
	return load_stub(job, f, &bz);
}
