/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wired PC: ports and addresses of everything, interrupts from device to CPU, kvm-clock, ACPI tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#include "memory.h"
#include "platform/acpi.h"
#include "platform/pc.h"

#define TSC_KHZ 2000000u

struct world {
	struct pc pc;
	struct guest_memory ram;
	unsigned kicks;
	int event; /* the last enum power_event, or -1 */
	char out[4096];
	unsigned nout, room, waits;
	const char *input;
};

static void on_kick(void *opaque, unsigned cpu)
{
	((struct world *)opaque)->kicks++;
}

static void on_event(void *opaque, enum power_event event)
{
	((struct world *)opaque)->event = (int)event;
}

static bool on_put(void *opaque, uint8_t byte)
{
	struct world *w = opaque;

	if (w->room == 0)
		return false;
	w->room--;
	w->out[w->nout++ % sizeof(w->out)] = (char)byte;
	return true;
}

static bool on_wait(void *opaque)
{
	struct world *w = opaque;

	w->waits++;
	w->room += 3;
	return w->waits < 100;
}

static int on_get(void *opaque)
{
	struct world *w = opaque;

	return *w->input ? (uint8_t)*w->input++ : -1;
}

static bool on_ready(void *opaque)
{
	return *((struct world *)opaque)->input;
}

static const struct pc_host host = {
	.kick = on_kick,
	.event = on_event,
	.console_put = on_put,
	.console_wait = on_wait,
	.console_get = on_get,
	.console_ready = on_ready,
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_int_equal(guest_memory_create(&w->ram, 16 << 20), 0);
	assert_int_equal(pc_init(&w->pc, &w->ram, 1, TSC_KHZ, &host, w), 0);
	w->event = -1;
	w->room = 100000;
	w->input = "";
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	pc_destroy(&w->pc);
	guest_memory_destroy(&w->ram);
	free(w);
	return 0;
}

static uint32_t in(struct world *w, uint16_t port, unsigned size)
{
	return pc_pio_read(&w->pc, 0, port, size);
}

static void out(struct world *w, uint16_t port, unsigned size, uint32_t val)
{
	pc_pio_write(&w->pc, 0, port, size, val);
}

static void ways_to_end(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t val;
		int event;
	} list[] = {
		{ 0xcf9, 0x02, -1 },
		{ 0xcf9, 0x06, POWER_RESET },
		{ 0x64, 0xfe, POWER_RESET },
		{ 0x64, 0xff, -1 }, /* pulses nothing */
		{ PVPANIC_PORT, PVPANIC_CRASHLOADED, POWER_CRASH_KERNEL },
		{ PVPANIC_PORT, PVPANIC_PANICKED, POWER_PANIC },
		{ 0xcfb, 0x01, -1 },
		{ 0x80, 0x06, -1 },
	};
	struct world *w = *state;

	out(w, PM1_CONTROL_PORT, 2, 0x0001 | PM1_SLEEP_TYPE(5));           /* no SLP_EN */
	out(w, PM1_CONTROL_PORT, 2, PM1_SLEEP_TYPE(3) | PM1_SLEEP_ENABLE); /* S3: there is none */
	assert_int_equal(w->event, -1);
	assert_int_equal(in(w, PM1_CONTROL_PORT, 2), 0x0001);
	out(w, PM1_CONTROL_PORT, 2, PM1_SLEEP_TYPE(5) | PM1_SLEEP_ENABLE);
	assert_int_equal(w->event, POWER_OFF);
	out(w, PM1_EVENT_PORT + 2, 2, 0x0020);
	assert_int_equal(in(w, PM1_EVENT_PORT + 2, 2), 0x0020);
	assert_int_equal(in(w, PM1_EVENT_PORT, 2), 0);
	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		w->event = -1;
		out(w, list[i].port, 1, list[i].val);
		assert_int_equal(w->event, list[i].event);
	}
	w->event = -1;
	out(w, 0x64, 1, 0xd1); /* write output port: reset line low */
	assert_int_equal(w->event, -1);
	out(w, 0x60, 1, 0xfe);
	assert_int_equal(w->event, POWER_RESET);
}

