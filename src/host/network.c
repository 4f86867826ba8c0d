/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kinds of networks have in common: which one it is, and addresses
 * for those who do not care.
 */
#include "host/network.h"

#include "config.h"

struct network *network_open(const struct net_config *cfg, struct eventloop *loop,
			     const struct network_user *user, char *err, size_t errlen)
{
	return (cfg->kind == NET_USER ? usernet_open : tap_open)(cfg, loop, user, err, errlen);
}

void network_default_mac(const struct network *net, unsigned index, uint8_t mac[6])
{
	uint32_t hash = 2166136261u; /* FNV-1a: any even spread will do */

	for (const char *c = net->identity; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	hash ^= hash >> 24;
	/* 02: unicast, locally administered */
	mac[0] = 0x02;
	mac[1] = 'l';
	mac[2] = 'g';
	mac[3] = (uint8_t)(hash >> 16);
	mac[4] = (uint8_t)(hash >> 8);
	mac[5] = (uint8_t)(hash + index);
}
