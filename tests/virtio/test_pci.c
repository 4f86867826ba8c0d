/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport: capabilities, registers, MSI-X, the interrupt pin, the window in configuration space, resets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>

#include "pci_fixture.h"

#define COMMON_LEN sizeof(struct virtio_pci_common_cfg)

/* ---- what is there ---- */

static void identity(void **state)
{
	struct world *w = *state;

	assert_int_equal(cfg_read(w, 1, PCI_VENDOR_ID, 4), 0x10431af4); /* 0x1040 + console */
	assert_int_equal(cfg_read(w, 1, PCI_REVISION, 4), 0x07800001);
	assert_int_equal(cfg_read(w, 1, PCI_SUBVENDOR, 2), 0x1af4);
	assert_true(cfg_read(w, 1, PCI_SUBDEVICE, 2) >= 0x40); /* 4.1.2.1 */
	assert_int_equal(cfg_read(w, 1, PCI_INT_PIN, 1), 1);
	assert_int_equal(cfg_read(w, 1, PCI_INT_LINE, 1), 17);
	assert_true(cfg_read(w, 1, PCI_STATUS, 2) & PCI_STATUS_CAPS);
	assert_int_equal(cfg_read(w, 1, PCI_HEADER_TYPE, 1), 0);
	/* read-only, all of it */
	for (unsigned i = 0; i < 256; i++)
		if (i != PCI_COMMAND && i != PCI_COMMAND + 1 && i != PCI_INT_LINE)
			cfg_write(w, 1, i, 1, ~cfg_read(w, 1, i, 1));
	assert_int_equal(cfg_read(w, 1, PCI_VENDOR_ID, 4), 0x10431af4);
	assert_int_equal(cfg_read(w, 1, PCI_CAP_POINTER, 1), 0x40);
}

static void capabilities(void **state)
{
	struct world *w = *state;
	unsigned seen[16] = { 0 }, msix = 0, count = 0, covered[256] = { 0 };

	for (unsigned at = cfg_read(w, 1, PCI_CAP_POINTER, 1); at; at = cfg_read(w, 1, at + 1, 1)) {
		unsigned id = cfg_read(w, 1, at, 1), len = cfg_read(w, 1, at + 2, 1), type, offset, length;

		assert_true(count++ < 10 && at >= 0x40 && at % 4 == 0);
		if (id == PCI_CAPABILITY_MSIX)
			len = MSIX_CAPABILITY_LEN;
		assert_true(at + len <= 256);
		for (unsigned i = at; i < at + len; i++)
			assert_int_equal(covered[i]++, 0);
		if (id == PCI_CAPABILITY_MSIX) {
			msix++;
			assert_int_equal(cfg_read(w, 1, at + 2, 2), QUEUES); /* size - 1 */
			assert_int_equal(cfg_read(w, 1, at + 4, 4), MSIX_TABLE | 1);
			assert_int_equal(cfg_read(w, 1, at + 8, 4), MSIX_PBA | 1);
			continue;
		}
		assert_int_equal(id, PCI_CAPABILITY_VENDOR);
		type = cfg_read(w, 1, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
		assert_true(type < 16);
		assert_int_equal(seen[type]++, 0);
		offset = cfg_read(w, 1, at + VIRTIO_PCI_CAP_OFFSET, 4);
		length = cfg_read(w, 1, at + VIRTIO_PCI_CAP_LENGTH, 4);
		assert_true(offset % 4 == 0 && (uint64_t)offset + length <= VPCI_BAR_SIZE);
		assert_int_equal(cfg_read(w, 1, at + VIRTIO_PCI_CAP_BAR, 1), 0);
		switch (type) {
		case VIRTIO_PCI_CAP_COMMON_CFG: assert_true(len >= 16 && length == COMMON_LEN); break;
		case VIRTIO_PCI_CAP_DEVICE_CFG: assert_true(len >= 16 && length == CONFIG_LEN); break;
		case VIRTIO_PCI_CAP_ISR_CFG: assert_true(len >= 16 && length >= 1); break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			assert_true(len >= 20);
			/* 4.1.4.4.1 */
			assert_true(length >=
				    (QUEUES - 1) * cfg_read(w, 1, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4) + 2);
			break;
		case VIRTIO_PCI_CAP_PCI_CFG: assert_int_equal(len, 20); break;
		default: fail_msg("capability %u", type);
		}
	}
	assert_int_equal(count, 6);
	assert_int_equal(msix, 1);

	/* No configuration, no capability for one (4.1.4.6.1) */
	unsigned other = world_plug(w, 0, NULL);

	assert_int_equal(other, 2);
	assert_int_equal(find_capability(w, 2, PCI_CAPABILITY_VENDOR, VIRTIO_PCI_CAP_DEVICE_CFG), 0);
	assert_true(find_capability(w, 2, PCI_CAPABILITY_VENDOR, VIRTIO_PCI_CAP_PCI_CFG));
}

static void bars(void **state)
{
	struct world *w = *state;

	cfg_write(w, 1, PCI_BAR0, 4, UINT32_MAX);
	cfg_write(w, 1, PCI_BAR0 + 4, 4, UINT32_MAX);
	assert_int_equal(cfg_read(w, 1, PCI_BAR0, 4), (uint32_t)-VPCI_BAR_SIZE);
	assert_int_equal(cfg_read(w, 1, PCI_BAR0 + 4, 4), (uint32_t)-MSIX_BAR_SIZE);
	for (unsigned i = 2; i < 6; i++) {
		cfg_write(w, 1, PCI_BAR0 + 4 * i, 4, UINT32_MAX);
		assert_int_equal(cfg_read(w, 1, PCI_BAR0 + 4 * i, 4), 0);
	}
	cfg_write(w, 1, 0x30, 4, UINT32_MAX); /* no ROM */
	assert_int_equal(cfg_read(w, 1, 0x30, 4), 0);
	map(w);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	/* elsewhere, and away */
	cfg_write(w, 1, PCI_BAR0, 4, 0xe0000000);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff);
	assert_int_equal(bus_read(&w->memory, 0xe0000000 + VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	cfg_write(w, 1, PCI_COMMAND, 2, 0);
	assert_int_equal(bus_read(&w->memory, 0xe0000000 + VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff);
}

static void full_bus(void **state)
{
	struct world *w = *state;

	for (unsigned i = 2; i < PCI_SLOTS; i++)
		assert_int_equal(world_plug(w, i % 2 ? 0 : 8, NULL), i);
	assert_int_equal(world_plug(w, 0, NULL), 0);
	/* there is room for all of their BARs */
	for (unsigned i = 1; i < PCI_SLOTS; i++) {
		cfg_write(w, i, PCI_BAR0, 4, 0xd0000000 + i * 0x10000);
		cfg_write(w, i, PCI_BAR0 + 4, 4, 0xd0008000 + i * 0x10000);
		cfg_write(w, i, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	}
	for (unsigned i = 1; i < PCI_SLOTS; i++) {
		assert_int_equal(bus_read(&w->memory, 0xd0000000 + i * 0x10000 + VIRTIO_PCI_COMMON_NUMQ, 2),
				 QUEUES);
		assert_int_equal(bus_read(&w->memory, 0xd0008000 + i * 0x10000 + 12, 4), 1);
	}
}

/* ---- registers ---- */

static void common_defaults(void **state)
{
	struct world *w = *state;

	map(w);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_GFSELECT, 4), 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_GF, 4), 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2), QUEUE_SIZE);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_NOFF, 2), i);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_USEDLO, 8), 0);
	}
	/* queues that there are not */
	for (unsigned i = QUEUES; i < 0x10000; i += i < 16 ? 1 : 4093) {
		reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SELECT, 2), i);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		for (unsigned at = VIRTIO_PCI_COMMON_Q_SIZE; at < COMMON_LEN; at += 2)
			reg_write(w, at, 2, 1);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	}
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_STATUS, 1), 0);
}

