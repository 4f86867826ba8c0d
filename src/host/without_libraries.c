/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In the place of the back ends that need libraries, when the program is built
 * without them (-Dlibraries=false): each says so.
 */
#include <errno.h>
#include <stdio.h>

#include "host/aio.h"
#include "host/disk.h"
#include "host/network.h"

struct aio *aio_create(const struct disk_client *client, bool no_uring, int *error)
{
	return aio_threads_create(client, error);
}

struct disk *disk_nbd_open(const char *uri, const struct disk_options *options,
			   const struct disk_client *client, char *err, size_t errlen)
{
	snprintf(err, errlen, "--block=%s: this lguest was built without libraries, so without NBD", uri);
	return NULL;
}

struct network *usernet_open(const struct net_config *cfg, struct eventloop *loop,
			     const struct network_user *user, char *err, size_t errlen)
{
	snprintf(
		err, errlen,
		"--net=user: this lguest was built without libraries, so without user-mode networking (try --tunnet)");
	return NULL;
}
