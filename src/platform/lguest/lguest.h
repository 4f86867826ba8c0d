/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lguest platform: what a kernel built with CONFIG_LGUEST_GUEST (Linux
 * 2.6.31 to 3.x, 32 bits) finds in the place of a PC. There is no hardware
 * at all: the guest kernel runs at privilege level 1 and asks for what it
 * wants by `int $0x1f`, one page of shared data says the rest, and a page above
 * RAM lists its virtio devices.
 *
 *   lguest.c      construction, reset, time, the end
 *   trap.c        every exception of the guest arrives here: whose is it?
 *   hypercall.c   the calls, direct and from the ring
 *   interrupt.c   the virtual interrupt flag; frames on the guest's stack
 *   paging.c      a look into the guest's page tables
 *   (virtio/lguestbus.c  the devices)
 *
 * The engine does paging with the guest's own tables, segmentation with the
 * descriptors kept here, and hands over everything else (vcpu_bus.trap).
 *
 * Threads: all on the vCPU's, but lguest_raise_irq(), which is for any.
 *
 * All of this runs with the guest's vector registers live (vcpu_bus.trap): it is fast C, and
 * what it calls of others, the C library too, stands between lguest_park() and lguest_unpark().
 */
#ifndef LGUEST_PLATFORM_LGUEST_H
#define LGUEST_PLATFORM_LGUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/lguest/abi.h"

struct guest_memory;
struct vcpu_trap;
struct x86_state;

enum lguest_end {
	LGUEST_POWER_OFF, /* the guest asked for it, with a text */
	LGUEST_RESTART,
	LGUEST_PANIC, /* it gave another text than that of a power-off */
	LGUEST_DIED,  /* it broke the rules */
};

#define LGUEST_REASON_MAX 160

/*
 * The machine's side. end(), early_console() and notify() are called parked, and may be ordinary C;
 * flush_page() and flush_tlb() are not, and are fast C.
 */
struct lguest_host {
	/* Before and after ordinary C on the vCPU's thread; nest. NULL: not needed. */
	void (*park)(void *opaque);
	void (*unpark)(void *opaque);
	/* The vCPU is to call enter() soon. Any thread. */
	void (*kick)(void *opaque);
	/* Translations of the page at @lin, or all of them, are out of date. */
	void (*flush_page)(void *opaque, uint32_t lin);
	void (*flush_tlb)(void *opaque);
	/* The guest's life is over; the first call counts. @reason: printable text. */
	void (*end)(void *opaque, enum lguest_end how, const char *reason);
	/* Console output before there is a console device. */
	void (*early_console)(void *opaque, const char *text, unsigned len);
	/*
	 * NOTIFY with an address of the device area: false when nothing of a device
	 * lies there.
	 */
	bool (*notify)(void *opaque, uint32_t addr);
};

struct lguest_gate {
	uint32_t offset;
	bool present, interrupt; /* interrupt gate: clears the virtual interrupt flag */
	uint8_t dpl;
};

/* All of the guest that is not registers and memory. */
struct lguest_state {
	bool initialised; /* LG_INIT has been made */
	bool old_layout;  /* 2.6.3x: lguest_data has a pgdir */
	bool dead;
	uint32_t data; /* guest-physical address of lguest_data */
	uint32_t noirq_start, noirq_end, kernel_address;
	uint64_t gdt[LG_GDT_ENTRIES];
	struct lguest_gate idt[256];
	uint16_t stack_selector;
	uint32_t stack_top;
	unsigned ring_next;
	_Atomic uint32_t pending; /* virtual interrupts */
	uint64_t clockevent;      /* TSC; 0: none */
	uint64_t look_again;      /* TSC: something is pending that could not be delivered; 0: nothing */
	uint32_t initial_pgdir;   /* where the loader put it */
};

struct lguest {
	struct lguest_state s;
	const struct guest_memory *memory;
	uint32_t ram;   /* bytes; the device page follows */
	uint32_t limit; /* first guest-physical address that is nothing: "pfn_limit" in bytes */
	uint32_t tsc_khz;
	const struct lguest_host *host;
	void *opaque;
	uint8_t *data; /* lguest_data in @memory, once initialised */
	struct lguest_stats {
		uint64_t hypercalls, ring_calls, page_faults, traps, interrupts, emulated;
		uint64_t by_number[LG_SEND_INTERRUPTS + 1];
	} stats;
};