static void features(void **state)
{
	struct world *w = *state;
	uint64_t offered = w->toy->dev.device_features;

	map(w);
	for (uint32_t sel = 0; sel < 4; sel++) {
		reg_write(w, VIRTIO_PCI_COMMON_DFSELECT, 4, sel);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_DFSELECT, 4), sel);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_DF, 4),
				 sel < 2 ? (uint32_t)(offered >> sel * 32) : 0);
		reg_write(w, VIRTIO_PCI_COMMON_DF, 4, 0); /* read-only */
		reg_write(w, VIRTIO_PCI_COMMON_GFSELECT, 4, sel);
		reg_write(w, VIRTIO_PCI_COMMON_GF, 4, 0x11 << sel);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_GF, 4), sel < 2 ? 0x11 << sel : 0);
	}
	assert_int_equal(w->toy->dev.s.driver_features, 0x2200000011);
	reg_write(w, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_DF, 4), (uint32_t)offered);
}

static void queue_registers(void **state)
{
	struct world *w = *state;
	static const struct {
		unsigned reg;
		uint64_t val;
	} list[] = { { VIRTIO_PCI_COMMON_Q_DESCLO, 0x123456789a0 },
		     { VIRTIO_PCI_COMMON_Q_AVAILLO, 0xfedcba9876543210 },
		     { VIRTIO_PCI_COMMON_Q_USEDLO, 0x8000000000000004 } };

	map(w);
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	for (unsigned i = 0; i < 3; i++) {
		reg_write(w, list[i].reg, 8, list[i].val);
		assert_true(reg_read(w, list[i].reg, 8) == list[i].val);
		assert_int_equal(reg_read(w, list[i].reg + 4, 4), list[i].val >> 32);
		/* the halves by themselves, either first */
		reg_write(w, list[i].reg + 4, 4, 0x55555555);
		assert_true(reg_read(w, list[i].reg, 8) == (0x5555555500000000 | (uint32_t)list[i].val));
		reg_write(w, list[i].reg, 4, 0xaaaaaaaa);
		assert_true(reg_read(w, list[i].reg, 8) == 0x55555555aaaaaaaa);
	}
	reg_write(w, VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	/* other queues have not changed */
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2), QUEUE_SIZE);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_USEDLO, 8), 0);

	/* once enabled, nothing but the vector moves; and only a reset disables */
	bring_up(w);
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t was = reg_read(w, list[i].reg, 8);

		reg_write(w, list[i].reg, 8, list[i].val);
		assert_true(reg_read(w, list[i].reg, 8) == was);
	}
	reg_write(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	reg_write(w, VIRTIO_PCI_COMMON_Q_SIZE, 2, 8);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2), QUEUE_SIZE);
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
}

