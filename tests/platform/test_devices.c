/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus, I/O APIC, UART, clock and PCI, each on its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <errno.h>

#include "platform/bus.h"
#include "platform/ioapic.h"
#include "platform/pci.h"
#include "platform/rtc.h"
#include "platform/uart.h"

/* ---- bus ---- */

struct probe {
	uint64_t offset, val;
	unsigned size, reads, writes;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
	struct probe *p = device;

	p->reads++;
	p->offset = offset;
	p->size = size;
	return 0x1122334455667788;
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct probe *p = device;

	p->writes++;
	p->offset = offset;
	p->size = size;
	p->val = val;
}

static const struct bus_ops probe_ops = { .read = probe_read, .write = probe_write };

static void bus_ranges(void **state)
{
	struct probe a = { 0 }, b = { 0 };
	struct bus bus;

	bus_init(&bus, "address", NULL, NULL);
	assert_int_equal(bus_add(&bus, 0x1000, 0x10, &probe_ops, &a), 0);
	assert_int_equal(bus_add(&bus, 0x1010, 4, &probe_ops, &b), 0);
	assert_int_equal(bus_add(&bus, 0x100f, 1, &probe_ops, &b), -EEXIST);
	assert_int_equal(bus_add(&bus, 0xff0, 0x11, &probe_ops, &b), -EEXIST);
	assert_int_equal(bus_add(&bus, 0xff0, 0x100, &probe_ops, &b), -EEXIST);
	assert_int_equal(bus_add(&bus, 0, 0, &probe_ops, &b), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &probe_ops, &b), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX - 7, 8, &probe_ops, &b), 0);
	assert_int_equal(bus_add(&bus, 0xff0, 0x10, &probe_ops, &b), 0);

	assert_int_equal(bus_read(&bus, 0x100c, 4), 0x55667788);
	assert_int_equal(a.offset, 0xc);
	assert_int_equal(a.size, 4);
	/* over the end of a range, also into the next one */
	assert_int_equal(bus_read(&bus, 0x100e, 4), 0xffffffff);
	assert_int_equal(bus_read(&bus, 0x1012, 8), UINT64_MAX);
	assert_int_equal(a.reads + b.reads, 1);
	assert_int_equal(bus_read(&bus, UINT64_MAX - 7, 8), 0x1122334455667788);
	assert_int_equal(bus_read(&bus, UINT64_MAX, 4), 0xffffffff);
	assert_int_equal(bus_read(&bus, 0, 1), 0xff);

	bus_write(&bus, 0x1010, 2, 0xabcdef);
	assert_int_equal(b.val, 0xcdef);
	bus_remove(&bus, 0x1000);
	bus_remove(&bus, 0x1001); /* no such: nothing */
	assert_int_equal(bus_read(&bus, 0x1000, 1), 0xff);
	assert_int_equal(bus.count, 3);
	assert_int_equal(bus.unclaimed, 5);
}

static void bus_full(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "port", NULL, NULL);
	/* from both ends, so that insertion has to shift */
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++)
		assert_int_equal(bus_add(&bus, (i & 1 ? 1000 - i : i) * 16, 16, &probe_ops, &p), 0);
	assert_int_equal(bus_add(&bus, 0x100000, 16, &probe_ops, &p), -ENOSPC);
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++) {
		bus_read(&bus, (i & 1 ? 1000 - i : i) * 16 + i % 13, 1);
		assert_int_equal(p.offset, i % 13);
		assert_int_equal(p.reads, i + 1);
	}
}

