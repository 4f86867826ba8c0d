/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading a guest, in the order of things:
 *
 *   load.c        what kind of image is it? then the steps below
 *   bzimage.c     a bzImage: header, payload or stub
 *   decompress.c    its payload, with the real libraries
 *   elf.c         a vmlinux: segments, notes, entry point
 *   (here)        command line and initrd
 *   loading.c     the bytes of kernel and initrd: at once, or beside the guest
 *   params.c      boot_params for the Linux entries; pvh.c: hvm_start_info
 *   e820.c          with the memory map
 *   entry.c       GDT, identity map, registers
 *
 * Everything that goes into guest memory is claimed first, so two things never
 * lie on top of each other, whatever addresses an image asks for.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "boot/job.h"
#include "cpu/state.h"

/* Up to the end of the magic in the setup header of a bzImage */
#define HEAD_SIZE 0x206u

int boot_fail(struct boot_job *job, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(job->err, job->errlen, fmt, ap);
	va_end(ap);
	return -error;
}

static const struct boot_claim *find_overlap(const struct boot_job *job, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < job->nr_claims; i++)
		if (start < job->claim[i].end && job->claim[i].start < end)
			return &job->claim[i];
	return NULL;
}

static int add_claim(struct boot_job *job, uint64_t start, uint64_t end, const char *what)
{
	if (job->nr_claims == BOOT_MAX_CLAIMS)
		return boot_fail(job, E2BIG, "%s: more than %u parts to load", job->in->kernel,
				 BOOT_MAX_CLAIMS);
	job->claim[job->nr_claims++] = (struct boot_claim){ start, end, what };
	return 0;
}

int boot_fail_room(struct boot_job *job, const char *name, const char *what, uint64_t end)
{
	return boot_fail(job, ENOMEM,
			 "%s: %s needs memory up to 0x%llx, the guest has %llu MiB (give it at least %llu)",
			 name, what, (unsigned long long)end, (unsigned long long)job->mem->size >> 20,
			 (unsigned long long)(end + 0xfffff) >> 20);
}

int boot_claim(struct boot_job *job, const char *name, uint64_t addr, uint64_t size, const char *what)
{
	const struct boot_claim *other;
	uint64_t end;

	if (__builtin_add_overflow(addr, size, &end) || end > GUEST_LOW_MAX)
		return boot_fail(job, EINVAL,
				 "%s: %s at 0x%llx, length 0x%llx, is outside of what can be RAM (0..0x%llx)",
				 name, what, (unsigned long long)addr, (unsigned long long)size,
				 GUEST_LOW_MAX);
	if (end > job->mem->low_size)
		return boot_fail_room(job, name, what, end);
	other = find_overlap(job, addr, end);
	if (other)
		return boot_fail(job, EINVAL, "%s: %s at 0x%llx..0x%llx overlaps the %s at 0x%llx..0x%llx",
				 name, what, (unsigned long long)addr, (unsigned long long)end, other->what,
				 (unsigned long long)other->start, (unsigned long long)other->end);
	return add_claim(job, addr, end, what);
}

static int claim_fixed(struct boot_job *job)
{
	int error;

	if (job->mem->low_size < 2u << 20)
		return boot_fail(job, ENOMEM,
				 "memory: %llu KiB are too few to load anything (give the guest more)",
				 (unsigned long long)job->mem->size >> 10);
	add_claim(job, 0, BOOT_LOW_END, "boot structures");
	add_claim(job, BOOT_EBDA_ADDR, BOOT_HIGH_ADDR, "BIOS area");
	for (unsigned i = 0; i < job->in->nr_reserved; i++) {
		const struct boot_range *r = &job->in->reserved[i];
		uint64_t end;

		if (__builtin_add_overflow(r->addr, r->size, &end))
			return boot_fail(job, EINVAL, "memory map: reserved range at 0x%llx wraps",
					 (unsigned long long)r->addr);
		error = r->size ? add_claim(job, r->addr, end, "reserved range") : 0;
		if (error)
			return error;
	}
	return 0;
}

static int not_a_kernel(struct boot_job *job, const char *name, const uint8_t *head, uint64_t size)
{
	const char *packed = boot_compression_name(head, HEAD_SIZE);

	if (packed)
		return boot_fail(job, ENOEXEC,
				 "%s: not a kernel, but a file packed with %s (unpack it first)", name,
				 packed);
	if (size < HEAD_SIZE)
		return boot_fail(job, ENOEXEC, "%s: not a kernel: file has only %llu bytes", name,
				 (unsigned long long)size);
	return boot_fail(job, ENOEXEC, "%s: not a kernel: neither a bzImage nor an ELF file", name);
}

int boot_load_kernel(struct boot_job *job)
{
	const struct boot_file *f = boot_loading_file(job->loading, BOOT_KERNEL);
	uint8_t head[HEAD_SIZE] = { 0 };
	size_t n = f->size < sizeof(head) ? f->size : sizeof(head);
	int error = boot_file_read(job, f, 0, head, n, "header");

	if (error)
		return error;
	if (!memcmp(head, "\177ELF", 4))
		return boot_load_elf(job, BOOT_KERNEL);
	/* The magic of the boot sector and the one of the setup header; boot.rst, "The real-mode kernel header" */
	if (head[0x1fe] == 0x55 && head[0x1ff] == 0xaa && !memcmp(head + 0x202, "HdrS", 4))
		return boot_load_bzimage(job);
	return not_a_kernel(job, f->name, head, f->size);
}

