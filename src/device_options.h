/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The values of --block, --tunnet and --net: small languages of their own,
 * apart from the rest of the command line (options.c).
 *
 * Each function reads @value into a part of struct config, zeroed by the
 * caller. False: @err holds one line, without the name of the program, that
 * says what is wrong with @option=@value and how it is written.
 */
#ifndef LGUEST_DEVICE_OPTIONS_H
#define LGUEST_DEVICE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct block_config;
struct net_config;

/*
 * FILE[,ro][,cow][,serial=NAME][,direct]; two commas are one in the file's
 * name. cfg->path is allocated, also when false is returned (or NULL).
 */
bool parse_block(struct block_config *cfg, const char *value, char *err, size_t errlen);

/* IP[:MAC] or bridge:NAME[:MAC] */
bool parse_tunnet(struct net_config *cfg, const char *value, char *err, size_t errlen);

/* tap:NAME[,mac=MAC] or user[,hostfwd=tcp|udp:[ADDRESS]:PORT-:PORT]...[,mac=MAC] */
bool parse_net(struct net_config *cfg, const char *value, char *err, size_t errlen);

#endif
