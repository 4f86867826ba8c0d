/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the kill test: writes numbered records to a disk or into a file, each
 * followed by fsync(), and reports each that is safe on standard output. Runs in
 * the guest until somebody pulls the plug.
 *
 *	records TARGET WRITERS [FIRST]
 *
 * Each writer has RECORDS places of 4096 bytes of its own; record n goes to place
 * n % RECORDS and consists of the words (writer << 32 | n), so that a torn one
 * shows. The report is a line "ack WRITER N".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 64
#define SIZE    4096

static void write_records(const char *target, uint64_t writer, uint64_t n)
{
	int fd = open(target, O_WRONLY | O_CREAT, 0600);
	uint64_t record[SIZE / 8];
	char line[64];

	for (;; n++) {
		for (unsigned i = 0; i < SIZE / 8; i++)
			record[i] = writer << 32 | n;
		if (pwrite(fd, record, SIZE, (off_t)((writer * RECORDS + n % RECORDS) * SIZE)) != SIZE ||
		    fsync(fd) < 0) {
			perror(target);
			_exit(1);
		}
		snprintf(line, sizeof(line), "ack %u %u\n", (unsigned)writer, (unsigned)n);
		if (write(1, line, strlen(line)) < 0)
			_exit(1);
	}
}

int main(int argc, char **argv)
{
	unsigned writers = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

	if (argc < 2)
		return 2;
	for (unsigned w = 0; w < writers; w++)
		if (fork() == 0)
			write_records(argv[1], w, first);
	while (wait(NULL) > 0)
		;
	return 1;
}