static void bad_queue_sizes(void **state)
{
	static const uint16_t bad[] = { 0, 3, 48, 2 * QUEUE_SIZE, 1024, 0x8000, 0xffff };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct world *w;

		assert_int_equal(world_setup(state), 0);
		w = *state;
		map(w);
		driver_queue_init(&w->d.q[0], &w->d, QUEUE_SIZE, false);
		reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 3);
		reg_write(w, VIRTIO_PCI_COMMON_Q_DESCLO, 8, w->d.q[0].desc_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, w->d.q[0].avail_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_USEDLO, 8, w->d.q[0].used_at);
		reg_write(w, VIRTIO_PCI_COMMON_Q_SIZE, 2, bad[i]);
		reg_write(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		/* refused with the register, or when it was to be used */
		if (reg_read(w, VIRTIO_PCI_COMMON_Q_SIZE, 2) != QUEUE_SIZE) {
			assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
			assert_true(reg_read(w, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
		}
		assert_int_equal(world_teardown(state), 0);
	}
}

/* Each shape of read gives the bytes that single bytes give; outside of the structures is nothing. */
static void reads_of_every_shape(void **state)
{
	struct world *w = *state;

	bring_up_msix(w);
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	reg_write(w, VIRTIO_PCI_COMMON_DFSELECT, 4, 0x01020304);
	for (unsigned page = 0; page < VPCI_BAR_SIZE; page += 4096) {
		for (unsigned at = 0; at < 160; at++) {
			for (unsigned size = 1; size <= 8; size *= 2) {
				uint64_t expect = 0;

				if (page == VPCI_CONFIG && at + size > CONFIG_LEN)
					continue;
				for (unsigned i = 0; i < size; i++)
					expect |= reg_read(w, page + at + i, 1) << i * 8;
				assert_true(reg_read(w, page + at, size) == expect);
				if (page == VPCI_NOTIFY || page == VPCI_ISR ||
				    (page == VPCI_COMMON && at >= COMMON_LEN))
					assert_int_equal(expect, 0);
			}
		}
		for (unsigned size = 1; size <= 8; size *= 2)
			assert_int_equal(reg_read(w, page + 4096 - size, size), 0);
	}
	for (unsigned at = 0; at < 1024; at++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			uint32_t expect = 0;

			for (unsigned i = 0; i < size; i++)
				expect |= msix_read(w, at + i, 1) << i * 8;
			assert_int_equal(msix_read(w, at, size), expect);
		}
	/* straddling the end of a BAR */
	assert_int_equal(reg_read(w, VPCI_BAR_SIZE - 1, 2), 0xffff);
	assert_int_equal(w->toy->config_written, 0);
}

/* A write reaches exactly the fields that it covers completely. */
static void writes_of_every_shape(void **state)
{
	struct world *w = *state;
	/* Those that can be told by reading them back, on a device that has not been started. */
	static const struct {
		uint8_t at, width;
	} field[] = { { VIRTIO_PCI_COMMON_DFSELECT, 4 },  { VIRTIO_PCI_COMMON_GFSELECT, 4 },
		      { VIRTIO_PCI_COMMON_Q_SELECT, 2 },  { VIRTIO_PCI_COMMON_Q_DESCLO, 4 },
		      { VIRTIO_PCI_COMMON_Q_DESCHI, 4 },  { VIRTIO_PCI_COMMON_Q_AVAILLO, 4 },
		      { VIRTIO_PCI_COMMON_Q_AVAILHI, 4 }, { VIRTIO_PCI_COMMON_Q_USEDLO, 4 },
		      { VIRTIO_PCI_COMMON_Q_USEDHI, 4 } };
	const unsigned fields = sizeof(field) / sizeof(field[0]);

	map(w);
	for (unsigned at = 0; at < COMMON_LEN + 8; at++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint64_t val = 0x0000000100000001ull << (at % 4 * 8);

			for (unsigned i = 0; i < fields; i++)
				reg_write(w, field[i].at, field[i].width, 0);
			reg_write(w, at, size, val);
			for (unsigned i = 0; i < fields; i++) {
				bool covered = field[i].at >= at && field[i].at + field[i].width <= at + size;
				uint64_t expect = covered ? val >> (field[i].at - at) * 8 : 0;

				/* Of another queue we would read nothing; an enabled one takes no address. */
				if (i > 2 && (reg_read(w, VIRTIO_PCI_COMMON_Q_SELECT, 2) != 0 ||
					      (at <= VIRTIO_PCI_COMMON_Q_ENABLE &&
					       at + size >= VIRTIO_PCI_COMMON_Q_ENABLE + 2)))
					continue;
				assert_int_equal(reg_read(w, field[i].at, field[i].width),
						 expect & bus_ones(field[i].width));
			}
			reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
		}
	}
}

