/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RSDP -> XSDT -> FADT (-> DSDT, FACS), MADT. ACPI 6.4; section numbers beside
 * the structures.
 *
 * No legacy interrupt controller (PCAT_COMPAT is clear, and the ports read all
 * ones) and no PIT, HPET or PM timer: Linux takes its null PIC, finds that the
 * TSC-deadline timer needs no other one, and probes nothing.
 *
 * "Hardware-reduced" ACPI would describe this PC better still. But without EFI
 * it makes Linux reboot through real mode: reboot_init() takes the flag for a
 * sign of EFI, and where efi_reboot() does nothing, BIOS comes next. So there
 * are PM1 registers, in which nothing ever happens.
 */
#include "platform/acpi.h"

#include <stddef.h>
#include <string.h>

#include "memory.h"
#include "platform/ioapic.h"
#include "platform/lapic.h"
#include "platform/power.h"
#include "platform/rtc.h"

/* Compiled from dsdt.asl while building: static const unsigned char dsdt_aml_code[]. */
#include "platform/dsdt_aml.h"

#define packed __attribute__((packed))

#define MAX_VCPUS 255 /* xAPIC ids; more want x2APIC entries in the MADT */

struct acpi_header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} packed;

struct acpi_rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_address;
	uint32_t length;
	uint64_t xsdt_address;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} packed;

struct acpi_gas { /* 5.2.3.2 */
	uint8_t space, bit_width, bit_offset, access_size;
	uint64_t address;
} packed;

#define SPACE_IO    1
#define ACCESS_BYTE 1
#define ACCESS_WORD 2

struct acpi_fadt { /* 5.2.9; what is zero here is lumped together */
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved;
	uint8_t preferred_pm_profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control;
	uint32_t pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length;
	uint8_t other_lengths[6];
	uint16_t c2_latency, c3_latency;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width;
	uint8_t day_alarm, month_alarm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_facs, x_dsdt;
	struct acpi_gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	struct acpi_gas x_other_blocks[4];
	struct acpi_gas sleep_control, sleep_status;
	char hypervisor_vendor[8];
} packed;

_Static_assert(offsetof(struct acpi_fadt, pm1_event_length) == 88, "FADT layout");
_Static_assert(offsetof(struct acpi_fadt, century) == 108, "FADT layout");
_Static_assert(offsetof(struct acpi_fadt, reset_reg) == 116, "FADT layout");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT layout");
_Static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "FADT layout");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT layout");

/* Table 5-10: our 8042 is for resets, no driver should look for a keyboard. */
#define BOOT_ARCH_NO_VGA 0x0004

/* Table 5-11 */
#define FADT_WBINVD        (1u << 0)
#define FADT_PWR_BUTTON    (1u << 4) /* not a fixed-hardware one */
#define FADT_SLP_BUTTON    (1u << 5)
#define FADT_FIX_RTC       (1u << 6) /* RTC wake not in fixed hardware */
#define FADT_RESET_REG_SUP (1u << 10)
#define FADT_HEADLESS      (1u << 12)

struct acpi_madt { /* 5.2.12 */
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags; /* PCAT_COMPAT clear: no 8259 */
} packed;

struct madt_lapic { /* 5.2.12.2 */
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} packed;

struct madt_ioapic { /* 5.2.12.3 */
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} packed;

struct madt_override { /* 5.2.12.5 */
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} packed;

#define MADT_LAPIC      0
#define MADT_IOAPIC     1
#define MADT_OVERRIDE   2
#define MADT_ENABLED    1
#define MADT_HIGH_LEVEL 0x000d

/* C-states that take longer are not there. */
#define NO_C2 101
#define NO_C3 1001

struct acpi_facs { /* 5.2.10; no checksum, 64-byte aligned */
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} packed;
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS layout");

#define RESET_VECTOR_SIZE 16

/* Where the next table goes. */
struct builder {
	uint8_t *area; /* host address of ACPI_TABLES_BASE */
	uint32_t used;
};

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *byte = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += byte[i];
	return (uint8_t)-sum;
}

/*
 * F000:FFF0, where the BIOS would start. Linux jumps there in real mode when
 * told to with reboot=bios, and as its last resort; so that is a reset.
 */
static void build_reset_vector(struct builder *b)
{
	/* clang-format off */
	static const uint8_t code[] = {
		0xb0, POWER_RESET_VALUE,                              /* mov al, 6 */
		0xba, POWER_RESET_PORT & 0xff, POWER_RESET_PORT >> 8, /* mov dx, 0xcf9 */
		0xee,                                                 /* out dx, al */
		0xf4,                                                 /* hlt */
		0xeb, 0xfd,                                           /* jmp to the hlt */
	};
	/* clang-format on */

	_Static_assert(sizeof(code) <= RESET_VECTOR_SIZE, "ends at 1 MiB");
	memcpy(b->area + ACPI_TABLES_END - ACPI_TABLES_BASE - RESET_VECTOR_SIZE, code, sizeof(code));
}

/* Zeroed room for a table, 16-byte aligned; NULL when the area is full. */
static void *reserve(struct builder *b, uint32_t len, uint64_t *addr)
{
	uint32_t at = (b->used + 15) & ~15u;

	if (len > ACPI_TABLES_END - ACPI_TABLES_BASE - RESET_VECTOR_SIZE - at)
		return NULL;
	b->used = at + len;
	*addr = ACPI_TABLES_BASE + at;
	return memset(b->area + at, 0, len);
}

