/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest from its RAM to its last word: machine.c puts together memory,
 * engine, platform and console, runs the virtual CPUs and decides how the
 * whole thing ends. The only part of the program that knows both the engine
 * and the devices.
 */
#ifndef LGUEST_MACHINE_H
#define LGUEST_MACHINE_H

#include "config.h"

/*
 * Runs the guest that @cfg describes until it ends; resets happen inside.
 * Prints what went wrong, in one line, on stderr. Nothing is left behind:
 * threads joined, memory unmapped, the terminal as it was. Call from a
 * single-threaded process (signals get blocked for the time of the run).
 */
enum exit_status machine_run(const struct config *cfg);

#endif
