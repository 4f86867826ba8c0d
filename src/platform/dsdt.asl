/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest cannot find by itself: the PCI bus with its windows and
 * interrupt routing, the serial port, the clock, the panic device, and the
 * number that means "off" in the PM1 control register. acpi.c makes the
 * other tables; addresses here must agree with the headers in src/platform.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "LGUEST", "LGUESTPC", 1)
{
	/* SLP_TYP for soft-off: POWER_SLEEP_OFF in power.h */
	Name (\_S5, Package () { 5, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			/* A plain PCI root: no ECAM, one bus, so that nobody scans 256 */
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x1000, 0xFFFF, 0, 0xF000)
				/* PCI_MEM_BASE up to PCI_MEM_END */
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
			})

			/* PCI_SLOT_GSI(): slot n, all pins, GSI 16 + n % 8 */
			Name (_PRT, Package ()
			{
				Package () { 0x0001FFFF, 0, 0, 17 }, Package () { 0x0002FFFF, 0, 0, 18 },
				Package () { 0x0003FFFF, 0, 0, 19 }, Package () { 0x0004FFFF, 0, 0, 20 },
				Package () { 0x0005FFFF, 0, 0, 21 }, Package () { 0x0006FFFF, 0, 0, 22 },
				Package () { 0x0007FFFF, 0, 0, 23 }, Package () { 0x0008FFFF, 0, 0, 16 },
				Package () { 0x0009FFFF, 0, 0, 17 }, Package () { 0x000AFFFF, 0, 0, 18 },
				Package () { 0x000BFFFF, 0, 0, 19 }, Package () { 0x000CFFFF, 0, 0, 20 },
				Package () { 0x000DFFFF, 0, 0, 21 }, Package () { 0x000EFFFF, 0, 0, 22 },
				Package () { 0x000FFFFF, 0, 0, 23 }, Package () { 0x0010FFFF, 0, 0, 16 },
				Package () { 0x0011FFFF, 0, 0, 17 }, Package () { 0x0012FFFF, 0, 0, 18 },
				Package () { 0x0013FFFF, 0, 0, 19 }, Package () { 0x0014FFFF, 0, 0, 20 },
				Package () { 0x0015FFFF, 0, 0, 21 }, Package () { 0x0016FFFF, 0, 0, 22 },
				Package () { 0x0017FFFF, 0, 0, 23 }, Package () { 0x0018FFFF, 0, 0, 16 },
				Package () { 0x0019FFFF, 0, 0, 17 }, Package () { 0x001AFFFF, 0, 0, 18 },
				Package () { 0x001BFFFF, 0, 0, 19 }, Package () { 0x001CFFFF, 0, 0, 20 },
				Package () { 0x001DFFFF, 0, 0, 21 }, Package () { 0x001EFFFF, 0, 0, 22 },
				Package () { 0x001FFFFF, 0, 0, 23 }
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 1, 8)
				/* Level: an interrupt that is pending when the line gets unmasked counts */
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 4 }
			})
		}

		Device (RTC)
		{
			/* No interrupt: no alarms, and nobody waits for one */
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0070, 0x0070, 1, 2)
			})
		}

		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0505, 0x0505, 1, 1)
			})
		}
	}
}
