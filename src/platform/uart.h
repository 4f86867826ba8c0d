/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A serial port (National Semiconductor PC16550D data sheet): the
 * guest's console. The line behind it is as fast as the host takes the bytes;
 * the transmitter is empty again the moment a byte is written, unless the
 * host's side is full.
 *
 * Flow control towards the guest is RTS: without it nothing is received, so
 * input waits on the host's side until the guest has opened the port (Linux
 * raises RTS then), and a guest with `stty crtscts` never loses a byte.
 *
 * Serialised by its owner (the PC's lock).
 */
#ifndef LGUEST_PLATFORM_UART_H
#define LGUEST_PLATFORM_UART_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/bus.h"

#define UART_COM1_PORT 0x3f8
#define UART_COM1_GSI  4
#define UART_PORTS     8
#define UART_FIFO      16

enum uart_reg {
	UART_RBR = 0,
	UART_THR = 0,
	UART_DLL = 0,
	UART_IER = 1,
	UART_DLM = 1,
	UART_IIR = 2,
	UART_FCR = 2,
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
};

#define IER_RDI  0x01 /* received data */
#define IER_THRI 0x02 /* transmitter empty */
#define IER_RLSI 0x04 /* line status */
#define IER_MSI  0x08 /* modem status */

#define IIR_NONE    0x01
#define IIR_MSI     0x00
#define IIR_THRI    0x02
#define IIR_RDI     0x04
#define IIR_RLSI    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR   0x01
#define LSR_OE   0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DELTA 0x0f
#define MSR_TERI  0x04
#define MSR_CTS   0x10
#define MSR_DSR   0x20
#define MSR_RI    0x40
#define MSR_DCD   0x80

struct uart_fifo {
	uint8_t byte[UART_FIFO];
	unsigned first, count;
};

struct uart_state {
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	bool overrun;      /* LSR.OE, until LSR is read */
	bool thre_pending; /* the THRE interrupt has not been seen yet */
	struct uart_fifo rx;
	struct uart_fifo tx; /* what the host's side had no room for */
};

struct uart_ops {
	/* A byte leaves; false: no room now, uart_drain() will come back with it. */
	bool (*put)(void *opaque, uint8_t byte);
	/* The next byte of input, or -1. */
	int (*get)(void *opaque);
	/* The guest can take input (again): call uart_fill(), in the callback or later. */
	void (*room)(void *opaque);
	/* The interrupt line. */
	void (*irq)(void *opaque, bool high);
	/* The guest has opened the port for reading (receive interrupts enabled), or closed it; may be NULL. */
	void (*listen)(void *opaque, bool listens);
};

struct uart {
	struct uart_state s;
	bool line; /* what irq() was last told */
	const struct uart_ops *ops;
	void *opaque;
};

extern const struct bus_ops uart_bus_ops; /* device: struct uart */

/* ops and opaque are set; registers as after master reset, FIFOs empty. */
void uart_reset(struct uart *u);

/* Takes as much input as the receive FIFO holds and RTS allows. */
void uart_fill(struct uart *u);

/* Offers what could not leave to put() again; true when nothing waits any more. */
bool uart_drain(struct uart *u);

#endif