static void device_config(void **state)
{
	struct world *w = *state;

	map(w);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned at = 0; at < CONFIG_LEN + 8; at++) {
			unsigned before = w->toy->config_written;
			bool inside = at + size <= CONFIG_LEN;

			reg_write(w, VPCI_CONFIG + at, size, 0x1122334455667788);
			assert_int_equal(w->toy->config_written, before + inside);
			if (!inside)
				continue;
			assert_int_equal(w->toy->last_offset, at);
			assert_int_equal(w->toy->last_size, size);
			assert_true(reg_read(w, VPCI_CONFIG + at, size) ==
				    (0x1122334455667788 & bus_ones(size)));
		}
	}
	virtio_lock(&w->toy->dev);
	virtio_config_change(&w->toy->dev);
	virtio_unlock(&w->toy->dev);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_CFGGENERATION, 1),
			 w->toy->dev.s.config_generation & 0xff);
	assert_int_equal(reg_read(w, VPCI_ISR, 1), 0); /* nobody drives it yet */
}

static void doorbells(void **state)
{
	struct world *w = *state;

	bring_up(w);
	w->toy->lazy = true;
	memset(w->toy->notified, 0, sizeof(w->toy->notified));
	/* any size, the address decides */
	for (unsigned q = 0; q < QUEUES; q++)
		for (unsigned size = 1; size <= 8; size *= 2)
			reg_write(w, VPCI_NOTIFY + q * VPCI_NOTIFY_STEP, size, 77);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(w->toy->notified[q], 4);
	for (unsigned at = QUEUES * VPCI_NOTIFY_STEP; at < 4096; at++)
		reg_write(w, VPCI_NOTIFY + at, 1, 0);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(w->toy->notified[q], 4);
	/* not before DRIVER_OK, not after a reset */
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg_write(w, VPCI_NOTIFY, 2, 0);
	assert_int_equal(w->toy->notified[0], 4);
}

/* ---- MSI-X ---- */

static void expect_message(struct world *w, unsigned vector)
{
	assert_int_equal(w->messages, 1);
	assert_true(w->message[0].addr == 0xfee00000 + vector * 0x1000);
	assert_int_equal(w->message[0].data, 0x40 + vector);
	w->messages = 0;
}

static unsigned msix_cap(struct world *w)
{
	return find_capability(w, w->slot, PCI_CAPABILITY_MSIX, 0);
}

