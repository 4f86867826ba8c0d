/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings alone: a device that does with its queues whatever can be done, as its
 * own little instructions in guest memory say, and checks what it gets.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD 16

struct greedy {
	struct virtio_device dev;
	/* Chains that were popped and not pushed, of queue 0. */
	struct virtq_chain held[HELD];
	struct iovec iov[HELD][VIRTQ_MAX_SIZE];
	unsigned count;
	uint32_t random;
};

static unsigned dice(struct greedy *g, unsigned n)
{
	g->random = g->random * 1664525 + 1013904223;
	return (g->random >> 16) % n;
}

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "greedy: %s\n", what);
		abort();
	}
}

/* What queue.h promises about a chain. */
static void check(const struct greedy *g, const struct virtq_chain *chain)
{
	const struct guest_memory *ram = g->dev.env->ram;
	uint64_t out = 0, in = 0;

	must(chain->out_count + chain->in_count <= chain->capacity, "more pieces than room");
	must(chain->out_count + chain->in_count > 0, "no piece");
	for (unsigned i = 0; i < chain->out_count + chain->in_count; i++) {
		const uint8_t *base = chain->iov[i].iov_base;
		uint64_t at = (uint64_t)(base - ram->base);

		must(base >= ram->base && at < ram->size && chain->iov[i].iov_len <= ram->size - at,
		     "a piece outside of RAM");
		must(chain->iov[i].iov_len > 0, "an empty piece");
		*(i < chain->out_count ? &out : &in) += chain->iov[i].iov_len;
	}
	must(out == chain->out_len && in == chain->in_len, "wrong sums");
	must(chain->head < g->dev.queue[0].s.size, "no such head");
}

static uint32_t write_some(struct greedy *g, const struct virtq_chain *chain)
{
	uint8_t bytes[64];
	size_t len = iov_read(chain->iov, chain->out_count, dice(g, 100), bytes, sizeof(bytes));

	return (uint32_t)iov_write(chain->iov + chain->out_count, chain->in_count, 0, bytes, len);
}

static void pop(struct greedy *g)
{
	struct virtq_chain *chain = &g->held[g->count];

	if (g->count == HELD)
		return;
	*chain = (struct virtq_chain){ .iov = g->iov[g->count], .capacity = dice(g, 4) ? VIRTQ_MAX_SIZE : 3 };
	if (virtio_pop(&g->dev, 0, chain) <= 0)
		return;
	check(g, chain);
	g->count++;
}

static void forget(struct greedy *g, unsigned which)
{
	g->count--;
	/* The pieces stay where they are, the pointers to them move. */
	if (which != g->count) {
		memcpy(g->iov[which], g->iov[g->count], sizeof(g->iov[which]));
		g->held[which] = g->held[g->count];
		g->held[which].iov = g->iov[which];
	}
}

static void push(struct greedy *g)
{
	unsigned which;

	if (!g->count)
		return;
	which = dice(g, g->count);
	virtq_push(&g->dev.queue[0], &g->held[which], write_some(g, &g->held[which]));
	forget(g, which);
}

/* All at once, as mergeable receive buffers. */
static void push_all(struct greedy *g)
{
	for (unsigned i = 0; i < g->count; i++)
		virtq_fill(&g->dev.queue[0], &g->held[i], write_some(g, &g->held[i]), i);
	virtq_publish(&g->dev.queue[0], g->count);
	g->count = 0;
}

static void greedy_notify(struct virtio_device *dev, unsigned queue)
{
	struct greedy *g = (struct greedy *)dev;
	struct virtq *vq = &dev->queue[queue];

	if (queue == 1) { /* this one just sends back */
		struct virtq_chain chain = { .iov = g->iov[0], .capacity = VIRTQ_MAX_SIZE };

		if (g->count)
			return;
		virtq_suppress(vq, true);
		do {
			while (virtio_pop(dev, 1, &chain) > 0)
				virtq_push(vq, &chain, write_some(g, &chain));
		} while (virtq_suppress(vq, false));
		virtio_flush(dev, 1);
		return;
	}
	for (unsigned i = 0; dev->running && i < 12; i++) {
		switch (dice(g, 10)) {
		case 0:
		case 1:
		case 2:
		case 3: pop(g); break;
		case 4:
		case 5: push(g); break;
		case 6: push_all(g); break;
		case 7: virtq_suppress(vq, dice(g, 2)); break;
		case 8: virtio_flush(dev, 0); break;
		case 9:
			/* The last one back, if it is the last one popped. */
			if (g->count && dice(g, 2)) {
				unsigned before = g->count;

				pop(g);
				if (g->count == before + 1) {
					virtq_unpop(vq, 1);
					g->count = before;
				}
			}
			break;
		}
	}
	virtio_flush(dev, 0);
}

static void greedy_start(struct virtio_device *dev)
{
	struct greedy *g = (struct greedy *)dev;

	g->count = 0;
	g->random = dev->config[0]; /* no more than the input decides what happens */
}

static void greedy_stop(struct virtio_device *dev)
{
	push_all((struct greedy *)dev);
}

static void greedy_config_written(struct virtio_device *dev, unsigned offset, unsigned size)
{
	((struct greedy *)dev)->random += dev->config[offset];
	virtio_config_change(dev);
}

static void greedy_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	free(dev);
}

static const struct virtio_ops greedy_ops = {
	.id = 77,
	.queues = 2,
	.start = greedy_start,
	.stop = greedy_stop,
	.notify = greedy_notify,
	.config_written = greedy_config_written,
	.destroy = greedy_destroy,
};

static struct virtio_device *create(struct fuzz *f)
{
	struct greedy *g = calloc(1, sizeof(*g));

	must(g, "no memory");
	virtio_init(&g->dev, &greedy_ops, &f->d.env, "greedy0", 1, 16, VIRTQ_MAX_SIZE);
	return &g->dev;
}

const struct fuzz_target fuzz_target = { .create = create, .lives = 64 };
