/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CMOS clock of a PC (Motorola MC146818): ports 0x70 and 0x71, time and
 * date in 14 registers, battery-backed bytes behind them. Runs in UTC, as
 * Linux guests expect by default. Raises no interrupts (its ACPI node has
 * none), so alarms never ring.
 *
 * Serialised by its owner (the PC's lock).
 */
#ifndef LGUEST_PLATFORM_RTC_H
#define LGUEST_PLATFORM_RTC_H

#include <stdint.h>
#include <time.h>

#include "platform/bus.h"

#define RTC_PORT    0x70
#define RTC_PORTS   2
#define RTC_CENTURY 0x32 /* also in the FADT */

struct rtc_state {
	uint8_t index;
	uint8_t cmos[128];  /* registers; those of the time are live only while SET is on */
	int64_t offset;     /* seconds that the guest's clock is ahead of the host's */
	int64_t last_flags; /* the guest's second at the last read of register C */
};

struct rtc {
	struct rtc_state s;
	/* The host's real time; NULL: clock_gettime(). Tests set it. */
	void (*now)(void *opaque, struct timespec *ts);
	void *opaque;
};

extern const struct bus_ops rtc_bus_ops; /* device: struct rtc */

/* Registers as after power-up with a good battery; the clock's offset stays. */
void rtc_reset(struct rtc *rtc);

#endif
