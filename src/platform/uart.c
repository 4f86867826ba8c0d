/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts that Linux's 8250 driver looks at closely, because real chips get
 * them wrong: the THRE interrupt comes back whenever it gets enabled while
 * the transmitter is empty, reading IIR acknowledges it and nothing else,
 * loopback connects modem outputs with modem inputs, and as on every PC the
 * interrupt reaches the bus only with OUT2 set.
 */
#include "platform/uart.h"

static void push(struct uart_fifo *f, uint8_t byte)
{
	f->byte[(f->first + f->count++) % UART_FIFO] = byte;
}

static uint8_t pop(struct uart_fifo *f)
{
	uint8_t byte = f->byte[f->first];

	f->first = (f->first + 1) % UART_FIFO;
	f->count--;
	return byte;
}

static void clear(struct uart_fifo *f)
{
	f->first = f->count = 0;
}

static unsigned rx_capacity(const struct uart *u)
{
	return u->s.fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned rx_trigger(const struct uart *u)
{
	static const uint8_t level[4] = { 1, 4, 8, 14 };

	return u->s.fcr & FCR_ENABLE ? level[u->s.fcr >> 6] : 1;
}

/* The interrupt with the highest priority (data sheet, table III). */
static uint8_t cause(const struct uart *u)
{
	const struct uart_state *s = &u->s;

	if ((s->ier & IER_RLSI) && s->overrun)
		return IIR_RLSI;
	/* Below the trigger level the time-out would strike soon: it does at once. */
	if ((s->ier & IER_RDI) && s->rx.count)
		return s->rx.count >= rx_trigger(u) ? IIR_RDI : IIR_TIMEOUT;
	if ((s->ier & IER_THRI) && s->thre_pending)
		return IIR_THRI;
	if ((s->ier & IER_MSI) && (s->msr & MSR_DELTA))
		return IIR_MSI;
	return IIR_NONE;
}

static void update_irq(struct uart *u)
{
	bool connected = (u->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	bool high = connected && cause(u) != IIR_NONE;

	if (high == u->line)
		return;
	u->line = high;
	u->ops->irq(u->opaque, high);
}

static void receive(struct uart *u, uint8_t byte)
{
	if (u->s.rx.count < rx_capacity(u))
		push(&u->s.rx, byte);
	else
		u->s.overrun = true;
}

static bool can_receive(const struct uart *u)
{
	return (u->s.mcr & (MCR_RTS | MCR_LOOP)) == MCR_RTS && u->s.rx.count < rx_capacity(u);
}

void uart_fill(struct uart *u)
{
	int byte;

	while (can_receive(u) && (byte = u->ops->get(u->opaque)) >= 0)
		push(&u->s.rx, (uint8_t)byte);
	update_irq(u);
}

bool uart_drain(struct uart *u)
{
	while (u->s.tx.count && u->ops->put(u->opaque, u->s.tx.byte[u->s.tx.first]))
		pop(&u->s.tx);
	if (u->s.tx.count)
		return false;
	u->s.thre_pending = true;
	update_irq(u);
	return true;
}

static void transmit(struct uart *u, uint8_t byte)
{
	u->s.thre_pending = false;
	if (u->s.mcr & MCR_LOOP) {
		receive(u, byte);
	} else if (u->s.tx.count || !u->ops->put(u->opaque, byte)) {
		if (u->s.tx.count < UART_FIFO)
			push(&u->s.tx, byte);
		return;
	}
	u->s.thre_pending = true;
}

static uint8_t modem_lines(const struct uart *u)
{
	uint8_t mcr = u->s.mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
	       (mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(struct uart *u, uint8_t val)
{
	uint8_t old = u->s.msr & 0xf0, new, changed;

	u->s.mcr = val & 0x1f;
	new = modem_lines(u);
	changed = (old ^ new) >> 4;
	/* TERI tells the trailing edge of the ring only. */
	if (new &MSR_RI)
		changed &= (uint8_t)~MSR_TERI;
	u->s.msr = new | (u->s.msr & MSR_DELTA) | changed;
	if (can_receive(u))
		u->ops->room(u->opaque);
}

static void write_fcr(struct uart *u, uint8_t val)
{
	bool toggled = (val ^ u->s.fcr) & FCR_ENABLE;

	if (toggled || (val & FCR_CLEAR_RX))
		clear(&u->s.rx);
	/* What the host has no room for is still the guest's output: not lost. */
	u->s.fcr = val & FCR_ENABLE ? val & 0xc9 : 0;
	if (can_receive(u))
		u->ops->room(u->opaque);
}

static uint8_t read_rbr(struct uart *u)
{
	uint8_t byte;

	if (!u->s.rx.count)
		return 0;
	byte = pop(&u->s.rx);
	if (!u->s.rx.count)
		u->ops->room(u->opaque);
	return byte;
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t iir = cause(u);

	if (iir == IIR_THRI)
		u->s.thre_pending = false;
	return iir | (u->s.fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t lsr = (u->s.rx.count ? LSR_DR : 0) | (u->s.overrun ? LSR_OE : 0) |
		      (u->s.tx.count ? 0 : LSR_THRE | LSR_TEMT);

	u->s.overrun = false;
	return lsr;
}

static uint8_t read_register(struct uart *u, unsigned reg)
{
	uint8_t val;

	switch (reg) {
	case UART_RBR: return u->s.lcr & LCR_DLAB ? u->s.dll : read_rbr(u);
	case UART_IER: return u->s.lcr & LCR_DLAB ? u->s.dlm : u->s.ier;
	case UART_IIR: return read_iir(u);
	case UART_LCR: return u->s.lcr;
	case UART_MCR: return u->s.mcr;
	case UART_LSR: return read_lsr(u);
	case UART_MSR:
		val = u->s.msr;
		u->s.msr &= (uint8_t)~MSR_DELTA;
		return val;
	default: return u->s.scr;
	}
}

static void write_register(struct uart *u, unsigned reg, uint8_t val)
{
	switch (reg) {
	case UART_THR:
		if (u->s.lcr & LCR_DLAB)
			u->s.dll = val;
		else
			transmit(u, val);
		break;
	case UART_IER:
		if (u->s.lcr & LCR_DLAB) {
			u->s.dlm = val;
			break;
		}
		if ((val & ~u->s.ier & IER_THRI) && !u->s.tx.count)
			u->s.thre_pending = true;
		if (((val ^ u->s.ier) & IER_RDI) && u->ops->listen)
			u->ops->listen(u->opaque, val & IER_RDI);
		u->s.ier = val & 0x0f;
		break;
	case UART_FCR: write_fcr(u, val); break;
	case UART_LCR: u->s.lcr = val; break;
	case UART_MCR: write_mcr(u, val); break;
	case UART_SCR: u->s.scr = val; break;
	}
}

/* The ISA bus cuts wider accesses into bytes. */
static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
	struct uart *u = device;
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read_register(u, (unsigned)offset + i) << (i * 8);
	update_irq(u);
	return val;
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct uart *u = device;

	for (unsigned i = 0; i < size; i++)
		write_register(u, (unsigned)offset + i, (uint8_t)(val >> (i * 8)));
	update_irq(u);
}

void uart_reset(struct uart *u)
{
	u->s = (struct uart_state){ .dll = 12 };
	u->s.msr = modem_lines(u);
	if (u->ops->listen)
		u->ops->listen(u->opaque, false);
	update_irq(u);
}

const struct bus_ops uart_bus_ops = { .read = uart_read, .write = uart_write };