static void keyboard_controller(void **state)
{
	struct world *w = *state;

	assert_int_equal(in(w, 0x64, 1) & 3, 0); /* neither buffer full */
	out(w, 0x64, 1, 0xaa);
	assert_int_equal(in(w, 0x64, 1) & 1, 1);
	assert_int_equal(in(w, 0x60, 1), 0x55);
	assert_int_equal(in(w, 0x64, 1) & 1, 0);
	out(w, 0x64, 1, 0x60);
	out(w, 0x60, 1, 0x47);
	out(w, 0x64, 1, 0x20);
	assert_int_equal(in(w, 0x60, 1), 0x47);
}

static void unclaimed(void **state)
{
	struct world *w = *state;

	out(w, 0x21, 1, 0xfb);
	assert_int_equal(in(w, 0x21, 1), 0xff); /* no 8259: Linux takes the null PIC */
	assert_int_equal(in(w, 0x40, 1), 0xff);
	assert_int_equal(in(w, 0x1234, 4), 0xffffffff);
	assert_int_equal(in(w, 0xffff, 4), 0xffffffff);
	assert_int_equal(pc_mmio_read(&w->pc, 0, 0xfed00000, 4), 0xffffffff); /* no HPET */
	assert_int_equal(pc_mmio_read(&w->pc, 0, UINT64_MAX, 8), UINT64_MAX);
	pc_mmio_write(&w->pc, 0, 0xd0000000, 8, 0);
	assert_int_equal(pc_mmio_read(&w->pc, 0, 0xfee00030, 4), 0x50014);
}

static void wrmsr(struct world *w, uint32_t msr, uint64_t val)
{
	assert_true(pc_msr_write(&w->pc, 0, msr, val));
}

/* A key press, from the host to the CPU and through EOI back to the I/O APIC. */
static void input_interrupt(void **state)
{
	struct world *w = *state;
	struct lapic *l = &w->pc.lapic[0];
	uint64_t due;

	wrmsr(w, MSR_APIC_BASE, 0xfee00d00);
	wrmsr(w, 0x80f, 0x1ff);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE, 4, 0x18);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE + 0x10, 4, IOAPIC_LEVEL | 0x41);
	out(w, UART_COM1_PORT + UART_IER, 1, IER_RDI);
	out(w, UART_COM1_PORT + UART_FCR, 1, FCR_ENABLE);
	w->input = "hello, this is more than a FIFO holds";
	pc_console_input(&w->pc);
	assert_int_equal(lapic_pending(l), -1); /* nobody listens yet */
	out(w, UART_COM1_PORT + UART_MCR, 1, MCR_RTS | MCR_OUT2);
	pc_run_timers(&w->pc, 0);
	for (unsigned got = 0; got < 37;) {
		while (lapic_pending(l) < 0) {
			/* the line is busy: the deadline tells when there is more */
			due = pc_deadline(&w->pc, 0);
			assert_true(due != LAPIC_NO_DEADLINE);
			while (__rdtsc() < due)
				;
			pc_run_timers(&w->pc, 0);
		}
		assert_int_equal(lapic_accept(l), 0x41);
		while (in(w, UART_COM1_PORT + UART_LSR, 1) & LSR_DR)
			assert_int_equal(in(w, UART_COM1_PORT, 1),
					 "hello, this is more than a FIFO holds"[got++]);
		wrmsr(w, 0x80b, 0);
		assert_false(w->pc.ioapic.s.entry[4] & IOAPIC_REMOTE_IRR);
	}
	assert_int_equal(lapic_pending(l), -1);
	assert_int_equal(pc_deadline(&w->pc, 0), LAPIC_NO_DEADLINE);
}

