/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs one row of the benchmark inside the guest and reports it:
 *
 *   brun NAME SCRIPT
 *
 * runs `sh SCRIPT prep`, untimed, then `sh SCRIPT run`, timed by the monotonic
 * clock, with standard output going to a file. One line before lets the host
 * take the time too, one after tells the result:
 *
 *   @@ start NAME
 *   @@ row NAME SECONDS STATUS HASH CPU-SECONDS
 *
 * HASH is of the whole output: a run that computed something else than the
 * other engines did is reported, not counted.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT "/tmp/row.out"
#define ERRORS "/tmp/row.err"

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* CPU time of all children that have been waited for. */
static double cpu_used(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* Wait status of `sh script phase`, -1 when it could not be started. */
static int run(const char *script, const char *phase)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (!child) {
		int out = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int err = open(ERRORS, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
			_exit(126);
		execl("/bin/dash", "dash", script, phase, (char *)NULL);
		execl("/bin/sh", "sh", script, phase, (char *)NULL);
		_exit(127);
	}
	return waitpid(child, &status, 0) == child ? status : -1;
}

/* FNV-1a over 8-byte words, then over what is left: output can be megabytes. */
static uint64_t hash_output(void)
{
	static uint64_t buffer[8192];
	uint64_t hash = 0xcbf29ce484222325ull;
	int file = open(OUTPUT, O_RDONLY);
	ssize_t got;

	while (file >= 0 && (got = read(file, buffer, sizeof(buffer))) > 0) {
		memset((char *)buffer + got, 0, (size_t)(-got & 7));
		for (ssize_t i = 0; i < (got + 7) / 8; i++)
			hash = (hash ^ buffer[i]) * 0x100000001b3ull;
		hash ^= (uint64_t)got;
	}
	if (file >= 0)
		close(file);
	return hash;
}

static void show_errors(void)
{
	char line[256];
	FILE *file = fopen(ERRORS, "r");

	for (int i = 0; file && i < 8 && fgets(line, sizeof(line), file); i++)
		printf("@@ error %s", line);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	double start, end, cpu;
	int status;

	if (argc != 3) {
		fprintf(stderr, "usage: brun NAME SCRIPT\n");
		return 2;
	}
	if (run(argv[2], "prep")) {
		printf("@@ row %s 0 prep 0 0\n", argv[1]);
		show_errors();
		return 1;
	}
	printf("@@ start %s\n", argv[1]);
	fflush(stdout);
	cpu = cpu_used();
	start = now();
	status = run(argv[2], "run");
	end = now();
	cpu = cpu_used() - cpu;
	printf("@@ row %s %.6f %d %016llx %.6f\n", argv[1], end - start, status,
	       (unsigned long long)hash_output(), cpu);
	if (status)
		show_errors();
	return 0;
}
