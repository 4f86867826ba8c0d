/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors that a library wants watched, told anew each time (as poll(2)
 * wants it), in an epoll set (which remembers them): only what changed costs a
 * system call. Made for libslirp.
 *
 *   pollset_begin(); pollset_want() for each; pollset_end();
 *   pollset_peek()    what of it is ready at once, for what is new
 *   pollset_arm()     the rest can be waited for: on @epoll, as a source of an event loop
 *   pollset_take()    what is ready after such an event
 *
 * Serialised by the owner; epoll itself may be waited on meanwhile.
 */
#ifndef LGUEST_HOST_POLLSET_H
#define LGUEST_HOST_POLLSET_H

#include <stdbool.h>
#include <stdint.h>

struct pollset_entry;

struct pollset {
	int epoll;                   /* owned */
	struct pollset_entry *entry; /* by descriptor */
	int *list;                   /* of those that the last round named, or that are armed */
	unsigned size, listed;       /* of entry; of list */
	uint32_t round;
};

/* 0 or -errno. */
int pollset_create(struct pollset *set);
void pollset_destroy(struct pollset *set);

void pollset_begin(struct pollset *set);
/* @events: EPOLLIN... False: out of memory. */
bool pollset_want(struct pollset *set, int fd, uint32_t events);
/* What was not named since pollset_begin() is not wanted any more. */
void pollset_end(struct pollset *set);
/* @fd is new, or about to be closed, which takes it out of the set. */
void pollset_forget(struct pollset *set, int fd);

/* Looks at descriptors that are to be read or written and are not armed for it yet. True when one is ready: see pollset_ready(). */
bool pollset_peek(struct pollset *set);
void pollset_arm(struct pollset *set);
void pollset_take(struct pollset *set);
/*
 * Since the last pollset_begin(). An error or the other side's end, which epoll
 * reports to everybody, is EPOLLOUT to who does not want to read: writing will tell.
 */
uint32_t pollset_ready(const struct pollset *set, int fd);

#endif