/* The bus remembers where it was: that must not outlive what was there. */
static void bus_memory(void **state)
{
	static const struct bus_ops alone_ops = { .read = probe_read, .unlocked = true };
	struct probe a = { 0 }, b = { 0 };
	struct bus_hit hit;
	struct bus bus;

	bus_init(&bus, "address", NULL, NULL);
	assert_int_equal(bus_read(&bus, 0, 1), 0xff);
	assert_int_equal(bus_add(&bus, 0x3000, 0x10, &probe_ops, &a), 0);
	bus_read(&bus, 0x3000, 1);
	/* something in front of it, then in its place */
	assert_int_equal(bus_add(&bus, 0x2000, 0x10, &probe_ops, &b), 0);
	bus_read(&bus, 0x3004, 1);
	assert_int_equal(a.offset, 4);
	assert_int_equal(bus_read(&bus, 0x2ffc, 8), UINT64_MAX);
	bus_remove(&bus, 0x3000);
	assert_int_equal(bus_read(&bus, 0x3004, 1), 0xff);
	bus_read(&bus, 0x2004, 1);
	bus_remove(&bus, 0x2000);
	assert_int_equal(bus_read(&bus, 0x2004, 1), 0xff);
	assert_int_equal(a.reads + b.reads, 3);

	/* in two steps: the call may come when the range is gone */
	assert_int_equal(bus_add(&bus, 0x2000, 0x10, &alone_ops, &b), 0);
	hit = bus_find(&bus, 0x2008, 4, true);
	assert_true(hit.ops->unlocked && hit.device == &b && hit.offset == 8);
	bus_remove(&bus, 0x2000);
	assert_int_equal(bus_hit_read(&hit, 2), 0x7788);
	bus_hit_write(&hit, 2, 1); /* it takes none */
	hit = bus_find(&bus, 0x2008, 4, true);
	assert_false(hit.ops->unlocked);
	assert_int_equal(bus_hit_read(&hit, 4), 0xffffffff);
	bus_hit_write(&hit, 2, 1);
}

static char last_notice[200];

static void keep_notice(void *opaque, const char *line)
{
	strncpy(last_notice, line, sizeof(last_notice) - 1);
	++*(unsigned *)opaque;
}

static void bus_notices(void **state)
{
	unsigned notices = 0;
	struct bus bus;

	bus_init(&bus, "port", keep_notice, &notices);
	bus_read(&bus, 0x1234, 2);
	assert_string_equal(last_notice, "guest read unclaimed port 0x1234, 2 bytes");
	bus_write(&bus, 0x55, 1, 7);
	assert_string_equal(last_notice, "guest wrote unclaimed port 0x55, 1 byte");
	/* A guest that does nothing else is not printed line by line. */
	for (unsigned i = 0; i < 100000; i++)
		bus_read(&bus, 0x1234, 1);
	assert_true(notices < 50);
	assert_int_equal(bus.unclaimed, 100002);
}

/* ---- I/O APIC ---- */

struct messages {
	unsigned count;
	uint8_t dest, vector;
	bool logical, level;
};

static void take_message(void *opaque, uint8_t dest, bool logical, unsigned mode, uint8_t vector, bool level)
{
	struct messages *m = opaque;

	m->count++;
	m->dest = dest;
	m->logical = logical;
	m->vector = vector;
	m->level = level;
}

static void io_write(struct ioapic *io, uint32_t reg, uint32_t val)
{
	ioapic_bus_ops.write(io, 0, 4, reg);
	ioapic_bus_ops.write(io, 0x10, 4, val);
}

static uint32_t io_read(struct ioapic *io, uint32_t reg)
{
	ioapic_bus_ops.write(io, 0, 4, reg);
	return (uint32_t)ioapic_bus_ops.read(io, 0x10, 4);
}

static void ioapic_registers(void **state)
{
	struct messages m = { 0 };
	struct ioapic io = { .deliver = take_message, .opaque = &m };

	ioapic_reset(&io);
	assert_int_equal(io_read(&io, 1), 0x170020);
	io_write(&io, 0, 0xffffffff);
	assert_int_equal(io_read(&io, 0), 0x0f000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		assert_int_equal(io_read(&io, 0x10 + 2 * pin), IOAPIC_MASKED);
	io_write(&io, 0x12, 0xffffffff);
	io_write(&io, 0x13, 0xffffffff);
	assert_int_equal(io_read(&io, 0x12), 0x1ffff & ~(IOAPIC_STATUS | IOAPIC_REMOTE_IRR));
	assert_int_equal(io_read(&io, 0x13), 0xff000000);
	io_write(&io, 0x10 + 2 * IOAPIC_PINS, 0x31); /* behind the last pin */
	assert_int_equal(io_read(&io, 0x10 + 2 * IOAPIC_PINS), 0);
	assert_int_equal(m.count, 0);
}

static void ioapic_edge(void **state)
{
	struct messages m = { 0 };
	struct ioapic io = { .deliver = take_message, .opaque = &m };

	ioapic_reset(&io);
	ioapic_set_line(&io, 4, true); /* masked: lost */
	io_write(&io, 0x19, 0x07000000);
	io_write(&io, 0x18, IOAPIC_LOGICAL | 0x34);
	assert_int_equal(m.count, 0);
	ioapic_set_line(&io, 4, true); /* no rise */
	assert_int_equal(m.count, 0);
	ioapic_set_line(&io, 4, false);
	ioapic_set_line(&io, 4, true);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.vector, 0x34);
	assert_int_equal(m.dest, 7);
	assert_true(m.logical);
	assert_false(m.level);
	ioapic_set_line(&io, IOAPIC_PINS, true);
	ioapic_set_line(&io, 4000000000u, true);
	assert_int_equal(m.count, 1);
}