static void kicks_itself(void **state)
{
	struct world *w = *state;

	wrmsr(w, MSR_APIC_BASE, 0xfee00d00);
	wrmsr(w, 0x80f, 0x1ff);
	pc_tpr_write(&w->pc, 0, 0xf0);
	w->kicks = 0;
	wrmsr(w, 0x83f, 0x55);
	assert_int_equal(w->kicks, 0);
	pc_tpr_write(&w->pc, 0, 0); /* now it is deliverable */
	assert_true(w->kicks > 0);
	lapic_accept(&w->pc.lapic[0]);
	wrmsr(w, 0x83f, 0x56);
	wrmsr(w, 0x80b, 0);
	w->kicks = 0;
	assert_int_equal(lapic_accept(&w->pc.lapic[0]), 0x56);
	/* IPIs: to all, and INIT which has nobody to reset */
	wrmsr(w, 0x80b, 0);
	wrmsr(w, 0x830, ICR_TO_ALL | 0x61);
	assert_int_equal(lapic_accept(&w->pc.lapic[0]), 0x61);
	wrmsr(w, 0x80b, 0);
	wrmsr(w, 0x830, ICR_TO_OTHERS | 0x61);
	wrmsr(w, 0x830, ICR_MODE_INIT | ICR_ASSERT);
	wrmsr(w, 0x830, ICR_MODE_STARTUP | 0x10);
	assert_int_equal(lapic_pending(&w->pc.lapic[0]), -1);
	assert_int_equal(w->pc.refused_ipis, 2);
	pc_msi(&w->pc, 0xfee00000, 0x71);
	assert_int_equal(lapic_accept(&w->pc.lapic[0]), 0x71);
	pc_msi(&w->pc, 0xfed00000, 0x81);
	pc_msi(&w->pc, 0xfee05000, 0x81); /* another CPU */
	assert_int_equal(lapic_pending(&w->pc.lapic[0]), -1);
}

/* ---- PCI devices ---- */

struct card {
	struct pci_device pci;
	struct world *w;
	bool locked; /* was the PC's lock held in the last call? */
	unsigned calls, resets, destroyed;
	bool interrupts; /* raises its pin when written to */
};

static bool is_locked(struct world *w)
{
	if (pthread_mutex_trylock(&w->pc.lock))
		return true;
	pthread_mutex_unlock(&w->pc.lock);
	return false;
}

static uint64_t card_read(void *device, uint64_t offset, unsigned size)
{
	struct card *c = device;

	c->calls++;
	c->locked = is_locked(c->w);
	return offset;
}

static void card_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct card *c = device;

	card_read(device, offset, size);
	if (!c->interrupts)
		return;
	pci_lock(&c->w->pc.pci);
	pci_set_intx(&c->pci, val);
	pci_unlock(&c->w->pc.pci);
}

static uint32_t card_window_read(struct pci_device *pci, unsigned at, unsigned size)
{
	return (uint32_t)card_read(pci->opaque, 0x50 + at, size);
}

static void card_window_write(struct pci_device *pci, unsigned at, unsigned size, uint32_t val)
{
	card_read(pci->opaque, 0x50 + at, size);
}

static void card_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	card_read(pci->opaque, offset, size);
}

static void card_reset(struct pci_device *pci)
{
	struct card *c = pci->opaque;

	c->resets++;
	c->locked = is_locked(c->w);
}

static void card_destroy(struct pci_device *pci)
{
	((struct card *)pci->opaque)->destroyed++;
}

static const struct bus_ops card_ops = { .read = card_read, .write = card_write };
static const struct bus_ops alone_ops = { .read = card_read, .write = card_write, .unlocked = true };

