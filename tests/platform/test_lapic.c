/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC on its own: time is a number that the tests choose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

#include "platform/lapic.h"

#define TSC_KHZ 2000000u /* two TSC cycles a nanosecond */

struct world {
	struct lapic l;
	unsigned eois;
	uint8_t last_eoi;
	unsigned ipis;
	uint32_t icr, dest;
};

static void on_eoi(void *opaque, uint8_t vector)
{
	struct world *w = opaque;

	w->eois++;
	w->last_eoi = vector;
}

static void on_ipi(void *opaque, unsigned from, uint32_t icr, uint32_t dest)
{
	struct world *w = opaque;

	w->ipis++;
	w->icr = icr;
	w->dest = dest;
}

static const struct lapic_ops ops = { .eoi = on_eoi, .ipi = on_ipi };

static void wr(struct world *w, uint32_t reg, uint32_t val, uint64_t now)
{
	lapic_mmio_write(&w->l, reg, 4, val, now);
}

static uint32_t rd(struct world *w, uint32_t reg, uint64_t now)
{
	return (uint32_t)lapic_mmio_read(&w->l, reg, 4, now);
}

static int setup(void **state)
{
	static struct world w;

	memset(&w, 0, sizeof(w));
	lapic_init(&w.l, 0, TSC_KHZ, &ops, &w);
	wr(&w, LAPIC_SVR, SVR_ENABLE | 0xff, 0);
	*state = &w;
	return 0;
}

static void power_up_state(void **state)
{
	struct world *w = *state;
	uint64_t val;

	lapic_reset(&w->l);
	assert_true(lapic_msr_read(&w->l, MSR_APIC_BASE, &val, 0));
	assert_int_equal(val, 0xfee00900);
	assert_int_equal(rd(w, LAPIC_ID, 0), 0);
	assert_int_equal(rd(w, LAPIC_VERSION, 0), 0x50014);
	assert_int_equal(rd(w, LAPIC_SVR, 0), 0xff);
	assert_int_equal(rd(w, LAPIC_DFR, 0), 0xffffffff);
	for (uint32_t reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg += 0x10)
		assert_int_equal(rd(w, reg, 0), LVT_MASKED);
	assert_true(lapic_claims(&w->l, 0xfee00ff0));
	assert_false(lapic_claims(&w->l, 0xfee01000));
}

static void disabled_takes_nothing(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_SVR, 0xff, 0);
	lapic_post(&w->l, 0x40, false);
	assert_int_equal(lapic_pending(&w->l), -1);
	wr(w, LAPIC_SVR, SVR_ENABLE | 0xff, 0);
	assert_int_equal(lapic_pending(&w->l), -1);
	/* and its LVT entries stay masked until they are written */
	wr(w, LAPIC_LVT_LINT0, 0x700, 0);
	wr(w, LAPIC_SVR, 0xff, 0);
	assert_int_equal(rd(w, LAPIC_LVT_LINT0, 0), LVT_MASKED | 0x700);
	wr(w, LAPIC_LVT_LINT0, 0x700, 0);
	assert_int_equal(rd(w, LAPIC_LVT_LINT0, 0), LVT_MASKED | 0x700);
}

static void priorities(void **state)
{
	struct world *w = *state;

	lapic_post(&w->l, 0x31, false);
	lapic_post(&w->l, 0x52, false);
	lapic_post(&w->l, 0x51, false);
	assert_int_equal(lapic_pending(&w->l), 0x52);
	assert_int_equal(lapic_accept(&w->l), 0x52);
	/* same class: waits for the EOI; lower class as well */
	assert_int_equal(lapic_pending(&w->l), -1);
	assert_int_equal(rd(w, LAPIC_PPR, 0), 0x50);
	/* higher class: nests */
	lapic_post(&w->l, 0xe0, false);
	assert_int_equal(lapic_accept(&w->l), 0xe0);
	assert_int_equal(rd(w, LAPIC_PPR, 0), 0xe0);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(rd(w, LAPIC_PPR, 0), 0x50);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(lapic_accept(&w->l), 0x51);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(lapic_accept(&w->l), 0x31);
	assert_int_equal(rd(w, LAPIC_ISR + 0x10, 0), 1u << 0x11);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(lapic_accept(&w->l), -1);
	assert_int_equal(w->eois, 0); /* all edge-triggered */
}

static void task_priority(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_TPR, 0x5f, 0);
	lapic_post(&w->l, 0x5f, false);
	assert_int_equal(lapic_pending(&w->l), -1);
	assert_int_equal(rd(w, LAPIC_PPR, 0), 0x5f);
	assert_int_equal(rd(w, LAPIC_IRR + 0x20, 0), 1u << 0x1f);
	lapic_tpr_write(&w->l, 0x40);
	assert_int_equal(lapic_tpr_read(&w->l), 0x40);
	assert_int_equal(lapic_pending(&w->l), 0x5f);
	lapic_tpr_write(&w->l, 0xf0);
	assert_int_equal(lapic_accept(&w->l), -1);
}