static int write_cmdline(struct boot_job *job)
{
	const char *cmdline = job->in->cmdline ? job->in->cmdline : "";
	size_t len = strlen(cmdline);
	uint64_t max = job->cmdline_max < BOOT_CMDLINE_MAX - 1 ? job->cmdline_max : BOOT_CMDLINE_MAX - 1;
	char *p;

	if (len > max)
		return boot_fail(job, E2BIG, "command line: %zu bytes, but this kernel takes at most %llu",
				 len, (unsigned long long)max);
	p = guest_range(job->mem, BOOT_CMDLINE_ADDR, len + 1);
	if (!p)
		return boot_fail(job, ENOMEM, "command line: no room in guest memory");
	memcpy(p, cmdline, len + 1);
	return 0;
}

/*
 * As high as the kernel can reach (initrd_addr_max), to stay out of the way of
 * what it allocates first, and in low RAM, which the 4 GiB that we map cover.
 */
int boot_load_initrd(struct boot_job *job)
{
	const struct boot_file *f = boot_loading_file(job->loading, BOOT_INITRD);
	uint64_t top = (uint64_t)job->hdr.initrd_addr_max + 1, addr;
	const struct boot_claim *other;
	int error;

	if (top > job->mem->low_size)
		top = job->mem->low_size;
	for (;;) {
		if (top < f->size || top - f->size < BOOT_HIGH_ADDR)
			return boot_fail(
				job, ENOMEM,
				"%s: initrd of %llu KiB does not fit into %llu MiB of memory beside the kernel (give the guest more)",
				f->name, (unsigned long long)(f->size + 1023) >> 10,
				(unsigned long long)job->mem->size >> 20);
		addr = (top - f->size) & ~(uint64_t)4095;
		other = find_overlap(job, addr, addr + f->size);
		if (!other)
			break;
		top = other->start;
	}

	error = boot_claim(job, f->name, addr, f->size, "initrd");
	if (!error)
		error = boot_file_place(job, BOOT_INITRD, 0, addr, f->size, "initrd");
	job->initrd_addr = addr;
	job->initrd_size = f->size;
	return error;
}

int boot_open(struct boot_job *job)
{
	int error;

	job->loading = boot_loading_new(job->mem);
	if (!job->loading)
		return boot_fail(job, ENOMEM, "%s: out of memory", job->in->kernel);
	error = boot_file_open(job, boot_loading_file(job->loading, BOOT_KERNEL), job->in->kernel);
	if (!error && job->in->initrd)
		error = boot_file_open(job, boot_loading_file(job->loading, BOOT_INITRD), job->in->initrd);
	return error;
}

/* Kernel and initrd are open. All that is small goes into guest memory now, of them it is noted what goes where. */
static int load_small(struct boot_job *job)
{
	int error = claim_fixed(job);

	if (!error)
		error = boot_load_kernel(job);
	if (!error)
		error = write_cmdline(job);
	if (!error && job->in->initrd)
		error = boot_load_initrd(job);
	if (!error)
		error = job->mode == BOOT_MODE_PVH ? boot_write_pvh(job) : boot_write_params(job);
	return error;
}

static int load_all(struct boot_job *job, struct x86_state *state)
{
	int error = load_small(job);

	if (!error)
		error = boot_loading_all(job);
	if (!error)
		boot_cpu_state(job, state);
	return error;
}

int boot_load_bytes(struct guest_memory *mem, const struct boot_input *in, const void *kernel,
		    size_t kernel_len, const void *initrd, size_t initrd_len, struct x86_state *state,
		    char *err, size_t errlen)
{
	struct boot_input input = *in;
	struct boot_job job = { .mem = mem, .in = &input, .err = err, .errlen = errlen };
	int error;

	job.loading = boot_loading_new(mem);
	if (!job.loading)
		return boot_fail(&job, ENOMEM, "%s: out of memory", in->kernel);
	if (!initrd)
		input.initrd = NULL;
	*boot_loading_file(job.loading, BOOT_KERNEL) =
		(struct boot_file){ .name = in->kernel, .fd = -1, .data = kernel, .size = kernel_len };
	*boot_loading_file(job.loading, BOOT_INITRD) =
		(struct boot_file){ .name = in->initrd, .fd = -1, .data = initrd, .size = initrd_len };
	error = load_all(&job, state);
	boot_loading_free(job.loading);
	return error;
}

int boot_load_start(struct guest_memory *mem, const struct boot_input *in, struct x86_state *state,
		    struct boot_loading **loading, char *err, size_t errlen)
{
	struct boot_job job = { .mem = mem, .in = in, .err = err, .errlen = errlen };
	int error = boot_open(&job);

	if (!error)
		error = load_small(&job);
	if (!error)
		error = boot_loading_start(&job, mem);
	if (error) {
		boot_loading_free(job.loading);
		return error;
	}
	boot_cpu_state(&job, state);
	*loading = job.loading;
	return 0;
}