/* BAR 0 under the lock at 0xc0000000, BAR 1 without at 0xc0001000, I/O BARs at 0xc000 and 0xc100. */
static void plug(struct world *w, struct card *c, unsigned slot)
{
	static const uint32_t base[] = { 0xc0000000, 0xc0001000, 0xc000, 0xc100 };

	c->w = w;
	pci_device_init(&c->pci, "card", 0x1234, 0x5678, 0xff0000, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pci_add_bar(&c->pci, i, i < 2 ? PCI_BAR_MEM32 : PCI_BAR_IO,
					     i < 2 ? 4096 : 64, i & 1 ? &alone_ops : &card_ops, c),
				 0);
		pci_set(&c->pci, PCI_BAR0 + 4 * i, 4, base[i] + slot * 0x10000 * (i < 2));
	}
	pci_set(&c->pci, PCI_INT_PIN, 1, 1);
	c->pci.opaque = c;
	c->pci.window = 0x50;
	c->pci.window_read = card_window_read;
	c->pci.window_write = card_window_write;
	c->pci.written = card_written;
	c->pci.reset = card_reset;
	c->pci.destroy = card_destroy;
	assert_int_equal(pci_attach(&w->pc.pci, &c->pci, slot), 0);
	out(w, 0xcf8, 4, 0x80000004 | slot << 11);
	out(w, 0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	assert_true(c->locked); /* written() */
}

/* Who is called with the lock of the PC, and who without. */
static void locks(void **state)
{
	struct world *w = *state;
	struct card c = { 0 };

	plug(w, &c, 2);
	for (unsigned i = 0; i < 2; i++) {
		c.calls = 0;
		assert_int_equal(pc_mmio_read(&w->pc, 0, 0xc0020004 + i * 0x1000, 4), 4);
		assert_int_equal(c.locked, !i);
		pc_mmio_write(&w->pc, 0, 0xc0020000 + i * 0x1000, 4, 1);
		assert_int_equal(c.locked, !i);
		assert_int_equal(in(w, (uint16_t)(0xc008 + i * 0x100), 1), 8);
		assert_int_equal(c.locked, !i);
		out(w, (uint16_t)(0xc000 + i * 0x100), 1, 1);
		assert_int_equal(c.locked, !i);
		assert_int_equal(c.calls, 4);
	}
	/* the window of configuration space, and the rest of it */
	out(w, 0xcf8, 4, 0x80001050);
	assert_int_equal(in(w, 0xcfc, 4), 0x50);
	assert_false(c.locked);
	assert_int_equal(in(w, 0xcfe, 2), 0x52);
	out(w, 0xcfc, 4, 0);
	assert_false(c.locked);
	out(w, 0xcf8, 4, 0x80001054);
	out(w, 0xcfc, 4, 0);
	assert_true(c.locked);
	pc_reset(&w->pc);
	assert_int_equal(c.resets, 1);
	assert_false(c.locked);
	c.calls = 0;
	assert_int_equal(pc_mmio_read(&w->pc, 0, 0xc0021004, 4), 0xffffffff);
	assert_int_equal(c.calls, 0);
	pci_destroy(&w->pc.pci);
	assert_int_equal(c.destroyed, 1);
}

/* A level from two devices on one pin of the I/O APIC, through EOI and back (82093AA, PCI 3.0, 2.2.6). */
static void pci_interrupt(void **state)
{
	struct world *w = *state;
	struct lapic *l = &w->pc.lapic[0];
	struct card a = { .interrupts = true }, b = { .interrupts = true };

	plug(w, &a, 3);
	plug(w, &b, 11);
	wrmsr(w, MSR_APIC_BASE, 0xfee00d00);
	wrmsr(w, 0x80f, 0x1ff);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE, 4, 0x10 + 2 * 19);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE + 0x10, 4, IOAPIC_LEVEL | IOAPIC_LOW | 0x52);
	w->kicks = 0;
	pc_mmio_write(&w->pc, 0, 0xc0031000, 4, 1);
	assert_true(w->kicks > 0);
	assert_int_equal(lapic_accept(l), 0x52);
	/* the second one while the first is in service: no new message */
	pc_mmio_write(&w->pc, 0, 0xc00b1000, 4, 1);
	assert_int_equal(lapic_pending(l), -1);
	/* the first driver is done, the second was not asked: comes again after EOI */
	pc_mmio_write(&w->pc, 0, 0xc0031000, 4, 0);
	wrmsr(w, 0x80b, 0);
	assert_int_equal(lapic_accept(l), 0x52);
	pc_mmio_write(&w->pc, 0, 0xc00b1000, 4, 0);
	wrmsr(w, 0x80b, 0);
	assert_int_equal(lapic_pending(l), -1);
	assert_false(w->pc.ioapic.s.entry[19] & IOAPIC_REMOTE_IRR);
	/* a reset drops the level */
	pc_mmio_write(&w->pc, 0, 0xc0031000, 4, 1);
	pc_reset(&w->pc);
	assert_int_equal(w->pc.ioapic.s.lines, 0);
	assert_int_equal(lapic_pending(l), -1);
	pci_destroy(&w->pc.pci); /* the cards are gone when we return */
}