static void level_eoi_goes_out(void **state)
{
	struct world *w = *state;

	lapic_post(&w->l, 0x44, true);
	assert_int_equal(lapic_accept(&w->l), 0x44);
	assert_int_equal(rd(w, LAPIC_TMR + 0x20, 0), 1u << 4);
	assert_int_equal(w->eois, 0);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(w->eois, 1);
	assert_int_equal(w->last_eoi, 0x44);
	/* the same vector as an edge clears TMR */
	lapic_post(&w->l, 0x44, false);
	assert_int_equal(lapic_accept(&w->l), 0x44);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(w->eois, 1);
	wr(w, LAPIC_EOI, 0, 0); /* one too many: nothing */
	assert_int_equal(w->eois, 1);
}

static void illegal_vectors(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_LVT_ERROR, 0x66, 0);
	lapic_post(&w->l, 7, false);
	assert_int_equal(lapic_pending(&w->l), -1);
	assert_int_equal(rd(w, LAPIC_ESR, 0), 0); /* latched by a write only */
	wr(w, LAPIC_ESR, 0, 0);
	assert_int_equal(rd(w, LAPIC_ESR, 0), ESR_RECEIVED_ILLEGAL);
	assert_int_equal(lapic_accept(&w->l), 0x66);
	wr(w, LAPIC_EOI, 0, 0);
	wr(w, LAPIC_ICR, ICR_TO_SELF | 3, 0);
	wr(w, LAPIC_ESR, 0, 0);
	assert_int_equal(rd(w, LAPIC_ESR, 0), ESR_SEND_ILLEGAL);
	assert_int_equal(lapic_accept(&w->l), 0x66);
	wr(w, LAPIC_EOI, 0, 0);
	rd(w, 0x3d0, 0);
	wr(w, LAPIC_ESR, 0, 0);
	assert_int_equal(rd(w, LAPIC_ESR, 0), ESR_ILLEGAL_REGISTER);
	wr(w, LAPIC_ESR, 0, 0);
	assert_int_equal(rd(w, LAPIC_ESR, 0), 0);
}

static void ipis(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_ICR, ICR_TO_SELF | 0x77, 0);
	assert_int_equal(lapic_accept(&w->l), 0x77);
	assert_int_equal(w->ipis, 0);
	wr(w, LAPIC_ICR2, 0x03000000, 0);
	wr(w, LAPIC_ICR, ICR_LOGICAL | 0x78, 0);
	assert_int_equal(w->ipis, 1);
	assert_int_equal(w->dest, 3);
	assert_int_equal(w->icr, ICR_LOGICAL | 0x78);
	assert_int_equal(rd(w, LAPIC_ICR, 0), ICR_LOGICAL | 0x78);
}

static void destinations(void **state)
{
	struct world *w = *state;

	w->l.s.id = 5;
	assert_true(lapic_matches(&w->l, 5, false, false));
	assert_false(lapic_matches(&w->l, 4, false, false));
	assert_true(lapic_matches(&w->l, 0xff, false, false));
	assert_true(lapic_matches(&w->l, 0xff, true, false));
	wr(w, LAPIC_LDR, 0x24000000, 0);
	assert_true(lapic_matches(&w->l, 0x04, true, false)); /* flat: any common bit */
	assert_false(lapic_matches(&w->l, 0x08, true, false));
	wr(w, LAPIC_DFR, 0x0fffffff, 0);
	assert_true(lapic_matches(&w->l, 0x2c, true, false)); /* cluster 2, member bits */
	assert_false(lapic_matches(&w->l, 0x14, true, false));
	assert_false(lapic_matches(&w->l, 0x22, true, false));
}

static bool wrmsr(struct world *w, uint32_t msr, uint64_t val)
{
	return lapic_msr_write(&w->l, msr, val, 0);
}

