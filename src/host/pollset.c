/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/pollset.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Events taken in at a time; the rest waits in the kernel. */
#define ROUND 64
/* Descriptors that are looked at without waiting. */
#define PEEK 16

struct pollset_entry {
	uint32_t wanted, armed, ready; /* epoll events */
	uint32_t round;                /* that named it last */
	bool listed;
};

int pollset_create(struct pollset *set)
{
	*set = (struct pollset){ .epoll = epoll_create1(EPOLL_CLOEXEC) };
	return set->epoll < 0 ? -errno : 0;
}

void pollset_destroy(struct pollset *set)
{
	if (set->epoll >= 0)
		close(set->epoll);
	free(set->entry);
	free(set->list);
	*set = (struct pollset){ .epoll = -1 };
}

static struct pollset_entry *entry_of(struct pollset *set, int fd)
{
	unsigned size = set->size ? set->size : 64;
	struct pollset_entry *entry;
	int *list;

	if ((unsigned)fd < set->size)
		return &set->entry[fd];
	while (size <= (unsigned)fd)
		size *= 2;
	entry = reallocarray(set->entry, size, sizeof(*entry));
	if (!entry)
		return NULL;
	set->entry = entry;
	list = reallocarray(set->list, size, sizeof(*list));
	if (!list)
		return NULL;
	set->list = list;
	memset(entry + set->size, 0, (size - set->size) * sizeof(*entry));
	set->size = size;
	return &entry[fd];
}

static void arm(struct pollset *set, int fd, struct pollset_entry *e)
{
	struct epoll_event ev = { .events = e->wanted, .data.fd = fd };

	if (e->armed == e->wanted)
		return;
	/* Errors are reported even to who waits for nothing: out of the set with it. */
	if (!e->wanted)
		epoll_ctl(set->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(set->epoll, e->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0)
		epoll_ctl(set->epoll, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev);
	e->armed = e->wanted;
}

void pollset_begin(struct pollset *set)
{
	set->round++;
}

bool pollset_want(struct pollset *set, int fd, uint32_t events)
{
	struct pollset_entry *e = entry_of(set, fd);

	if (!e)
		return false;
	e->wanted = events;
	e->round = set->round;
	e->ready = 0;
	if (!e->listed) {
		e->listed = true;
		set->list[set->listed++] = fd;
	}
	return true;
}

void pollset_end(struct pollset *set)
{
	unsigned i = 0;

	while (i < set->listed) {
		struct pollset_entry *e = &set->entry[set->list[i]];

		if (e->round == set->round) {
			i++;
			continue;
		}
		e->wanted = 0;
		arm(set, set->list[i], e);
		e->listed = false;
		set->list[i] = set->list[--set->listed];
	}
}

void pollset_forget(struct pollset *set, int fd)
{
	if (fd < 0 || (unsigned)fd >= set->size)
		return;
	set->entry[fd].wanted = 0;
	arm(set, fd, &set->entry[fd]);
}

bool pollset_peek(struct pollset *set)
{
	struct pollfd p[PEEK];
	unsigned count = 0;
	bool any = false;

	for (unsigned i = 0; i < set->listed && count < PEEK; i++) {
		const struct pollset_entry *e = &set->entry[set->list[i]];

		/* The constants of poll() and epoll are the same numbers. */
		if (e->wanted & ~e->armed & (EPOLLIN | EPOLLOUT))
			p[count++] = (struct pollfd){ .fd = set->list[i], .events = (short)e->wanted };
	}
	if (!count || poll(p, count, 0) <= 0)
		return false;
	for (unsigned i = 0; i < count; i++) {
		set->entry[p[i].fd].ready = (uint16_t)p[i].revents;
		any = any || p[i].revents;
	}
	return any;
}

void pollset_arm(struct pollset *set)
{
	for (unsigned i = 0; i < set->listed; i++)
		arm(set, set->list[i], &set->entry[set->list[i]]);
}

void pollset_take(struct pollset *set)
{
	struct epoll_event ev[ROUND];
	int n = epoll_wait(set->epoll, ev, ROUND, 0);

	for (int i = 0; i < n; i++)
		if ((unsigned)ev[i].data.fd < set->size)
			set->entry[ev[i].data.fd].ready = ev[i].events;
}

uint32_t pollset_ready(const struct pollset *set, int fd)
{
	const uint32_t fault = EPOLLERR | EPOLLHUP;
	const struct pollset_entry *e;

	if (fd < 0 || (unsigned)fd >= set->size)
		return 0;
	e = &set->entry[fd];
	if ((e->ready & fault) && !(e->wanted & EPOLLIN))
		return e->wanted & EPOLLOUT;
	return e->ready;
}