/* Messages from a thread that is not the vCPU's. */
static void *sends(void *opaque)
{
	struct world *w = opaque;

	for (unsigned i = 0; i < 100000; i++)
		pc_msi(&w->pc, 0xfee00000, 0x31 + i % 64);
	return NULL;
}

static void messages_from_elsewhere(void **state)
{
	struct world *w = *state;
	struct lapic *l = &w->pc.lapic[0];
	unsigned got[256] = { 0 };
	bool last = false;
	pthread_t thread;
	int v;

	wrmsr(w, MSR_APIC_BASE, 0xfee00d00);
	wrmsr(w, 0x80f, 0x1ff);
	assert_int_equal(pthread_create(&thread, NULL, sends, w), 0);
	for (unsigned idle = 0; !last || lapic_pending(l) >= 0;) {
		v = lapic_accept(l);
		if (v < 0) {
			/* Once the sender is gone, one more look */
			if (++idle % 1024 == 0 && pthread_tryjoin_np(thread, NULL) == 0)
				last = true;
			continue;
		}
		got[v]++;
		wrmsr(w, 0x80b, 0);
	}
	/* none is lost, though several may have become one */
	for (unsigned i = 0; i < 64; i++)
		assert_true(got[0x31 + i] > 0 && got[0x31 + i] <= 100000 / 64 + 1);
}

static void output_waits_for_the_host(void **state)
{
	struct world *w = *state;

	w->room = 4;
	for (unsigned i = 0; i < 26; i++)
		out(w, UART_COM1_PORT, 1, 'a' + i);
	assert_memory_equal(w->out, "abcdefghijklmnopqrstuvwxyz", 26);
	assert_true(w->waits > 0);
	/* the machine stops while nobody reads: no endless wait */
	w->waits = 1000;
	w->room = 0;
	out(w, UART_COM1_PORT, 1, '!');
}

static void reset_is_clean(void **state)
{
	struct world *w = *state;
	uint64_t val;

	wrmsr(w, MSR_APIC_BASE, 0xfee00d00);
	wrmsr(w, 0x80f, 0x1ff);
	wrmsr(w, 0x83f, 0x55);
	out(w, UART_COM1_PORT + UART_SCR, 1, 7);
	out(w, 0xcf8, 4, 0x80000000);
	wrmsr(w, MSR_KVM_SYSTEM_TIME_NEW, 0x1001);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE, 4, 0x18);
	pc_mmio_write(&w->pc, 0, IOAPIC_BASE + 0x10, 4, 0x41);
	pc_reset(&w->pc);
	assert_int_equal(lapic_pending(&w->pc.lapic[0]), -1);
	assert_true(pc_msr_read(&w->pc, 0, MSR_APIC_BASE, &val));
	assert_int_equal(val, 0xfee00900);
	assert_int_equal(in(w, UART_COM1_PORT + UART_SCR, 1), 0);
	assert_int_equal(in(w, 0xcf8, 4), 0);
	assert_true(pc_msr_read(&w->pc, 0, MSR_KVM_SYSTEM_TIME_NEW, &val));
	assert_int_equal(val, 0);
	assert_int_equal(w->pc.ioapic.s.entry[4], IOAPIC_MASKED);
}