static void ioapic_level(void **state)
{
	struct messages m = { 0 };
	struct ioapic io = { .deliver = take_message, .opaque = &m };

	ioapic_reset(&io);
	ioapic_set_line(&io, 9, true);
	io_write(&io, 0x22, IOAPIC_LEVEL | 0x51); /* unmasking finds it high */
	assert_int_equal(m.count, 1);
	assert_true(m.level);
	assert_true(io_read(&io, 0x22) & IOAPIC_REMOTE_IRR);
	ioapic_set_line(&io, 9, false);
	ioapic_set_line(&io, 9, true); /* not again before the EOI */
	assert_int_equal(m.count, 1);
	ioapic_eoi(&io, 0x50); /* somebody else's */
	assert_int_equal(m.count, 1);
	ioapic_eoi(&io, 0x51);
	assert_int_equal(m.count, 2);
	ioapic_set_line(&io, 9, false);
	ioapic_bus_ops.write(&io, 0x40, 4, 0x51); /* the EOI register does it, too */
	assert_int_equal(m.count, 2);
	assert_false(io_read(&io, 0x22) & IOAPIC_REMOTE_IRR);
	/* switching to edge drops remote IRR: Linux relies on it */
	ioapic_set_line(&io, 9, true);
	assert_int_equal(m.count, 3);
	io_write(&io, 0x22, IOAPIC_MASKED | 0x51);
	assert_false(io_read(&io, 0x22) & IOAPIC_REMOTE_IRR);
}

/* ---- UART ---- */

struct line {
	struct uart u;
	uint8_t sent[64];
	unsigned nsent, room; /* how much more the host takes */
	const char *input;
	unsigned rooms;
	bool irq;
};

static bool line_put(void *opaque, uint8_t byte)
{
	struct line *l = opaque;

	if (l->room == 0)
		return false;
	l->room--;
	l->sent[l->nsent++ % sizeof(l->sent)] = byte;
	return true;
}

static int line_get(void *opaque)
{
	struct line *l = opaque;

	return *l->input ? (uint8_t)*l->input++ : -1;
}

static void line_room(void *opaque)
{
	((struct line *)opaque)->rooms++;
}

static void line_irq(void *opaque, bool high)
{
	((struct line *)opaque)->irq = high;
}

static const struct uart_ops line_ops = {
	.put = line_put, .get = line_get, .room = line_room, .irq = line_irq
};

static int uart_setup(void **state)
{
	static struct line l;

	memset(&l, 0, sizeof(l));
	l.u.ops = &line_ops;
	l.u.opaque = &l;
	l.room = 1000;
	l.input = "";
	uart_reset(&l.u);
	*state = &l;
	return 0;
}

static uint8_t in(struct line *l, unsigned reg)
{
	return (uint8_t)uart_bus_ops.read(&l->u, reg, 1);
}

static void out(struct line *l, unsigned reg, uint8_t val)
{
	uart_bus_ops.write(&l->u, reg, 1, val);
}

