/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "platform/msix.h"

#include <errno.h>
#include <string.h>

#define TABLE_BYTES (sizeof(((struct msix_state *)0)->table))

_Static_assert(MSIX_TABLE + TABLE_BYTES <= MSIX_PBA, "the table reaches into the pending bits");

static uint32_t control(const struct msix *m)
{
	return pci_get(m->pci, m->capability + MSIX_CONTROL, 2);
}

bool msix_enabled(const struct msix *m)
{
	return control(m) & MSIX_CONTROL_ENABLE;
}

/*
 * By itself, with all others, or because the device may not write to memory
 * at all, which a message is (6.2.2, bit 2 of the command register).
 */
static bool masked(const struct msix *m, unsigned vector)
{
	return (m->s.table[vector][MSIX_VECTOR_CONTROL] & MSIX_VECTOR_MASKED) ||
	       (control(m) & MSIX_CONTROL_MASK_ALL) ||
	       !(pci_get(m->pci, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
}

void msix_raise(struct msix *m, unsigned vector)
{
	struct pci_bus *bus = m->pci->bus;
	const uint32_t *e;

	if (vector >= m->vectors)
		return;
	if (masked(m, vector)) {
		m->s.pending |= 1ull << vector;
		return;
	}
	m->s.pending &= ~(1ull << vector);
	e = m->s.table[vector];
	if (bus->message)
		bus->message(bus->opaque, (uint64_t)e[MSIX_ADDR_HIGH] << 32 | e[MSIX_ADDR_LOW], e[MSIX_DATA]);
}

/* 6.8.3.5: what was raised while masked is sent as soon as it is not. */
static void send_pending(struct msix *m)
{
	for (unsigned i = 0; i < m->vectors && m->s.pending; i++)
		if ((m->s.pending >> i & 1) && !masked(m, i))
			msix_raise(m, i);
}

void msix_written(struct msix *m)
{
	/* Nobody waits for the messages of a driver that has gone back to the pin. */
	if (!msix_enabled(m))
		m->s.pending = 0;
	else
		send_pending(m);
}

static uint32_t read_word(const struct msix *m, unsigned word)
{
	if (word < m->vectors * 4)
		return m->s.table[word / 4][word % 4];
	if (word == MSIX_PBA / 4)
		return (uint32_t)m->s.pending;
	if (word == MSIX_PBA / 4 + 1)
		return (uint32_t)(m->s.pending >> 32);
	return 0;
}

/* Aligned dwords and quadwords are what a driver may use (6.8.2); others get the bytes they ask for. */
static uint64_t table_read(void *device, uint64_t offset, unsigned size)
{
	const struct msix *m = device;
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++, offset++)
		val |= (uint64_t)(read_word(m, (unsigned)offset / 4) >> offset % 4 * 8 & 0xff) << i * 8;
	return val;
}

static void table_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct msix *m = device;

	if (offset % 4 || size < 4)
		return;
	for (unsigned word = (unsigned)offset / 4; size; size -= 4, word++, val >>= 32) {
		/* The rest of vector control is reserved; the lower two bits of addresses must be zero. */
		static const uint32_t writable[] = { [MSIX_ADDR_LOW] = ~3u,
						     [MSIX_ADDR_HIGH] = ~0u,
						     [MSIX_DATA] = ~0u,
						     [MSIX_VECTOR_CONTROL] = MSIX_VECTOR_MASKED };

		if (word < m->vectors * 4)
			m->s.table[word / 4][word % 4] = (uint32_t)val & writable[word % 4];
	}
	send_pending(m);
}

static const struct bus_ops table_ops = { .read = table_read, .write = table_write };

void msix_reset(struct msix *m)
{
	memset(&m->s, 0, sizeof(m->s));
	for (unsigned i = 0; i < m->vectors; i++)
		m->s.table[i][MSIX_VECTOR_CONTROL] = MSIX_VECTOR_MASKED;
	pci_set(m->pci, m->capability + MSIX_CONTROL, 2, m->vectors - 1);
}

int msix_init(struct msix *m, struct pci_device *pci, unsigned bar, unsigned vectors)
{
	if (vectors == 0 || vectors > MSIX_MAX_VECTORS ||
	    pci_add_bar(pci, bar, PCI_BAR_MEM32, MSIX_BAR_SIZE, &table_ops, m))
		return -EINVAL;
	*m = (struct msix){ .pci = pci, .vectors = vectors };
	m->capability = pci_add_capability(pci, PCI_CAPABILITY_MSIX, MSIX_CAPABILITY_LEN);
	if (!m->capability)
		return -EINVAL;
	pci_set(pci, m->capability + 4, 4, MSIX_TABLE | bar);
	pci_set(pci, m->capability + 8, 4, MSIX_PBA | bar);
	pci->wmask[m->capability + MSIX_CONTROL + 1] = (MSIX_CONTROL_MASK_ALL | MSIX_CONTROL_ENABLE) >> 8;
	msix_reset(m);
	return 0;
}