static void scale(void **state)
{
	static const uint32_t khz[] = { 1,       1000,    999999,  1000000, 1000001,
					1999999, 2000000, 2596148, 3700000, 10000000 };

	for (unsigned i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		struct pvclock_scale s = pvclock_make_scale(khz[i]);
		/* an hour's worth of cycles must make an hour, to a few parts in 10^9 */
		uint64_t ns = pvclock_to_ns(s, (uint64_t)khz[i] * 1000 * 3600);
		double error = ((double)ns - 3600e9) / 3600e9;

		assert_true(error < 3e-9 && error > -3e-9);
		/* pvclock_tsc_khz() of the guest must find what we meant */
		uint64_t back = (1000000ull << 32) / s.mul;

		back = s.shift < 0 ? back << -s.shift : back >> s.shift;
		assert_true(back + 2 >= khz[i] && back <= khz[i] + 2ull);
	}
}

static void kvm_clock(void **state)
{
	struct world *w = *state;
	struct {
		uint32_t version, pad;
		uint64_t tsc, time;
		uint32_t mul;
		int8_t shift;
		uint8_t flags, pad2[2];
	} info;
	struct {
		uint32_t version, sec, nsec;
	} wall;
	uint64_t msr;

	wrmsr(w, MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
	memcpy(&info, guest_range(&w->ram, 0x2000, sizeof(info)), sizeof(info));
	assert_true(info.version != 0 && info.version % 2 == 0);
	assert_int_equal(info.flags, 1);
	assert_int_equal(info.mul, w->pc.scale.mul);
	assert_true(info.tsc >= w->pc.clock.start_tsc && info.tsc <= __rdtsc());
	assert_int_equal(info.time, pvclock_to_ns(w->pc.scale, info.tsc - w->pc.clock.start_tsc));
	assert_true(pc_msr_read(&w->pc, 0, MSR_KVM_SYSTEM_TIME, &msr));
	assert_int_equal(msr, 0x2001);

	wrmsr(w, MSR_KVM_WALL_CLOCK_NEW, 0x3000);
	memcpy(&wall, guest_range(&w->ram, 0x3000, sizeof(wall)), sizeof(wall));
	assert_true(wall.version % 2 == 0);
	assert_true(llabs((long long)wall.sec - (long long)time(NULL)) <= 2);
	assert_true(wall.nsec < 1000000000);

	/* disabled, outside RAM, at its very end, misaligned: no write, no crash */
	wrmsr(w, MSR_KVM_SYSTEM_TIME_NEW, 0x4000);
	assert_int_equal(*(uint32_t *)guest_range(&w->ram, 0x4000, 4), 0);
	wrmsr(w, MSR_KVM_SYSTEM_TIME_NEW, 0xfffffffffffffff1);
	wrmsr(w, MSR_KVM_SYSTEM_TIME_NEW, (16 << 20) - 16 + 1);
	wrmsr(w, MSR_KVM_WALL_CLOCK, (16 << 20) - 8);
	wrmsr(w, MSR_KVM_WALL_CLOCK, UINT64_MAX - 3);
	assert_false(pc_msr_write(&w->pc, 0, 0x4b564d02, 0)); /* not offered */
	assert_false(pc_msr_read(&w->pc, 0, 0x4b564d04, &msr));
}

/* ---- ACPI ---- */

static uint8_t sum(const uint8_t *p, uint32_t len)
{
	uint8_t s = 0;

	for (uint32_t i = 0; i < len; i++)
		s += p[i];
	return s;
}

static const uint8_t *table(struct world *w, uint64_t addr, const char *signature)
{
	const uint8_t *p = guest_range(&w->ram, addr, 36);
	uint32_t len;

	assert_non_null(p);
	assert_memory_equal(p, signature, 4);
	memcpy(&len, p + 4, 4);
	assert_true(addr >= ACPI_TABLES_BASE && addr + len <= ACPI_TABLES_END);
	assert_int_equal(sum(p, len), 0);
	return p;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

/* iasl -d must find nothing to complain about, and in the DSDT what we put there. */
static void disassemble(const uint8_t *p, const char *name, const char *expect)
{
	char dir[] = "/tmp/lguest-acpi-XXXXXX", cmd[256], text[65536];
	uint32_t len;
	size_t n;
	FILE *f;

	memcpy(&len, p + 4, 4);
	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "%s/%s.aml", dir, name);
	f = fopen(cmd, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	fclose(f);
	snprintf(cmd, sizeof(cmd), "cd %s && iasl -d %s.aml >log 2>&1 && cat %s.dsl log", dir, name, name);
	f = popen(cmd, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	assert_int_equal(pclose(f), 0);
	assert_null(strstr(text, "Incorrect checksum"));
	assert_null(strstr(text, "Unknown"));
	assert_null(strstr(text, "Invalid"));
	assert_non_null(strstr(text, expect));
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

static void acpi_tables(void **state)
{
	struct world *w = *state;
	const uint8_t *rsdp, *xsdt, *fadt, *madt, *dsdt;
	uint64_t addr = acpi_build(&w->ram, 1);

	assert_int_equal(addr, ACPI_TABLES_BASE);
	rsdp = guest_range(&w->ram, addr, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	xsdt = table(w, get64(rsdp + 24), "XSDT");
	fadt = table(w, get64(xsdt + 36), "FACP");
	madt = table(w, get64(xsdt + 44), "APIC");
	dsdt = table(w, get64(fadt + 140), "DSDT");
	/* reset register and its value, PM1 event and control */
	assert_int_equal(get64(fadt + 116 + 4), 0xcf9);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(get64(fadt + 148 + 4), PM1_EVENT_PORT);
	assert_int_equal(get64(fadt + 172 + 4), PM1_CONTROL_PORT);
	assert_memory_equal(guest_range(&w->ram, *(const uint32_t *)(fadt + 36), 64), "FACS", 4);
	assert_int_equal(*(const uint32_t *)(fadt + 36) % 64, 0);
	disassemble(fadt, "fadt", "Hardware Reduced (V5) : 0");
	disassemble(madt, "madt", "[I/O APIC]");
	disassemble(xsdt, "xsdt", "Extended System Description Table");
	disassemble(dsdt, "dsdt", "PNP0501");
	/* many CPUs; too many; no room */
	assert_int_equal(acpi_build(&w->ram, 255), ACPI_TABLES_BASE);
	madt = table(w, get64(table(w, get64(rsdp + 24), "XSDT") + 44), "APIC");
	assert_int_equal(madt[44 + 254 * 8 + 3], 254);
	assert_int_equal(acpi_build(&w->ram, 256), 0);
	assert_int_equal(acpi_build(&w->ram, 0), 0);
}

static void acpi_small_memory(void **state)
{
	struct guest_memory small;

	assert_int_equal(guest_memory_create(&small, ACPI_TABLES_END - 4096), 0);
	assert_int_equal(acpi_build(&small, 1), 0);
	guest_memory_destroy(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ways_to_end, setup, teardown),
		cmocka_unit_test_setup_teardown(keyboard_controller, setup, teardown),
		cmocka_unit_test_setup_teardown(unclaimed, setup, teardown),
		cmocka_unit_test_setup_teardown(input_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(kicks_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(locks, setup, teardown),
		cmocka_unit_test_setup_teardown(pci_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(messages_from_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(output_waits_for_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_is_clean, setup, teardown),
		cmocka_unit_test(scale),
		cmocka_unit_test_setup_teardown(kvm_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(acpi_tables, setup, teardown),
		cmocka_unit_test(acpi_small_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