static void uart_registers(void **state)
{
	struct line *l = *state;

	assert_int_equal(in(l, UART_LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(l, UART_IIR), IIR_NONE);
	assert_int_equal(in(l, UART_MSR), MSR_CTS | MSR_DSR | MSR_DCD);
	out(l, UART_SCR, 0xa5);
	assert_int_equal(in(l, UART_SCR), 0xa5);
	out(l, UART_IER, 0xff);
	assert_int_equal(in(l, UART_IER), 0x0f);
	out(l, UART_LCR, LCR_DLAB | 3);
	out(l, UART_DLL, 1);
	out(l, UART_DLM, 2);
	assert_int_equal(in(l, UART_DLL), 1);
	assert_int_equal(in(l, UART_DLM), 2);
	out(l, UART_LCR, 3);
	assert_int_equal(in(l, UART_IER), 0x0f);
	assert_int_equal(l->nsent, 0);
	/* Linux tells a 16550A by both FIFO bits */
	out(l, UART_FCR, FCR_ENABLE);
	assert_int_equal(in(l, UART_IIR) & IIR_FIFO, IIR_FIFO);
	out(l, UART_FCR, 0);
	assert_int_equal(in(l, UART_IIR) & IIR_FIFO, 0);
}

/* The dance of serial8250_do_startup(). */
static void uart_thre(void **state)
{
	struct line *l = *state;

	out(l, UART_MCR, MCR_OUT2);
	out(l, UART_IER, IER_THRI);
	assert_true(l->irq);
	assert_int_equal(in(l, UART_IIR), IIR_THRI);
	assert_false(l->irq); /* reading it acknowledges */
	assert_int_equal(in(l, UART_IIR), IIR_NONE);
	out(l, UART_IER, 0);
	out(l, UART_IER, IER_THRI); /* and comes back when enabled again */
	assert_int_equal(in(l, UART_IIR), IIR_THRI);
	out(l, UART_IER, IER_THRI); /* but not when it was enabled before */
	assert_int_equal(in(l, UART_IIR), IIR_NONE);
	out(l, UART_THR, 'x');
	assert_int_equal(in(l, UART_IIR), IIR_THRI);
	assert_int_equal(l->sent[0], 'x');
	/* without OUT2 the line stays low */
	out(l, UART_MCR, 0);
	out(l, UART_THR, 'y');
	assert_false(l->irq);
	assert_int_equal(in(l, UART_IIR), IIR_THRI);
}

static void uart_receive(void **state)
{
	struct line *l = *state;

	l->input = "0123456789abcdefghij";
	out(l, UART_FCR, FCR_ENABLE | 0x80); /* trigger at 8 */
	out(l, UART_IER, IER_RDI);
	uart_fill(&l->u); /* RTS is off */
	assert_int_equal(in(l, UART_LSR) & LSR_DR, 0);
	assert_int_equal(l->rooms, 0);
	out(l, UART_MCR, MCR_RTS | MCR_OUT2);
	assert_int_equal(l->rooms, 1);
	uart_fill(&l->u);
	assert_true(l->irq);
	assert_int_equal(in(l, UART_IIR), IIR_RDI | IIR_FIFO);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(in(l, UART_RBR), "0123456789abcdefghij"[i]);
	/* seven are left: below the trigger, but still an interrupt */
	assert_int_equal(in(l, UART_IIR), IIR_TIMEOUT | IIR_FIFO);
	assert_int_equal(l->rooms, 1);
	for (unsigned i = 9; i < 16; i++)
		assert_int_equal(in(l, UART_RBR), "0123456789abcdefghij"[i]);
	assert_int_equal(l->rooms, 2); /* empty: wants more */
	assert_false(l->irq);
	assert_int_equal(in(l, UART_RBR), 0);
	uart_fill(&l->u);
	for (unsigned i = 16; i < 20; i++)
		assert_int_equal(in(l, UART_RBR), "0123456789abcdefghij"[i]);
	/* without FIFO one byte at a time */
	out(l, UART_FCR, 0);
	l->input = "xy";
	uart_fill(&l->u);
	assert_int_equal(*l->input, 'y');
	assert_int_equal(in(l, UART_IIR), IIR_RDI);
	assert_int_equal(in(l, UART_LSR) & LSR_OE, 0);
	/* clearing the FIFO */
	out(l, UART_FCR, FCR_ENABLE);
	assert_int_equal(in(l, UART_LSR) & LSR_DR, 0);
}

static void uart_loopback(void **state)
{
	struct line *l = *state;

	in(l, UART_MSR);
	out(l, UART_MCR, MCR_LOOP | 0x0a); /* RTS and OUT2, as autoconfig() does */
	assert_int_equal(in(l, UART_MSR) & 0xf0, MSR_DCD | MSR_CTS);
	out(l, UART_MCR, MCR_LOOP | MCR_DTR | MCR_OUT1);
	assert_int_equal(in(l, UART_MSR),
			 MSR_DSR | MSR_RI | 0x0b); /* deltas: DCD, DSR, CTS; RI rose: no TERI */
	out(l, UART_MCR, MCR_LOOP);
	assert_int_equal(in(l, UART_MSR), MSR_TERI | 0x02);
	out(l, UART_THR, 'L');
	assert_int_equal(l->nsent, 0);
	assert_int_equal(in(l, UART_LSR) & LSR_DR, LSR_DR);
	assert_int_equal(in(l, UART_RBR), 'L');
	/* overrun: no FIFO, two bytes */
	out(l, UART_THR, 'a');
	out(l, UART_THR, 'b');
	assert_int_equal(in(l, UART_LSR) & LSR_OE, LSR_OE);
	assert_int_equal(in(l, UART_LSR) & LSR_OE, 0);
	assert_int_equal(in(l, UART_RBR), 'a');
}

static void uart_host_full(void **state)
{
	struct line *l = *state;

	out(l, UART_MCR, MCR_OUT2);
	out(l, UART_FCR, FCR_ENABLE);
	out(l, UART_IER, IER_THRI);
	in(l, UART_IIR);
	l->room = 1;
	out(l, UART_THR, '1');
	in(l, UART_IIR);
	out(l, UART_THR, '2');
	out(l, UART_THR, '3');
	assert_int_equal(in(l, UART_LSR), 0);
	assert_false(l->irq);
	assert_false(uart_drain(&l->u));
	l->room = 1;
	assert_false(uart_drain(&l->u));
	out(l, UART_FCR, FCR_ENABLE | FCR_CLEAR_TX); /* output is never thrown away */
	l->room = 5;
	assert_true(uart_drain(&l->u));
	assert_true(l->irq);
	assert_memory_equal(l->sent, "123", 3);
	assert_int_equal(in(l, UART_LSR), LSR_THRE | LSR_TEMT);
}

/* ---- clock ---- */

static void at(void *opaque, struct timespec *ts)
{
	*ts = *(struct timespec *)opaque;
}

static uint8_t cmos(struct rtc *r, uint8_t reg)
{
	rtc_bus_ops.write(r, 0, 1, reg);
	return (uint8_t)rtc_bus_ops.read(r, 1, 1);
}

static void set_cmos(struct rtc *r, uint8_t reg, uint8_t val)
{
	rtc_bus_ops.write(r, 0, 1, reg);
	rtc_bus_ops.write(r, 1, 1, val);
}

static void rtc_time(void **state)
{
	struct timespec ts = { .tv_sec = 1709210096 }; /* 2024-02-29 12:34:56 UTC, a Thursday */
	struct rtc r = { .now = at, .opaque = &ts };

	rtc_reset(&r);
	assert_int_equal(cmos(&r, 0), 0x56);
	assert_int_equal(cmos(&r, 2), 0x34);
	assert_int_equal(cmos(&r, 4), 0x12);
	assert_int_equal(cmos(&r, 6), 5);
	assert_int_equal(cmos(&r, 7), 0x29);
	assert_int_equal(cmos(&r, 8), 0x02);
	assert_int_equal(cmos(&r, 9), 0x24);
	assert_int_equal(cmos(&r, 0x32), 0x20);
	assert_int_equal(cmos(&r, 13), 0x80);
	assert_int_equal(cmos(&r, 0x8d), 0x80); /* bit 7 of the index is the NMI mask */
	set_cmos(&r, 11, 0x06);                 /* binary */
	assert_int_equal(cmos(&r, 0), 56);
	assert_int_equal(cmos(&r, 9), 24);
	set_cmos(&r, 11, 0x04); /* binary, 12 hours */
	assert_int_equal(cmos(&r, 4), 0x8c);
	ts.tv_sec -= 12 * 3600;
	assert_int_equal(cmos(&r, 4), 12);
	ts.tv_sec += 3600;
	assert_int_equal(cmos(&r, 4), 1);
}

static void rtc_flags(void **state)
{
	struct timespec ts = { .tv_sec = 1709210096 };
	struct rtc r = { .now = at, .opaque = &ts };

	rtc_reset(&r);
	assert_int_equal(cmos(&r, 10), 0x26);
	ts.tv_nsec = 999800000;
	assert_int_equal(cmos(&r, 10), 0xa6);
	set_cmos(&r, 11, 0x82); /* SET stops updates */
	assert_int_equal(cmos(&r, 10), 0x26);
	set_cmos(&r, 11, 0x02);
	cmos(&r, 12);
	assert_int_equal(cmos(&r, 12), 0);
	ts.tv_sec++;
	assert_int_equal(cmos(&r, 12), 0x10);
	assert_int_equal(cmos(&r, 12), 0);
}

static void rtc_set(void **state)
{
	struct timespec ts = { .tv_sec = 1709210096 };
	struct rtc r = { .now = at, .opaque = &ts };

	rtc_reset(&r);
	set_cmos(&r, 11, 0x82);
	set_cmos(&r, 0, 0x30);
	set_cmos(&r, 2, 0x59);
	set_cmos(&r, 4, 0x23);
	set_cmos(&r, 7, 0x31);
	set_cmos(&r, 8, 0x12);
	set_cmos(&r, 9, 0x99);
	set_cmos(&r, 0x32, 0x19);
	ts.tv_sec += 5; /* time that does not count */
	set_cmos(&r, 11, 0x02);
	assert_int_equal(cmos(&r, 4), 0x23);
	ts.tv_sec += 31;
	assert_int_equal(cmos(&r, 0), 0x01);
	assert_int_equal(cmos(&r, 9), 0x00);
	assert_int_equal(cmos(&r, 0x32), 0x20);
	rtc_reset(&r); /* the battery holds */
	assert_int_equal(cmos(&r, 9), 0x00);
	set_cmos(&r, 0x40, 0x77);
	assert_int_equal(cmos(&r, 0x40), 0x77);
	/* nonsense is survived */
	set_cmos(&r, 11, 0x86);
	for (unsigned i = 0; i < 10; i++)
		set_cmos(&r, (uint8_t)i, 0xff);
	set_cmos(&r, 0x32, 0xff);
	set_cmos(&r, 11, 0x02);
	cmos(&r, 9);
}

/* ---- PCI ---- */

static void cfg_addr(struct pci_bus *p, uint32_t addr)
{
	pci_bus_ops.write(p, 0, 4, addr);
}

static void pci_mechanism(void **state)
{
	struct bus ports, memory;
	static struct pci_bus p;

	bus_init(&ports, "port", NULL, NULL);
	bus_init(&memory, "address", NULL, NULL);
	pci_init(&p, &ports, &memory);
	/* pci_check_type1() */
	cfg_addr(&p, 0x80000000);
	assert_int_equal(pci_bus_ops.read(&p, 0, 4), 0x80000000);
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), 0x00081b36);
	assert_int_equal(pci_bus_ops.read(&p, 6, 2), 0x0008);
	cfg_addr(&p, 0x80000008);
	assert_int_equal(pci_bus_ops.read(&p, 6, 2), 0x0600);
	assert_int_equal(pci_bus_ops.read(&p, 7, 1), 0x06);
	cfg_addr(&p, 0x00000000); /* not enabled */
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), UINT32_MAX);
	cfg_addr(&p, 0x80000800); /* slot 1 */
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), UINT32_MAX);
	cfg_addr(&p, 0x80000100); /* function 1 */
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), UINT32_MAX);
	cfg_addr(&p, 0x80010000); /* bus 1 */
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), UINT32_MAX);
	/* identity is not writable */
	cfg_addr(&p, 0x80000000);
	pci_bus_ops.write(&p, 4, 4, 0);
	assert_int_equal(pci_bus_ops.read(&p, 4, 4), 0x00081b36);
}

