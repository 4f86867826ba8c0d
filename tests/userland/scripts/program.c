/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compiled in the guest by each compiler at each level; one output for all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
	struct node *left, *right;
	unsigned int key;
	int count;
};

static struct node *insert(struct node *node, unsigned int key)
{
	if (!node) {
		node = calloc(1, sizeof(*node));
		node->key = key;
	}
	if (key < node->key)
		node->left = insert(node->left, key);
	else if (key > node->key)
		node->right = insert(node->right, key);
	else
		node->count++;
	return node;
}

static unsigned int walk(struct node *node, unsigned int depth)
{
	if (!node)
		return depth;
	return walk(node->left, depth + 1) * 31 + walk(node->right, depth + 1) +
	       node->key * (unsigned int)node->count;
}

int main(void)
{
	struct node *root = NULL;
	unsigned int state = 1, table[256];
	static double a[64][64], b[64][64], c[64][64];
	double trace = 0;
	char text[200];

	for (int i = 0; i < 3000; i++) {
		state = state * 1664525 + 1013904223;
		root = insert(root, state >> 20);
	}
	printf("tree %u\n", walk(root, 0));
	for (int i = 0; i < 64; i++)
		for (int j = 0; j < 64; j++) {
			a[i][j] = i * 0.5 - j;
			b[i][j] = (i ^ j) * 0.25;
		}
	for (int i = 0; i < 64; i++)
		for (int j = 0; j < 64; j++)
			for (int k = 0; k < 64; k++)
				c[i][j] += a[i][k] * b[k][j];
	for (int i = 0; i < 64; i++)
		trace += c[i][i];
	printf("matrix %.6f %.10f\n", trace, sqrt(fabs(trace)));
	for (unsigned int i = 0; i < 256; i++) {
		unsigned int x = i;

		for (int k = 0; k < 8; k++)
			x = x & 1 ? x >> 1 ^ 0xedb88320 : x >> 1;
		table[i] = x;
	}
	state = ~0u;
	snprintf(text, sizeof(text), "%d %u %lld %s %c %5.2f %-8x|", -5, 5u, -1234567890123LL, "string", 'c',
		 2.345, 0xbeef);
	for (char *at = text; *at; at++)
		state = state >> 8 ^ table[(state ^ (unsigned char)*at) & 255];
	printf("%s crc %08x\n", text, ~state);
	return (int)strlen(text) & 63;
}