/*
 * @ram bytes of @memory, which is LG_DEVICE_PAGES larger, are the guest's.
 * Nothing is allocated: there is no counterpart. All of it is loaded (memory->loading is NULL, or done)
 * before lguest_start().
 */
void lguest_init(struct lguest *lg, const struct guest_memory *memory, uint32_t ram, uint32_t tsc_khz,
		 const struct lguest_host *host, void *opaque);
/* Back to lguest_init(); no vCPU runs. */
void lguest_reset(struct lguest *lg);
/*
 * A new guest begins, loaded and with initial page tables at @pgdir; fills in @state
 * (entry: where it starts), with the GDT entries that it needs.
 */
void lguest_start(struct lguest *lg, uint32_t entry, uint32_t pgdir, struct x86_state *state);

/* vcpu_bus.trap, with the guest's vector registers live; and .enter, with them parked. */
void lguest_trap(struct lguest *lg, struct x86_state *s, const struct vcpu_trap *trap);
void lguest_enter(struct lguest *lg, struct x86_state *s);
/* The TSC at which enter() wants to be called next; UINT64_MAX: no matter when. */
uint64_t lguest_deadline(const struct lguest *lg);
/* While halted: has the guest a reason to go on? */
bool lguest_wakes(struct lguest *lg);
/* An access outside of everything that the guest has, which its page tables led to. Parked. */
void lguest_bad_address(struct lguest *lg, uint64_t addr);

/*
 * For engines that make hypercalls themselves, all but these: NOTIFY with @addr, which is
 * not 0; and the end, with @reason as SHUTDOWN or the engine gave it (parked, where there is parking).
 */
void lguest_notify(struct lguest *lg, uint32_t addr);
void lguest_ended(struct lguest *lg, bool restart, const char *reason);

/* Any thread: virtual interrupt @irq (1..31) is pending. */
void lguest_raise_irq(struct lguest *lg, unsigned irq);

/* ---- between the parts ---- */

static inline void lguest_park(const struct lguest *lg)
{
	if (lg->host->park)
		lg->host->park(lg->opaque);
}

static inline void lguest_unpark(const struct lguest *lg)
{
	if (lg->host->unpark)
		lg->host->unpark(lg->opaque);
}

void lguest_kill(struct lguest *lg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* trap.c: pushes the frame and goes to the gate of @vector. */
bool lguest_reflect(struct lguest *lg, struct x86_state *s, unsigned vector, bool has_error, uint32_t error);
/* hypercall.c: the ring, then the call in the registers. */
void lguest_hypercall(struct lguest *lg, struct x86_state *s);
/* interrupt.c */
void lguest_write_time(struct lguest *lg);
/* paging.c: guest-virtual to guest-physical, by its tables. */
bool lguest_translate(const struct lguest *lg, const struct x86_state *s, uint32_t lin, bool write,
		      uint32_t *phys);
/* Is @entry of a page table, or of a page directory, one that a guest may have? */
bool lguest_valid_entry(const struct lguest *lg, uint32_t entry, bool directory);
/*
 * Is what translates @lin no valid entry, although it is marked present? Then which, and of
 * what: "page directory" or "page table"; else NULL.
 */
const char *lguest_bad_entry(const struct lguest *lg, const struct x86_state *s, uint32_t lin,
			     uint32_t *entry);
/* Host address of [@phys, @phys + @len), inside of RAM and device area, or NULL. */
void *lguest_range(const struct lguest *lg, uint32_t phys, uint32_t len);
/* Bytes at @host, all on one page, have been written: makes that known to whoever translates code. */
void lguest_wrote(const struct lguest *lg, const void *host, uint32_t len);
/* The same for a word that does not straddle pages, after writing it. */
void lguest_store(const struct lguest *lg, void *host, uint32_t val);

static inline uint32_t lguest_data_get(const struct lguest *lg, unsigned offset)
{
	return __atomic_load_n((const uint32_t *)(const void *)(lg->data + offset), __ATOMIC_RELAXED);
}

static inline void lguest_data_set(struct lguest *lg, unsigned offset, uint32_t val)
{
	lguest_store(lg, lg->data + offset, val);
}

#endif