static void finish(struct acpi_header *h, const char *signature, uint8_t revision, uint32_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = length;
	h->revision = revision;
	memcpy(h->oem_id, "LGUEST", 6);
	memcpy(h->oem_table_id, "LGUESTPC", 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "LGST", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static uint64_t build_dsdt(struct builder *b)
{
	uint64_t addr;
	void *dsdt = reserve(b, sizeof(dsdt_aml_code), &addr);

	if (!dsdt)
		return 0;
	memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
	return addr;
}

static struct acpi_gas io(uint16_t port, unsigned bytes, unsigned access)
{
	return (struct acpi_gas){ .space = SPACE_IO,
				  .bit_width = (uint8_t)(bytes * 8),
				  .access_size = (uint8_t)access,
				  .address = port };
}

static uint64_t build_facs(struct builder *b)
{
	struct acpi_facs *facs;
	uint64_t addr;

	b->used = (b->used + 63) & ~63u;
	facs = reserve(b, sizeof(*facs), &addr);
	if (!facs)
		return 0;
	memcpy(facs->signature, "FACS", 4);
	facs->length = sizeof(*facs);
	facs->version = 2;
	return addr;
}

static uint64_t build_fadt(struct builder *b, uint64_t dsdt, uint64_t facs)
{
	uint64_t addr;
	struct acpi_fadt *f = reserve(b, sizeof(*f), &addr);

	if (!f)
		return 0;
	f->facs = (uint32_t)facs;
	f->dsdt = (uint32_t)dsdt;
	f->x_dsdt = dsdt;
	/* No SMI command: the machine is in ACPI mode and knows no other. */
	f->sci_interrupt = PM1_SCI;
	f->pm1a_event = PM1_EVENT_PORT;
	f->pm1a_control = PM1_CONTROL_PORT;
	f->pm1_event_length = PM1_EVENT_PORTS;
	f->pm1_control_length = PM1_CONTROL_PORTS;
	f->x_pm1a_event = io(PM1_EVENT_PORT, PM1_EVENT_PORTS, ACCESS_WORD);
	f->x_pm1a_control = io(PM1_CONTROL_PORT, PM1_CONTROL_PORTS, ACCESS_WORD);
	f->c2_latency = NO_C2;
	f->c3_latency = NO_C3;
	f->century = RTC_CENTURY;
	f->iapc_boot_arch = BOOT_ARCH_NO_VGA;
	f->flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP |
		   FADT_HEADLESS;
	f->reset_reg = io(POWER_RESET_PORT, 1, ACCESS_BYTE);
	f->reset_value = POWER_RESET_VALUE;
	f->minor_version = 4;
	memcpy(f->hypervisor_vendor, "LGUEST\0", 8);
	finish(&f->header, "FACP", 6, sizeof(*f));
	return addr;
}

static uint64_t build_madt(struct builder *b, unsigned vcpus)
{
	uint32_t len = (uint32_t)(sizeof(struct acpi_madt) + vcpus * sizeof(struct madt_lapic) +
				  sizeof(struct madt_ioapic) + sizeof(struct madt_override));
	uint64_t addr;
	struct acpi_madt *m = reserve(b, len, &addr);
	struct madt_lapic *lapic;
	struct madt_ioapic *ioapic;
	struct madt_override *sci;

	if (!m)
		return 0;
	m->lapic_address = LAPIC_DEFAULT_BASE;
	lapic = (struct madt_lapic *)(m + 1);
	for (unsigned i = 0; i < vcpus; i++, lapic++)
		*lapic = (struct madt_lapic){ .type = MADT_LAPIC,
					      .length = sizeof(*lapic),
					      .uid = (uint8_t)i,
					      .apic_id = (uint8_t)i,
					      .flags = MADT_ENABLED };
	ioapic = (struct madt_ioapic *)lapic;
	*ioapic = (struct madt_ioapic){ .type = MADT_IOAPIC,
					.length = sizeof(*ioapic),
					.address = IOAPIC_BASE };
	sci = (struct madt_override *)(ioapic + 1);
	*sci = (struct madt_override){ .type = MADT_OVERRIDE,
				       .length = sizeof(*sci),
				       .source = PM1_SCI,
				       .gsi = PM1_SCI,
				       .flags = MADT_HIGH_LEVEL };
	finish(&m->header, "APIC", 5, len);
	return addr;
}

static uint64_t build_xsdt(struct builder *b, uint64_t fadt, uint64_t madt)
{
	struct {
		struct acpi_header header;
		uint64_t entry[2];
	} packed *x;
	uint64_t addr;

	x = reserve(b, sizeof(*x), &addr);
	if (!x)
		return 0;
	x->entry[0] = fadt;
	x->entry[1] = madt;
	finish(&x->header, "XSDT", 1, sizeof(*x));
	return addr;
}

uint64_t acpi_build(const struct guest_memory *mem, unsigned vcpus)
{
	struct builder b = { .area = guest_range(mem, ACPI_TABLES_BASE, ACPI_TABLES_END - ACPI_TABLES_BASE) };
	uint64_t rsdp_addr, dsdt, facs, fadt, madt, xsdt;
	struct acpi_rsdp *rsdp;

	if (!b.area || vcpus == 0 || vcpus > MAX_VCPUS)
		return 0;
	build_reset_vector(&b);
	rsdp = reserve(&b, sizeof(*rsdp), &rsdp_addr);
	dsdt = build_dsdt(&b);
	facs = build_facs(&b);
	fadt = build_fadt(&b, dsdt, facs);
	madt = build_madt(&b, vcpus);
	xsdt = build_xsdt(&b, fadt, madt);
	if (!rsdp || !dsdt || !facs || !fadt || !madt || !xsdt)
		return 0;
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "LGUEST", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt_address = xsdt;
	rsdp->checksum = checksum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return rsdp_addr;
}
