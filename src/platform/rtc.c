/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time is not kept but computed: host time plus an offset that changes
 * when the guest sets its clock. While the guest holds the SET bit, the
 * registers are plain bytes; releasing it turns them into a new offset.
 */
#include "platform/rtc.h"

#include <string.h>

enum {
	SECONDS = 0,
	MINUTES = 2,
	HOURS = 4,
	WEEKDAY = 6,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	REG_A = 10,
	REG_B,
	REG_C,
	REG_D
};

#define A_UIP    0x80 /* update in progress */
#define A_NORMAL 0x26 /* 32768 Hz time base, 1024 Hz periodic rate */
#define B_SET    0x80
#define B_BINARY 0x04
#define B_24H    0x02
#define C_UPDATE 0x10
#define D_VALID  0x80

/* The chip raises UIP 244 us before it changes the second. */
#define UIP_FROM_NS (1000000000 - 244000)

static void get_now(const struct rtc *rtc, struct timespec *ts)
{
	if (rtc->now)
		rtc->now(rtc->opaque, ts);
	else
		clock_gettime(CLOCK_REALTIME, ts);
}

void rtc_reset(struct rtc *rtc)
{
	int64_t offset = rtc->s.offset;

	memset(&rtc->s, 0, sizeof(rtc->s));
	rtc->s.offset = offset;
	rtc->s.cmos[REG_A] = A_NORMAL;
	rtc->s.cmos[REG_B] = B_24H;
}

static uint8_t encode(const struct rtc *rtc, unsigned val)
{
	if (rtc->s.cmos[REG_B] & B_BINARY)
		return (uint8_t)val;
	return (uint8_t)(val / 10 << 4 | val % 10);
}

static unsigned decode(const struct rtc *rtc, uint8_t reg)
{
	if (rtc->s.cmos[REG_B] & B_BINARY)
		return reg;
	return (reg >> 4) * 10u + (reg & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->s.cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t reg)
{
	if (rtc->s.cmos[REG_B] & B_24H)
		return decode(rtc, reg);
	return decode(rtc, reg & 0x7f) % 12 + (reg & 0x80 ? 12 : 0);
}

/* Copies the running clock into the registers. */
static void load_time(struct rtc *rtc)
{
	uint8_t *cmos = rtc->s.cmos;
	struct timespec ts;
	struct tm tm;
	time_t t;

	get_now(rtc, &ts);
	t = ts.tv_sec + rtc->s.offset;
	if (!gmtime_r(&t, &tm))
		return;
	cmos[SECONDS] = encode(rtc, (unsigned)tm.tm_sec);
	cmos[MINUTES] = encode(rtc, (unsigned)tm.tm_min);
	cmos[HOURS] = encode_hour(rtc, (unsigned)tm.tm_hour);
	cmos[WEEKDAY] = encode(rtc, (unsigned)tm.tm_wday + 1);
	cmos[DAY] = encode(rtc, (unsigned)tm.tm_mday);
	cmos[MONTH] = encode(rtc, (unsigned)tm.tm_mon + 1);
	cmos[YEAR] = encode(rtc, (unsigned)(tm.tm_year + 1900) % 100);
	cmos[RTC_CENTURY] = encode(rtc, (unsigned)(tm.tm_year + 1900) / 100);
}

/* Makes the registers the running clock. Nonsense in them gives some time or other. */
static void store_time(struct rtc *rtc)
{
	const uint8_t *cmos = rtc->s.cmos;
	struct timespec ts;
	struct tm tm = {
		.tm_sec = (int)decode(rtc, cmos[SECONDS]),
		.tm_min = (int)decode(rtc, cmos[MINUTES]),
		.tm_hour = (int)decode_hour(rtc, cmos[HOURS]),
		.tm_mday = (int)decode(rtc, cmos[DAY]),
		.tm_mon = (int)decode(rtc, cmos[MONTH]) - 1,
		.tm_year = (int)(decode(rtc, cmos[RTC_CENTURY]) * 100 + decode(rtc, cmos[YEAR])) - 1900,
	};

	get_now(rtc, &ts);
	rtc->s.offset = timegm(&tm) - ts.tv_sec;
}

static bool is_time(unsigned reg)
{
	return reg == SECONDS || reg == MINUTES || reg == HOURS || (reg >= WEEKDAY && reg <= YEAR) ||
	       reg == RTC_CENTURY;
}

static uint8_t read_register(struct rtc *rtc, unsigned reg)
{
	bool setting = rtc->s.cmos[REG_B] & B_SET;
	struct timespec ts;
	uint8_t val;

	switch (reg) {
	case REG_A:
		get_now(rtc, &ts);
		val = rtc->s.cmos[REG_A];
		return !setting && ts.tv_nsec >= UIP_FROM_NS ? val | A_UIP : val;
	case REG_C:
		get_now(rtc, &ts);
		val = !setting && ts.tv_sec != rtc->s.last_flags ? C_UPDATE : 0;
		rtc->s.last_flags = ts.tv_sec;
		return val;
	case REG_D: return D_VALID;
	}
	if (is_time(reg) && !setting)
		load_time(rtc);
	return rtc->s.cmos[reg];
}

static void write_register(struct rtc *rtc, unsigned reg, uint8_t val)
{
	bool setting = rtc->s.cmos[REG_B] & B_SET;

	switch (reg) {
	case REG_A: rtc->s.cmos[REG_A] = val & (uint8_t)~A_UIP; return;
	case REG_B:
		if (!setting && (val & B_SET))
			load_time(rtc);
		rtc->s.cmos[REG_B] = val;
		if (setting && !(val & B_SET))
			store_time(rtc);
		return;
	case REG_C:
	case REG_D: return;
	}
	if (is_time(reg) && !setting)
		load_time(rtc);
	rtc->s.cmos[reg] = val;
	/* The chip takes single registers, too, without SET. */
	if (is_time(reg) && !setting)
		store_time(rtc);
}

static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
	struct rtc *rtc = device;

	if (size != 1 || offset == 0)
		return ~0ull;
	return read_register(rtc, rtc->s.index);
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t val)
{
	struct rtc *rtc = device;

	if (size != 1)
		return;
	if (offset == 0)
		rtc->s.index = val & 0x7f; /* bit 7 masks NMIs on a PC */
	else
		write_register(rtc, rtc->s.index, (uint8_t)val);
}

const struct bus_ops rtc_bus_ops = { .read = rtc_read, .write = rtc_write };