static void x2apic(void **state)
{
	struct world *w = *state;
	uint64_t val, base = LAPIC_DEFAULT_BASE | APIC_BASE_BSP;

	assert_false(lapic_msr_read(&w->l, 0x802, &val, 0)); /* not in xAPIC mode */
	assert_false(wrmsr(w, MSR_APIC_BASE, base | APIC_BASE_X2APIC));
	assert_false(wrmsr(w, MSR_APIC_BASE, base | 1));
	assert_true(wrmsr(w, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	assert_false(lapic_claims(&w->l, LAPIC_DEFAULT_BASE));
	assert_false(wrmsr(w, MSR_APIC_BASE, base | APIC_BASE_ENABLE)); /* no way back */
	assert_true(lapic_msr_read(&w->l, 0x80d, &val, 0));
	assert_int_equal(val, 1);
	assert_true(lapic_matches(&w->l, 1, true, true));
	assert_true(lapic_matches(&w->l, 0xffffffff, false, true));
	assert_false(lapic_matches(&w->l, 0xff, false, true));

	assert_true(wrmsr(w, 0x83f, 0x55));
	assert_int_equal(lapic_accept(&w->l), 0x55);
	assert_false(wrmsr(w, 0x80b, 1)); /* EOI takes zero only */
	assert_true(wrmsr(w, 0x80b, 0));
	assert_int_equal(lapic_pending(&w->l), -1);
	assert_true(wrmsr(w, 0x830, 0x1234500000000ull << 4 | 0x99));
	assert_int_equal(w->dest, 0x123450);
	assert_int_equal(w->icr, 0x99);
	assert_true(lapic_msr_read(&w->l, 0x830, &val, 0));
	assert_int_equal(val, 0x12345000000099ull);
	assert_false(wrmsr(w, 0x808, 0x100));
	assert_false(wrmsr(w, 0x80f, 0x200));
	assert_false(wrmsr(w, 0x802, 0));                    /* read-only */
	assert_false(wrmsr(w, 0x80e, 0));                    /* DFR is gone */
	assert_false(wrmsr(w, 0x831, 0));                    /* ICR high is gone */
	assert_false(lapic_msr_read(&w->l, 0x80b, &val, 0)); /* write-only */
	assert_false(wrmsr(w, 0x832, 1ull << 32));

	/* off: everything is reset, and then only xAPIC mode is open */
	assert_true(wrmsr(w, MSR_APIC_BASE, base));
	assert_false(wrmsr(w, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	assert_true(wrmsr(w, MSR_APIC_BASE, base | APIC_BASE_ENABLE));
	assert_int_equal(rd(w, LAPIC_SVR, 0), 0xff);
}

static void one_shot(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_LVT_TIMER, LVT_ONE_SHOT | 0x50, 0);
	wr(w, LAPIC_TDCR, 0x3, 0); /* divide by 16 */
	wr(w, LAPIC_TMICT, 1000, 5000);
	assert_int_equal(lapic_deadline(&w->l), 5000 + 32000); /* 16000 ns */
	assert_int_equal(rd(w, LAPIC_TMCCT, 5000), 1000);
	assert_int_equal(rd(w, LAPIC_TMCCT, 5000 + 16000), 500);
	lapic_run_timer(&w->l, 5000 + 31999);
	assert_int_equal(lapic_pending(&w->l), -1);
	assert_int_equal(rd(w, LAPIC_TMCCT, 5000 + 31999), 0);
	lapic_run_timer(&w->l, 5000 + 32000);
	assert_int_equal(lapic_accept(&w->l), 0x50);
	assert_int_equal(lapic_deadline(&w->l), LAPIC_NO_DEADLINE);
	lapic_run_timer(&w->l, 1000000);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(lapic_accept(&w->l), -1);
	/* zero stops it */
	wr(w, LAPIC_TMICT, 1000, 0);
	wr(w, LAPIC_TMICT, 0, 0);
	assert_int_equal(lapic_deadline(&w->l), LAPIC_NO_DEADLINE);
}

static void dividers(void **state)
{
	static const struct {
		uint32_t tdcr, by;
	} list[] = { { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };
	struct world *w = *state;

	wr(w, LAPIC_LVT_TIMER, 0x50, 0);
	for (unsigned i = 0; i < 8; i++) {
		wr(w, LAPIC_TDCR, list[i].tdcr, 0);
		wr(w, LAPIC_TMICT, 100000, 0);
		assert_int_equal(lapic_deadline(&w->l), 200000 * list[i].by);
	}
	/* a change on the way keeps the count */
	wr(w, LAPIC_TDCR, 11, 0);
	wr(w, LAPIC_TMICT, 100000, 0);
	wr(w, LAPIC_TDCR, 0, 100000);
	assert_int_equal(rd(w, LAPIC_TMCCT, 100000), 50000);
	assert_int_equal(lapic_deadline(&w->l), 300000);
}

static void periodic(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_TDCR, 11, 0);
	wr(w, LAPIC_LVT_TIMER, LVT_PERIODIC | 0x50, 0);
	wr(w, LAPIC_TMICT, 100000, 0); /* 200000 cycles */
	for (unsigned i = 1; i < 5; i++) {
		assert_int_equal(lapic_deadline(&w->l), i * 200000);
		lapic_run_timer(&w->l, i * 200000 + 5);
		assert_int_equal(lapic_accept(&w->l), 0x50);
		wr(w, LAPIC_EOI, 0, 0);
	}
	/* ticks that were missed come as one, and the phase stays */
	lapic_run_timer(&w->l, 4 * 200000 + 3 * 200000 + 100);
	assert_int_equal(lapic_accept(&w->l), 0x50);
	wr(w, LAPIC_EOI, 0, 0);
	assert_int_equal(lapic_accept(&w->l), -1);
	assert_int_equal(lapic_deadline(&w->l), 8 * 200000);
	assert_int_equal(rd(w, LAPIC_TMCCT, 8 * 200000 - 2000), 1000);
	/* a period of one tick must not drown us */
	wr(w, LAPIC_TMICT, 1, 10000000);
	assert_true(lapic_deadline(&w->l) - 10000000 >= 20000);
	/* masked: nothing to wait for, and the count still runs */
	wr(w, LAPIC_TMICT, 100000, 0);
	wr(w, LAPIC_LVT_TIMER, LVT_MASKED | LVT_PERIODIC | 0x50, 0);
	assert_int_equal(lapic_deadline(&w->l), LAPIC_NO_DEADLINE);
	assert_int_equal(rd(w, LAPIC_TMCCT, 200000 * 7 + 100000), 50000);
}

static void tsc_deadline(void **state)
{
	struct world *w = *state;
	uint64_t val;

	/* ignored in the other modes */
	assert_true(wrmsr(w, MSR_TSC_DEADLINE, 1000));
	assert_true(lapic_msr_read(&w->l, MSR_TSC_DEADLINE, &val, 0));
	assert_int_equal(val, 0);
	wr(w, LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x60, 0);
	wr(w, LAPIC_TMICT, 77, 0);
	assert_int_equal(rd(w, LAPIC_TMICT, 0), 0);
	assert_int_equal(lapic_deadline(&w->l), LAPIC_NO_DEADLINE);

	wrmsr(w, MSR_TSC_DEADLINE, 1000);
	assert_int_equal(lapic_deadline(&w->l), 1000);
	lapic_run_timer(&w->l, 999);
	assert_int_equal(lapic_pending(&w->l), -1);
	lapic_run_timer(&w->l, 1000);
	assert_int_equal(lapic_accept(&w->l), 0x60);
	wr(w, LAPIC_EOI, 0, 0);
	assert_true(lapic_msr_read(&w->l, MSR_TSC_DEADLINE, &val, 1000));
	assert_int_equal(val, 0);
	lapic_run_timer(&w->l, 2000);
	assert_int_equal(lapic_pending(&w->l), -1);

	/* zero disarms */
	wrmsr(w, MSR_TSC_DEADLINE, 3000);
	wrmsr(w, MSR_TSC_DEADLINE, 0);
	lapic_run_timer(&w->l, 4000);
	assert_int_equal(lapic_pending(&w->l), -1);

	/* what passes under the mask is lost */
	wrmsr(w, MSR_TSC_DEADLINE, 5000);
	wr(w, LAPIC_LVT_TIMER, LVT_MASKED | LVT_TSC_DEADLINE | 0x60, 4500);
	wr(w, LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x60, 6000);
	lapic_run_timer(&w->l, 7000);
	assert_int_equal(lapic_pending(&w->l), -1);

	/* so does an armed deadline in a change of mode */
	wrmsr(w, MSR_TSC_DEADLINE, 9000);
	wr(w, LAPIC_LVT_TIMER, LVT_ONE_SHOT | 0x60, 8000);
	wr(w, LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x60, 8000);
	assert_int_equal(lapic_deadline(&w->l), LAPIC_NO_DEADLINE);
}

static void odd_accesses(void **state)
{
	struct world *w = *state;

	wr(w, LAPIC_TPR, 0x20, 0);
	lapic_mmio_write(&w->l, LAPIC_TPR, 1, 0x30, 0);
	lapic_mmio_write(&w->l, LAPIC_TPR + 1, 4, 0x30, 0);
	assert_int_equal(rd(w, LAPIC_TPR, 0), 0x20);
	assert_int_equal(lapic_mmio_read(&w->l, LAPIC_VERSION + 2, 1, 0), 0x05);
	assert_int_equal(lapic_mmio_read(&w->l, LAPIC_VERSION + 4, 4, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(power_up_state, setup),
		cmocka_unit_test_setup(disabled_takes_nothing, setup),
		cmocka_unit_test_setup(priorities, setup),
		cmocka_unit_test_setup(task_priority, setup),
		cmocka_unit_test_setup(level_eoi_goes_out, setup),
		cmocka_unit_test_setup(illegal_vectors, setup),
		cmocka_unit_test_setup(ipis, setup),
		cmocka_unit_test_setup(destinations, setup),
		cmocka_unit_test_setup(x2apic, setup),
		cmocka_unit_test_setup(one_shot, setup),
		cmocka_unit_test_setup(dividers, setup),
		cmocka_unit_test_setup(periodic, setup),
		cmocka_unit_test_setup(tsc_deadline, setup),
		cmocka_unit_test_setup(odd_accesses, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