static void msix_messages(void **state)
{
	struct world *w = *state;

	bring_up_msix(w);
	w->messages = 0;
	for (unsigned q = 0; q < QUEUES; q++) {
		request(w, q);
		expect_message(w, q + 1);
	}
	/* several queues share a vector */
	reg_write(w, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	reg_write(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
	request(w, 0);
	expect_message(w, 3);
	/* none */
	reg_write(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
	request(w, 0);
	assert_int_equal(w->messages, 0);
	/* one that there is not reads back as none */
	for (unsigned v = QUEUES + 1; v < 0x10000; v += 251) {
		reg_write(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
		reg_write(w, VIRTIO_PCI_COMMON_Q_MSIX, 2, v);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		reg_write(w, VIRTIO_PCI_COMMON_MSIX, 2, v);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	}
	request(w, 0);
	assert_int_equal(w->messages, 0);
	/* the configuration */
	reg_write(w, VIRTIO_PCI_COMMON_MSIX, 2, 2);
	virtio_lock(&w->toy->dev);
	virtio_config_change(&w->toy->dev);
	virtio_unlock(&w->toy->dev);
	expect_message(w, 2);
	assert_int_equal(reg_read(w, VPCI_ISR, 1), VIRTIO_PCI_ISR_CONFIG);
	/* the pin had nothing to do with any of that */
	assert_int_equal(w->lines | w->edges, 0);
}

static void msix_masks(void **state)
{
	struct world *w = *state;
	unsigned cap;

	bring_up_msix(w);
	cap = msix_cap(w);
	w->messages = 0;
	/* one vector */
	msix_write(w, 16 * 1 + 12, 4, 1);
	request(w, 0);
	request(w, 0);
	request(w, 1);
	expect_message(w, 2);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 2);
	msix_write(w, MSIX_PBA, 4, UINT32_MAX); /* read-only */
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 2);
	/* what is sent is what stands there when it is unmasked */
	msix_write(w, 16 * 1 + 8, 4, 0x99);
	msix_write(w, 16 * 1 + 12, 4, 0);
	assert_int_equal(w->messages, 1);
	assert_int_equal(w->message[0].data, 0x99);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 0);
	msix_write(w, 16 * 1 + 8, 4, 0x41);
	w->messages = 0;
	/* all of them, on top of one */
	msix_write(w, 16 * 3 + 12, 4, 1);
	cfg_write(w, 1, cap + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	for (unsigned q = 0; q < QUEUES; q++)
		request(w, q);
	assert_int_equal(w->messages, 0);
	assert_int_equal(msix_read(w, MSIX_PBA, 8), 0xe);
	cfg_write(w, 1, cap + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE);
	assert_int_equal(w->messages, 2);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 8);
	w->messages = 0;
	/* only the mask bit of vector control can be written */
	msix_write(w, 16 * 3 + 12, 4, 0xfffffffe);
	assert_int_equal(msix_read(w, 16 * 3 + 12, 4), 0);
	expect_message(w, 3);
	/* a device that must not write to memory sends no messages */
	cfg_write(w, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	request(w, 0);
	assert_int_equal(w->messages, 0);
	cfg_write(w, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	expect_message(w, 1);
	/* pending ones are forgotten with MSI-X */
	msix_write(w, 16 * 1 + 12, 4, 1);
	request(w, 0);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 2);
	cfg_write(w, 1, cap + MSIX_CONTROL, 2, 0);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 0);
	cfg_write(w, 1, cap + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE);
	msix_write(w, 16 * 1 + 12, 4, 0);
	assert_int_equal(w->messages, 0);
	assert_int_equal(w->edges, 0);
}

static void msix_table(void **state)
{
	struct world *w = *state;

	map(w);
	for (unsigned at = 0; at < 2048; at += 4)
		assert_int_equal(msix_read(w, at, 4), at < 16 * (QUEUES + 1) && at % 16 == 12 ? 1 : 0);
	/* quadwords; the low bits of addresses are not there; nor are entries behind the last */
	bus_write(&w->memory, BAR1 + 16, 8, 0x1234567fee01007);
	assert_true(bus_read(&w->memory, BAR1 + 16, 8) == 0x1234567fee01004);
	bus_write(&w->memory, BAR1 + 16 * (QUEUES + 1), 8, UINT64_MAX);
	assert_int_equal(bus_read(&w->memory, BAR1 + 16 * (QUEUES + 1), 8), 0);
	/* halves of dwords, crooked addresses */
	for (unsigned at = 0; at < 16 * (QUEUES + 1); at++) {
		uint32_t was = msix_read(w, at & ~3u, 4);

		msix_write(w, at, 1, 0xff);
		msix_write(w, at, 2, 0xffff);
		if (at % 4)
			msix_write(w, at, 4, UINT32_MAX);
		assert_int_equal(msix_read(w, at & ~3u, 4), was);
	}
	/* the size of the table is not the guest's choice */
	cfg_write(w, 1, msix_cap(w) + MSIX_CONTROL, 2, 0x07ff);
	assert_int_equal(cfg_read(w, 1, msix_cap(w) + MSIX_CONTROL, 2), QUEUES);
}

/* ---- the pin ---- */

static void pin(void **state)
{
	struct world *w = *state;

	bring_up(w);
	request(w, 0);
	assert_int_equal(w->lines, 1u << 17);
	assert_true(cfg_read(w, 1, PCI_STATUS, 2) & PCI_STATUS_INTX);
	request(w, 1);
	assert_int_equal(w->edges, 1);
	assert_int_equal(reg_read(w, VPCI_ISR, 1), 1);
	assert_int_equal(w->lines, 0);
	assert_false(cfg_read(w, 1, PCI_STATUS, 2) & PCI_STATUS_INTX);
	assert_int_equal(reg_read(w, VPCI_ISR, 1), 0);
	/* gagged: the status says so, the line does not */
	cfg_write(w, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NOINTX);
	request(w, 0);
	assert_int_equal(w->lines, 0);
	assert_true(cfg_read(w, 1, PCI_STATUS, 2) & PCI_STATUS_INTX);
	cfg_write(w, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(w->lines, 1u << 17);
	/* status bits are not the guest's to write */
	cfg_write(w, 1, PCI_STATUS, 2, 0xffff);
	cfg_write(w, 1, PCI_STATUS, 2, 0);
	assert_int_equal(cfg_read(w, 1, PCI_STATUS, 2), PCI_STATUS_INTX | PCI_STATUS_CAPS);
	/* the configuration has a bit of its own */
	virtio_lock(&w->toy->dev);
	virtio_config_change(&w->toy->dev);
	virtio_unlock(&w->toy->dev);
	assert_int_equal(reg_read(w, VPCI_ISR, 4), 3);
	/* from the pin to messages and back */
	request(w, 0);
	assert_int_equal(w->lines, 1u << 17);
	cfg_write(w, 1, msix_cap(w) + MSIX_CONTROL, 2, MSIX_CONTROL_ENABLE);
	assert_int_equal(w->lines, 0);
	cfg_write(w, 1, msix_cap(w) + MSIX_CONTROL, 2, 0);
	assert_int_equal(w->lines, 1u << 17);
	/* a reset of the device lets go */
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_int_equal(w->lines, 0);
	assert_int_equal(reg_read(w, VPCI_ISR, 1), 0);
}

/* As a device that has used a buffer of queue 0. */
static void raise_pin(struct world *w, unsigned slot)
{
	struct virtio_device *dev = ((struct virtio_pci *)w->bus.slot[slot]->opaque)->dev;

	virtio_lock(dev);
	dev->transport.interrupt(dev->transport.transport, 0);
	virtio_unlock(dev);
}

static void lower_pin(struct world *w, unsigned slot)
{
	uint32_t isr;

	assert_true(pci_bar_access(w->bus.slot[slot], 0, VPCI_ISR, 1, false, &isr));
	assert_int_equal(isr, 1);
}

/* Slots 1, 9, 17 and 25 have one line. */
static void shared_line(void **state)
{
	struct world *w = *state;

	for (unsigned i = 2; i < 10; i++)
		world_plug(w, 0, NULL);
	raise_pin(w, 1);
	raise_pin(w, 9);
	raise_pin(w, 9);
	assert_int_equal(w->lines, 1u << 17);
	raise_pin(w, 8);
	assert_int_equal(w->lines, 1u << 17 | 1u << 16);
	lower_pin(w, 1);
	assert_int_equal(w->lines, 1u << 17 | 1u << 16);
	cfg_write(w, 9, PCI_COMMAND, 2, PCI_COMMAND_NOINTX);
	assert_int_equal(w->lines, 1u << 16);
	cfg_write(w, 9, PCI_COMMAND, 2, 0);
	assert_int_equal(w->lines, 1u << 17 | 1u << 16);
	lower_pin(w, 9);
	assert_int_equal(w->lines, 1u << 16);
	raise_pin(w, 1);
	pci_reset(&w->bus);
	assert_int_equal(w->lines, 0);
}

/* ---- the window in configuration space ---- */

static unsigned window(struct world *w, unsigned bar, uint32_t offset, uint32_t length)
{
	unsigned cap = find_capability(w, 1, PCI_CAPABILITY_VENDOR, VIRTIO_PCI_CAP_PCI_CFG);

	cfg_write(w, 1, cap + VIRTIO_PCI_CAP_BAR, 1, bar);
	cfg_write(w, 1, cap + VIRTIO_PCI_CAP_OFFSET, 4, offset);
	cfg_write(w, 1, cap + VIRTIO_PCI_CAP_LENGTH, 4, length);
	return cap + sizeof(struct virtio_pci_cap);
}

static void pci_cfg(void **state)
{
	struct world *w = *state;
	unsigned data;

	/* no BAR is mapped, memory is off */
	data = window(w, 0, VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(cfg_read(w, 1, data, 2), QUEUES);
	assert_int_equal(cfg_read(w, 1, data, 1), QUEUES);
	window(w, 0, VIRTIO_PCI_COMMON_Q_SELECT, 2);
	cfg_write(w, 1, data, 2, 2);
	assert_int_equal(cfg_read(w, 1, data, 4) & 0xffff, 2);
	window(w, 0, VIRTIO_PCI_COMMON_Q_DESCLO, 4);
	cfg_write(w, 1, data, 4, 0x12345670);
	assert_int_equal(cfg_read(w, 1, data, 4), 0x12345670);
	assert_int_equal(cfg_read(w, 1, data + 2, 2), 0x1234);
	window(w, 0, VPCI_CONFIG + 3, 1);
	assert_int_equal(cfg_read(w, 1, data, 1), 0x83);
	cfg_write(w, 1, data, 1, 0x42);
	assert_int_equal(cfg_read(w, 1, data, 1), 0x42);
	assert_int_equal(w->toy->config_written, 1);
	/* the vector table */
	window(w, 1, 12, 4);
	assert_int_equal(cfg_read(w, 1, data, 4), 1);
	cfg_write(w, 1, data, 4, 0);
	assert_int_equal(cfg_read(w, 1, data, 4), 0);
	/* ISR: reading clears */
	bring_up(w);
	request(w, 0);
	window(w, 0, VPCI_ISR, 1);
	assert_int_equal(cfg_read(w, 1, data, 1), 1);
	assert_int_equal(cfg_read(w, 1, data, 1), 0);
	assert_int_equal(w->lines, 0);
	/* a doorbell */
	window(w, 0, VPCI_NOTIFY + VPCI_NOTIFY_STEP, 2);
	cfg_write(w, 1, data, 2, 1);
	assert_int_equal(w->toy->notified[1], 1);
}

static void pci_cfg_hostile(void **state)
{
	struct world *w = *state;
	static const uint32_t offsets[] = { 0,      1,          2,          3,         0xfff,      0x3ffd,
					    0x3ffc, 0x3fff,     0x4000,     0x10000,   0x7fffffff, 0x80000000,
					    0xfffc, 0xfffffffc, 0xfffffffe, 0xffffffff };
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 5, 8, 16, 0x100, 0x80000000, 0xffffffff };
	unsigned data = window(w, 0, 0, 4);

	bring_up(w);
	for (unsigned bar = 0; bar < 256; bar++)
		for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
			for (unsigned j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
				bool ok = bar < 2 &&
					  (lengths[j] == 1 || lengths[j] == 2 || lengths[j] == 4) &&
					  offsets[i] % lengths[j] == 0 &&
					  offsets[i] < (bar ? MSIX_BAR_SIZE : VPCI_BAR_SIZE);

				window(w, bar, offsets[i], lengths[j]);
				cfg_write(w, 1, data, 4, 0xdeadbeef);
				if (!ok) /* nobody answers: the bytes are just memory */
					assert_int_equal(cfg_read(w, 1, data, 4), 0xdeadbeef);
				else
					cfg_read(w, 1, data, 4);
				for (unsigned size = 1; size <= 4; size *= 2)
					for (unsigned at = 0; at + size <= 4; at++)
						cfg_read(w, 1, data + at, size);
			}
}

/* ---- resets ---- */

static void snapshot(struct world *w, uint8_t *cfg, uint8_t *regs, uint8_t *table)
{
	for (unsigned i = 0; i < 256; i++)
		cfg[i] = (uint8_t)cfg_read(w, 1, i, 1);
	map(w);
	for (unsigned i = 0; i < COMMON_LEN; i++)
		regs[i] = (uint8_t)reg_read(w, i, 1);
	for (unsigned i = 0; i < MSIX_BAR_SIZE; i++)
		table[i] = (uint8_t)msix_read(w, i, 1);
}

static void bus_reset_is_clean(void **state)
{
	static uint8_t cfg[2][256], regs[2][COMMON_LEN], table[2][MSIX_BAR_SIZE];
	struct world *w = *state;

	snapshot(w, cfg[0], regs[0], table[0]);
	bring_up_msix(w);
	reg_write(w, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	window(w, 1, 16, 4);
	request(w, 0);
	msix_write(w, 12, 4, 1);
	virtio_lock(&w->toy->dev);
	virtio_config_change(&w->toy->dev);
	virtio_unlock(&w->toy->dev);
	assert_int_equal(msix_read(w, MSIX_PBA, 4), 1);
	cfg_write(w, 1, PCI_INT_LINE, 1, 17);
	pci_reset(&w->bus);
	assert_int_equal(w->toy->started, 1);
	assert_int_equal(w->toy->stopped, 1);
	assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff); /* unmapped */
	snapshot(w, cfg[1], regs[1], table[1]);
	assert_memory_equal(cfg[0], cfg[1], sizeof(cfg[0]));
	assert_memory_equal(regs[0], regs[1], sizeof(regs[0]));
	assert_memory_equal(table[0], table[1], sizeof(table[0]));
	/* and it works again */
	w->messages = 0;
	w->d.next = 4096;
	bring_up_msix(w);
	request(w, 2);
	expect_message(w, 3);
}

static void device_reset(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 20; i++) {
		w->d.next = 4096;
		bring_up_msix(w);
		w->messages = 0;
		request(w, i % QUEUES);
		expect_message(w, i % QUEUES + 1);
		reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_STATUS, 1), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
		assert_int_equal(reg_read(w, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		/* the vector table belongs to PCI and stays */
		assert_int_equal(msix_read(w, 16 + 8, 4), 0x41);
	}
	assert_int_equal(w->toy->started, 20);
	assert_int_equal(w->toy->stopped, 20);
}

/* A device that breaks says so on the configuration's interrupt. */
static void needs_reset(void **state)
{
	struct world *w = *state;

	bring_up_msix(w);
	w->messages = 0;
	driver_publish(&w->d.q[0], 0x7777);
	reg_write(w, VPCI_NOTIFY, 2, 0);
	assert_true(reg_read(w, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_message(w, 0);
	assert_int_equal(w->d.warnings, 1);
	reg_write(w, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	w->d.next = 4096;
	bring_up_msix(w);
	request(w, 0);
	expect_message(w, 1);
}

/* ---- anything goes ---- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void random_accesses(void **state)
{
	struct world *w = *state;
	uint32_t seed = 1;

	bring_up_msix(w);
	for (unsigned i = 0; i < 400000; i++) {
		uint32_t r = next_random(&seed), at = next_random(&seed), val = next_random(&seed) * 257;
		unsigned size = 1u << (r >> 4 & 3);

		switch (r & 15) {
		case 0 ... 3: reg_write(w, at % 64, size, r & 0x800 ? val : val % 8); break;
		case 4: reg_read(w, at % VPCI_BAR_SIZE, size); break;
		case 5: reg_write(w, VPCI_NOTIFY + at % 16, size, val); break;
		case 6: reg_write(w, at % VPCI_BAR_SIZE, size, val); break;
		case 7: msix_write(w, at % 128, 4, val); break;
		case 8: bus_read(&w->memory, BAR1 + at % MSIX_BAR_SIZE, size); break;
		case 9: cfg_write(w, 1, at % 256 & ~3u, 4, r & 0x800 ? val : BAR0); break;
		case 10: cfg_read(w, 1, at % 256 & ~3u, 4); break;
		case 11: cfg_write(w, 1, 0x80 + (at & 0x1f & ~3u), 4, val % 0x4000); break;
		case 12: request(w, at % QUEUES); break;
		case 13: cfg_write(w, 1, msix_cap(w), 4, val); break;
		case 14: memcpy((uint8_t *)w->d.q[at % QUEUES].avail + r / 16 % 64, &val, 4); break;
		case 15:
			if (r & 0xf00)
				break;
			w->d.next = 4096;
			if (r & 0x1000)
				pci_reset(&w->bus);
			bring_up_msix(w);
			break;
		}
	}
	pci_reset(&w->bus);
	w->messages = 0;
	w->d.next = 4096;
	bring_up_msix(w);
	request(w, 1);
	expect_message(w, 2);
	assert_int_equal(w->lines, 0);
}

/* ---- three threads: a vCPU at the doorbell, one that moves BARs and masks, and a device that is done ---- */

struct crowd {
	struct world *w;
	_Atomic bool stop;
};

static void *completes(void *opaque)
{
	struct crowd *c = opaque;
	struct virtio_device *dev = &c->w->toy->dev;

	while (!c->stop) {
		virtio_lock(dev);
		if (dev->transport.interrupt)
			dev->transport.interrupt(dev->transport.transport, 1);
		virtio_config_change(dev);
		virtio_unlock(dev);
	}
	return NULL;
}

/* As pc.c makes an access. */
static void locked_write(struct world *w, uint64_t addr, unsigned size, uint64_t val)
{
	struct bus_hit hit;

	pthread_mutex_lock(&w->lock);
	hit = bus_find(&w->memory, addr, size, true);
	if (!hit.ops->unlocked)
		bus_hit_write(&hit, size, val);
	pthread_mutex_unlock(&w->lock);
	if (hit.ops->unlocked)
		bus_hit_write(&hit, size, val);
}

static void *rings(void *opaque)
{
	struct crowd *c = opaque;

	for (unsigned i = 0; !c->stop; i++) {
		locked_write(c->w, BAR0 + VPCI_NOTIFY + i % QUEUES * 4, 2, 0);
		locked_write(c->w, BAR0 + VIRTIO_PCI_COMMON_Q_SELECT, 2, i % 4);
		locked_write(c->w, BAR0 + VIRTIO_PCI_COMMON_Q_MSIX, 2, i % 5);
		locked_write(c->w, BAR1 + 16 * (i % 4) + 12, 4, i >> 2 & 1);
	}
	return NULL;
}

static void threads(void **state)
{
	struct world *w = *state;
	struct crowd c = { .w = w };
	pthread_t a, b;

	bring_up_msix(w);
	assert_int_equal(pthread_create(&a, NULL, completes, &c), 0);
	assert_int_equal(pthread_create(&b, NULL, rings, &c), 0);
	for (unsigned i = 0; i < 5000; i++) {
		pci_config_write(&w->bus, 1, PCI_BAR0, 4, i & 1 ? 0xe0000000 : BAR0);
		pci_config_write(&w->bus, 1, PCI_COMMAND, 2, i % 7 ? 6 : 0x400);
		pci_config_write(&w->bus, 1, msix_cap(w), 4, i % 3 << 30);
		if (i % 100 == 0)
			pci_bar_access(w->bus.slot[1], 0, VIRTIO_PCI_COMMON_STATUS, 1, true,
				       &(uint32_t){ 0 });
	}
	c.stop = true;
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	/* trylock fails while others hold the lock */
	w->locked_calls = false;
	pci_reset(&w->bus);
	w->messages = 0;
	w->d.next = 4096;
	bring_up_msix(w);
	request(w, 0);
	expect_message(w, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(capabilities),
		TEST(bars),
		TEST(full_bus),
		TEST(common_defaults),
		TEST(features),
		TEST(queue_registers),
		cmocka_unit_test(bad_queue_sizes),
		TEST(reads_of_every_shape),
		TEST(writes_of_every_shape),
		TEST(device_config),
		TEST(doorbells),
		TEST(msix_messages),
		TEST(msix_masks),
		TEST(msix_table),
		TEST(pin),
		TEST(shared_line),
		TEST(pci_cfg),
		TEST(pci_cfg_hostile),
		TEST(bus_reset_is_clean),
		TEST(device_reset),
		TEST(needs_reset),
		TEST(random_accesses),
		TEST(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