static void pci_bars(void **state)
{
	struct bus ports, memory;
	static struct pci_bus p;
	static struct pci_device dev;
	struct probe io = { 0 }, mem = { 0 };

	bus_init(&ports, "port", NULL, NULL);
	bus_init(&memory, "address", NULL, NULL);
	pci_init(&p, &ports, &memory);
	pci_device_init(&dev, "test", 0x1234, 0x5678, 0xff0000, 3);
	assert_int_equal(pci_add_bar(&dev, 0, PCI_BAR_IO, 32, &probe_ops, &io), 0);
	assert_int_equal(pci_add_bar(&dev, 2, PCI_BAR_MEM64, 0x4000, &probe_ops, &mem), 0);
	assert_int_equal(pci_add_bar(&dev, 5, PCI_BAR_MEM64, 0x4000, &probe_ops, &mem), -EINVAL);
	assert_int_equal(pci_add_bar(&dev, 6, PCI_BAR_IO, 32, &probe_ops, &mem), -EINVAL);
	assert_int_equal(pci_add_bar(&dev, 1, PCI_BAR_IO, 33, &probe_ops, &mem), -EINVAL);
	assert_int_equal(pci_add_bar(&dev, 1, PCI_BAR_MEM32, 8, &probe_ops, &mem), -EINVAL);
	assert_int_equal(pci_attach(&p, &dev, 0), -EBUSY);
	assert_int_equal(pci_attach(&p, &dev, 32), -EINVAL);
	assert_int_equal(pci_attach(&p, &dev, 3), 0);

	/* sizing */
	pci_config_write(&p, 3, 0x10, 4, UINT32_MAX);
	assert_int_equal(pci_config_read(&p, 3, 0x10, 4), 0xffffffe1);
	pci_config_write(&p, 3, 0x18, 4, UINT32_MAX);
	pci_config_write(&p, 3, 0x1c, 4, UINT32_MAX);
	assert_int_equal(pci_config_read(&p, 3, 0x18, 4), 0xffffc004);
	assert_int_equal(pci_config_read(&p, 3, 0x1c, 4), UINT32_MAX);
	assert_int_equal(pci_config_read(&p, 3, 0x14, 4), 0);

	/* placing: nothing until it is decoded */
	pci_config_write(&p, 3, 0x10, 4, 0xc000);
	pci_config_write(&p, 3, 0x18, 4, 0xd0000000);
	pci_config_write(&p, 3, 0x1c, 4, 0x1);
	assert_int_equal(bus_read(&ports, 0xc004, 1), 0xff);
	pci_config_write(&p, 3, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(pci_config_read(&p, 3, PCI_COMMAND, 2),
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NOINTX);
	assert_int_equal(bus_read(&ports, 0xc004, 1), 0x88);
	assert_int_equal(io.offset, 4);
	bus_read(&memory, 0x1d0003ff8, 8);
	assert_int_equal(mem.offset, 0x3ff8);
	/* moving */
	pci_config_write(&p, 3, 0x11, 1, 0xd0);
	assert_int_equal(bus_read(&ports, 0xc004, 1), 0xff);
	assert_int_equal(bus_read(&ports, 0xd004, 1), 0x88);
	/* on top of something else: not there, and no harm */
	assert_int_equal(bus_add(&ports, 0xe000, 8, &probe_ops, &mem), 0);
	pci_config_write(&p, 3, 0x10, 4, 0xe000);
	assert_int_equal(ports.count, 1);
	pci_config_write(&p, 3, 0x10, 4, 0xd000);
	assert_int_equal(ports.count, 2);
	pci_reset(&p);
	assert_int_equal(ports.count, 1);
	assert_int_equal(memory.count, 0);
	assert_int_equal(pci_config_read(&p, 3, 0x10, 4), 1);
	assert_int_equal(pci_config_read(&p, 3, PCI_COMMAND, 2), 0);
	assert_int_equal(pci_config_read(&p, 3, 0xfe, 4), UINT32_MAX);
}

static void note_reset(void *opaque, uint8_t val)
{
	*(unsigned *)opaque = val;
}

static void pci_reset_control(void **state)
{
	struct bus ports, memory;
	static struct pci_bus p;
	unsigned reset = 0;

	bus_init(&ports, "port", NULL, NULL);
	bus_init(&memory, "address", NULL, NULL);
	pci_init(&p, &ports, &memory);
	p.reset_control = note_reset;
	p.opaque = &reset;
	pci_bus_ops.write(&p, 3, 1, 0x01); /* pci_check_type1() does that: no reset */
	cfg_addr(&p, 0x80000600);
	assert_int_equal(reset, 0);
	pci_bus_ops.write(&p, 1, 1, 0x06);
	assert_int_equal(reset, 6);
	assert_int_equal(pci_bus_ops.read(&p, 0, 4), 0x80000600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bus_ranges),
		cmocka_unit_test(bus_full),
		cmocka_unit_test(bus_memory),
		cmocka_unit_test(bus_notices),
		cmocka_unit_test(ioapic_registers),
		cmocka_unit_test(ioapic_edge),
		cmocka_unit_test(ioapic_level),
		cmocka_unit_test_setup(uart_registers, uart_setup),
		cmocka_unit_test_setup(uart_thre, uart_setup),
		cmocka_unit_test_setup(uart_receive, uart_setup),
		cmocka_unit_test_setup(uart_loopback, uart_setup),
		cmocka_unit_test_setup(uart_host_full, uart_setup),
		cmocka_unit_test(rtc_time),
		cmocka_unit_test(rtc_flags),
		cmocka_unit_test(rtc_set),
		cmocka_unit_test(pci_mechanism),
		cmocka_unit_test(pci_bars),
		cmocka_unit_test(pci_reset_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
