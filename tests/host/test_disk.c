/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks: what all kinds have in common, on each of them; then what files,
 * copy on write and servers have of their own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk_fixture.h"

#define SIZE    (8u << 20)
#define SECTORS (SIZE / DISK_SECTOR)
#define BATCH   64

/* ---- many requests at once, against a model in memory ---- */

struct shot {
	struct disk_request req;
	struct model *model;
	struct iovec iov[8];
	uint8_t *data;
};

struct model {
	struct fixture f;
	uint8_t *bytes;
	uint8_t known[SECTORS]; /* 0: discarded, may read as anything */
	struct shot shot[BATCH];
	unsigned pending, failed;
	uint64_t random;
};

static unsigned below(struct model *m, unsigned n)
{
	m->random = m->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)((m->random >> 33) % n);
}

static void shot_done(struct disk_request *req, int error)
{
	struct shot *s = (struct shot *)req;

	s->model->pending--;
	/* A disk that cannot discard says so. */
	if (error && !(req->op == DISK_DISCARD && error == -EOPNOTSUPP))
		s->model->failed++;
}

/* Cuts @len bytes at @data into pieces; addresses and lengths of any kind when @odd. */
static unsigned cut(struct model *m, struct shot *s, uint8_t *data, uint64_t len, bool odd)
{
	unsigned n = 0;

	while (len) {
		uint64_t piece = len;

		if (n < 7 && below(m, 2))
			piece = odd ? 1 + below(m, (unsigned)len)
				    : 512u * (1 + below(m, (unsigned)len / 512));
		s->iov[n++] = (struct iovec){ data, piece };
		data += piece;
		len -= piece;
	}
	return n;
}

static void expect_range(struct model *m, uint64_t sector, uint64_t count, const uint8_t *data)
{
	for (uint64_t i = 0; i < count; i++)
		if (m->known[sector + i])
			assert_memory_equal(data + i * 512, m->bytes + (sector + i) * 512, 512);
}

/* A batch of requests in disjoint slices of the disk, all in flight together. */
static void batch(struct model *m)
{
	const unsigned slice = SECTORS / BATCH;
	struct disk *disk = m->f.disk;

	m->pending = 0;
	for (unsigned i = 0; i < BATCH; i++) {
		struct shot *s = &m->shot[i];
		unsigned at = below(m, slice), count = 1 + below(m, below(m, 4) ? 16 : slice);
		uint64_t sector = (uint64_t)i * slice + at;
		static const enum disk_op ops[] = { DISK_READ, DISK_READ,  DISK_WRITE,  DISK_WRITE,
						    DISK_ZERO, DISK_FLUSH, DISK_DISCARD };
		enum disk_op op = ops[below(m, 7)];

		if (count > slice - at)
			count = slice - at;
		s->model = m;
		s->req = (struct disk_request){ .op = op,
						.unmap = below(m, 2),
						.offset = sector * 512,
						.length = count * 512ull,
						.iov = s->iov,
						.done = shot_done };
		if (op == DISK_WRITE)
			for (unsigned b = 0; b < count * 512; b++)
				s->data[b] = (uint8_t)below(m, 256);
		if (op == DISK_READ || op == DISK_WRITE)
			s->req.count = cut(m, s, s->data, s->req.length, below(m, 2));
		if (op == DISK_FLUSH)
			s->req.offset = s->req.length = 0;
		m->pending++;
		disk->ops->submit(disk, &s->req);
		if (below(m, 4) == 0)
			disk->ops->kick(disk);
	}
	disk->ops->kick(disk);
	wait_for(&m->f, &m->pending);
	for (unsigned i = 0; i < BATCH; i++) {
		struct disk_request *req = &m->shot[i].req;
		uint64_t sector = req->offset / 512, count = req->length / 512;

		if (req->op == DISK_READ)
			expect_range(m, sector, count, m->shot[i].data);
		if (req->op == DISK_WRITE)
			memcpy(m->bytes + req->offset, m->shot[i].data, req->length);
		if (req->op == DISK_ZERO)
			memset(m->bytes + req->offset, 0, req->length);
		if (req->op != DISK_READ)
			memset(m->known + sector, req->op != DISK_DISCARD, count);
	}
	assert_int_equal(m->failed, 0);
}

static void expect_all(struct model *m)
{
	uint8_t *data = malloc(SIZE);

	assert_int_equal(disk_do(&m->f, DISK_READ, 0, SIZE, data), 0);
	expect_range(m, 0, SECTORS, data);
	free(data);
}

static void test_model(void **state)
{
	enum kind kind = (enum kind)(uintptr_t)*state;
	struct model *m = calloc(1, sizeof(*m));
	uint8_t *file = malloc(SIZE);
	int fd;

	fixture_init(&m->f, SIZE);
	if (!fixture_open_kind(&m->f, kind)) {
		fixture_destroy(&m->f);
		skip();
	}
	assert_int_equal(m->f.disk->size, SIZE);
	m->bytes = malloc(SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		m->bytes[i] = pattern(i);
	memset(m->known, 1, sizeof(m->known));
	for (unsigned i = 0; i < BATCH; i++)
		assert_int_equal(posix_memalign((void **)&m->shot[i].data, 4096, SIZE / BATCH), 0);
	m->random = 42 + kind;
	for (unsigned i = 0; i < (getenv("UNDER_VALGRIND") ? 3 : 40); i++)
		batch(m);
	expect_all(m);
	assert_int_equal(disk_do(&m->f, DISK_FLUSH, 0, 0, NULL), 0);
	fixture_close(&m->f);

	/* What is in the file itself: all of it, or, below a copy, nothing. */
	fd = open(m->f.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, file, SIZE), SIZE);
	assert_int_equal(lseek(fd, 0, SEEK_END), SIZE);
	close(fd);
	if (kind == KIND_COW || kind == KIND_NBD_COW)
		for (unsigned i = 0; i < SIZE; i++)
			assert_int_equal(file[i], pattern(i));
	else
		expect_range(m, 0, SECTORS, file);

	for (unsigned i = 0; i < BATCH; i++)
		free(m->shot[i].data);
	free(m->bytes);
	free(file);
	fixture_destroy(&m->f);
	free(m);
}

/* ---- files ---- */

static void test_at_once(void **state)
{
	struct fixture f;
	uint8_t data[8192];

	/* What the page cache can answer wakes nobody. */
	fixture_init(&f, SIZE);
	assert_true(fixture_open(&f));
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(disk_do(&f, DISK_WRITE, i * 8192, 8192, data), 0);
		assert_int_equal(disk_do(&f, DISK_READ, i * 8192, 8192, data), 0);
	}
	assert_true(f.wakes < 10);
	/* A flush of what has been flushed, too; the first one does something. */
	assert_int_equal(disk_do(&f, DISK_FLUSH, 0, 0, NULL), 0);
	f.wakes = 0;
	assert_int_equal(disk_do(&f, DISK_FLUSH, 0, 0, NULL), 0);
	assert_int_equal(f.wakes, 0);
	assert_int_equal(disk_do(&f, DISK_WRITE, 0, 512, data), 0);
	assert_int_equal(disk_do(&f, DISK_FLUSH, 0, 0, NULL), 0);
	assert_int_not_equal(f.wakes, 0);
	fixture_destroy(&f);
}

static void test_tail(void **state)
{
	struct fixture f;
	uint8_t data[1024];
	struct stat st;

	/* 300 bytes more than two sectors: zeroes follow where it is only read, ... */
	fixture_init(&f, 1324);
	f.options.read_only = true;
	assert_true(fixture_open(&f));
	assert_int_equal(f.disk->size, 1536);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(disk_do(&f, DISK_READ, 512, 1024, data), 0);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(data[i], i < 812 ? pattern(512 + i) : 0);
	fixture_close(&f);
	f.options.read_only = false;
	f.options.cow = true;
	assert_true(fixture_open(&f));
	memset(data, 0x55, sizeof(data));
	assert_int_equal(disk_do(&f, DISK_WRITE, 1024, 512, data), 0);
	assert_int_equal(disk_do(&f, DISK_READ, 512, 1024, data), 0);
	assert_int_equal(data[511], pattern(1023));
	assert_int_equal(data[1023], 0x55);
	fixture_close(&f);
	assert_int_equal(f.warnings, 0);

	/* ... and nothing where it can be written. */
	f.options.cow = false;
	assert_true(fixture_open(&f));
	assert_int_equal(f.disk->size, 1024);
	assert_int_equal(f.warnings, 1);
	assert_non_null(strstr(f.warning, "last 300 bytes"));
	fixture_close(&f);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_size, 1324);
	fixture_destroy(&f);
}

static void test_cut_off(void **state)
{
	struct fixture f;
	uint8_t data[4096];
	struct stat st;

	/* Somebody truncates the image: errors, and no growth by reading. */
	fixture_init(&f, SIZE);
	assert_true(fixture_open(&f));
	assert_int_equal(truncate(f.path, SIZE / 2), 0);
	assert_int_equal(disk_do(&f, DISK_READ, SIZE - 4096, 4096, data), -EIO);
	assert_int_equal(disk_do(&f, DISK_READ, SIZE / 2 - 4096, 4096, data), 0);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_size, SIZE / 2);
	fixture_destroy(&f);
}

static void test_host_error(void **state)
{
	struct rlimit old, small = { .rlim_cur = SIZE / 2 };
	enum kind kinds[] = { KIND_URING, KIND_THREADS };
	uint8_t *data = calloc(1, 1 << 20);

	/* The host refuses a write: an error, and the rest goes on. */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	for (unsigned i = 0; i < 2; i++) {
		struct fixture f;

		fixture_init(&f, SIZE);
		assert_true(fixture_open_kind(&f, kinds[i]));
		small.rlim_max = old.rlim_max;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		assert_int_equal(disk_do(&f, DISK_WRITE, SIZE / 2, 4096, data), -EFBIG);
		/* Half of it fits. */
		assert_int_equal(disk_do(&f, DISK_WRITE, SIZE / 2 - (512 << 10), 1 << 20, data), -EFBIG);
		assert_int_equal(disk_do(&f, DISK_WRITE, 0, 4096, data), 0);
		assert_int_equal(disk_do(&f, DISK_READ, SIZE / 2, 4096, data), 0);
		assert_int_equal(data[0], pattern(SIZE / 2));
		memset(data, 0, 1 << 20);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		fixture_destroy(&f);
	}
	free(data);
}

static void test_sparse(void **state)
{
	struct fixture f;
	struct stat before, after;

	/* A discarded range takes no space. */
	fixture_init(&f, SIZE);
	assert_true(fixture_open(&f));
	assert_int_equal(disk_do(&f, DISK_FLUSH, 0, 0, NULL), 0);
	assert_int_equal(stat(f.path, &before), 0);
	if (disk_do(&f, DISK_DISCARD, SIZE / 4, SIZE / 2, NULL) == -EOPNOTSUPP) {
		fixture_destroy(&f);
		skip();
	}
	assert_int_equal(stat(f.path, &after), 0);
	assert_true(after.st_blocks < before.st_blocks * 6 / 10);
	assert_int_equal(after.st_size, SIZE);
	fixture_destroy(&f);
}

/* ---- io_uring is forbidden, as in many containers ---- */

static int forbid_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
		       ? -1
		       : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void test_no_uring(void **state)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct fixture f;
		uint8_t data[512];

		if (forbid_uring() < 0)
			_exit(10);
		fixture_init(&f, SIZE);
		if (!fixture_open(&f))
			_exit(11);
		memset(data, 0x77, sizeof(data));
		if (disk_do(&f, DISK_WRITE, 512, 512, data) || disk_do(&f, DISK_FLUSH, 0, 0, NULL) ||
		    disk_do(&f, DISK_ZERO, 1024, 512, NULL) || disk_do(&f, DISK_READ, 1024, 512, data))
			_exit(12);
		if (data[0] || disk_do(&f, DISK_READ, 512, 512, data) || data[0] != 0x77)
			_exit(13);
		if (!f.wakes) /* somebody has done it elsewhere */
			_exit(14);
		fixture_destroy(&f);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- copy on write ---- */

/* Every other sector is private: a read of everything falls into pieces. */
static void test_fragments(void **state)
{
	enum kind kind = (enum kind)(uintptr_t)*state;
	struct fixture f;
	uint8_t *data = malloc(SIZE), *sector = malloc(512);

	fixture_init(&f, SIZE);
	if (!fixture_open_kind(&f, kind)) {
		fixture_destroy(&f);
		skip();
	}
	for (unsigned i = 0; i < SECTORS; i += 2) {
		memset(sector, (int)(i / 2 % 255), 512);
		assert_int_equal(disk_do(&f, DISK_WRITE, i * 512ull, 512, sector), 0);
	}
	memset(data, 0xee, SIZE);
	assert_int_equal(disk_do(&f, DISK_READ, 512, SIZE - 1024, data), 0);
	for (unsigned i = 0; i < SIZE - 1024; i++) {
		unsigned at = i + 512, which = at / 512;

		assert_int_equal(data[i], which % 2 ? pattern(at) : which / 2 % 255);
	}
	for (unsigned i = SIZE - 1024; i < SIZE; i++)
		assert_int_equal(data[i], 0xee);
	fixture_destroy(&f);
	free(data);
	free(sector);
}

/* ---- opening ---- */

static void refuse(struct fixture *f, const char *path, const char *word)
{
	struct disk *disk = disk_open(path, &f->options, &f->client, f->err, sizeof(f->err));

	assert_null(disk);
	assert_non_null(strstr(f->err, path));
	assert_non_null(strstr(f->err, word));
	assert_null(strchr(f->err, '\n'));
}

static void test_refused(void **state)
{
	struct fixture f;
	char other[160];
	int fd;

	fixture_init(&f, SIZE);
	snprintf(other, sizeof(other), "%s/other", f.dir);
	refuse(&f, f.dir, "directory");
	refuse(&f, other, "No such file");
	assert_int_equal(mkfifo(other, 0600), 0);
	refuse(&f, other, "pipe");
	unlink(other);
	refuse(&f, "/dev/null", "character device");
	fd = open(other, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	refuse(&f, other, "empty");
	assert_int_equal(write(fd, "QFI\xfb\0\0\0\3", 8), 8);
	assert_int_equal(ftruncate(fd, 65536), 0);
	refuse(&f, other, "qcow2");
	close(fd);
	chmod(other, 0400);
	if (geteuid() != 0)
		refuse(&f, other, ",ro");
	unlink(other);
	/* A server that is not there. */
	refuse(&f, "nbd+unix:///?socket=/nonexistent", "No such file");
	assert_int_equal(f.loop.count, 0);
	fixture_destroy(&f);
}

static void test_locks(void **state)
{
	static const struct {
		bool ro, cow;
	} how[] = { { false, false }, { true, false }, { false, true } };

	/* Writers are alone, readers (and copies on write) among themselves. */
	for (unsigned first = 0; first < 3; first++) {
		for (unsigned second = 0; second < 3; second++) {
			struct fixture f;
			struct disk *disk;

			fixture_init(&f, SIZE);
			f.options.read_only = how[first].ro;
			f.options.cow = how[first].cow;
			assert_true(fixture_open(&f));
			f.options.read_only = how[second].ro;
			f.options.cow = how[second].cow;
			disk = disk_open(f.path, &f.options, &f.client, f.err, sizeof(f.err));
			assert_int_equal(disk != NULL, first != 0 && second != 0);
			if (disk)
				disk->ops->destroy(disk);
			else
				assert_non_null(strstr(f.err, first == 0 ? "as a writable disk"
									 : "as a read-only disk"));
			fixture_close(&f);
			/* Gone with who held it. */
			f.options.read_only = f.options.cow = false;
			assert_true(fixture_open(&f));
			fixture_destroy(&f);
		}
	}
}

/* ---- servers ---- */

struct waiting {
	struct disk_request req;
	unsigned *pending;
	int error;
};

static void waiting_done(struct disk_request *req, int error)
{
	struct waiting *w = (struct waiting *)req;

	w->error = error;
	--*w->pending;
}

/* Signals take effect some time later. */
static void stop_server(struct fixture *f)
{
	kill(f->server, SIGSTOP);
	assert_int_equal(waitpid(f->server, NULL, WUNTRACED), f->server);
}

static unsigned failed(const struct waiting *w, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += w[i].error == -EIO;
	return n;
}

static void submit_some(struct fixture *f, struct waiting *w, unsigned count, unsigned *pending,
			uint8_t *data)
{
	static struct iovec iov[16];

	*pending = count;
	for (unsigned i = 0; i < count; i++) {
		iov[i] = (struct iovec){ data + i * 65536, 65536 };
		w[i] = (struct waiting){ .pending = pending, .error = 1 };
		w[i].req = (struct disk_request){ .op = i % 2 ? DISK_WRITE : DISK_READ,
						  .offset = i * 65536,
						  .length = 65536,
						  .iov = &iov[i],
						  .count = 1,
						  .done = waiting_done };
		f->disk->ops->submit(f->disk, &w[i].req);
	}
	f->disk->ops->kick(f->disk);
}

static void test_server_dies(void **state)
{
	struct fixture f;
	struct waiting w[16];
	unsigned pending;
	uint8_t *data = calloc(16, 65536);

	fixture_init(&f, SIZE);
	if (!fixture_open_kind(&f, KIND_NBD)) {
		fixture_destroy(&f);
		skip();
	}
	/* With requests under way, which it cannot answer any more. */
	stop_server(&f);
	submit_some(&f, w, 16, &pending, data);
	kill(f.server, SIGKILL);
	waitpid(f.server, NULL, 0);
	f.server = 0;
	wait_for(&f, &pending);
	assert_int_equal(failed(w, 16), 16);
	/* And from then on. */
	assert_int_equal(disk_do(&f, DISK_READ, 0, 512, data), -EIO);
	assert_int_equal(disk_do(&f, DISK_FLUSH, 0, 0, NULL), -EIO);
	/* The event loop is quiet: nothing is ready all the time. */
	f.wakes = 0;
	for (unsigned i = 0; i < 20; i++)
		eventloop_run_once(&f.loop, 1);
	assert_true(f.wakes <= 1);
	fixture_destroy(&f);
	free(data);
}

static void test_server_hangs(void **state)
{
	struct fixture f;
	struct waiting w[16];
	unsigned pending;
	uint8_t *data = calloc(16, 65536);

	/* It stops: a guest that resets the device gets it back after a while. */
	fixture_init(&f, SIZE);
	if (!fixture_open_kind(&f, KIND_NBD)) {
		fixture_destroy(&f);
		skip();
	}
	stop_server(&f);
	submit_some(&f, w, 16, &pending, data);
	f.disk->ops->drain(f.disk);
	fixture_destroy(&f);
	assert_int_equal(pending, 0);
	assert_int_equal(failed(w, 16), 16);
	free(data);
}

static void test_server_ro(void **state)
{
	struct fixture f;
	uint8_t data[512];

	fixture_init(&f, SIZE);
	chmod(f.path, 0400);
	f.options.read_only = true;
	if (!fixture_open_kind(&f, KIND_NBD)) {
		fixture_destroy(&f);
		skip();
	}
	assert_true(f.disk->read_only);
	assert_int_equal(disk_do(&f, DISK_READ, 512, 512, data), 0);
	assert_int_equal(data[0], pattern(512));
	fixture_destroy(&f);
}

int main(void)
{
	struct CMUnitTest tests[KINDS + 16] = { { 0 } };
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_at_once),     cmocka_unit_test(test_tail),
		cmocka_unit_test(test_cut_off),     cmocka_unit_test(test_host_error),
		cmocka_unit_test(test_sparse),      cmocka_unit_test(test_no_uring),
		cmocka_unit_test(test_refused),     cmocka_unit_test(test_locks),
		cmocka_unit_test(test_server_dies), cmocka_unit_test(test_server_hangs),
		cmocka_unit_test(test_server_ro),
	};
	unsigned n = 0;

	for (unsigned kind = 0; kind < KINDS; kind++)
		tests[n++] = (struct CMUnitTest){ .name = kind_name(kind),
						  .test_func = test_model,
						  .initial_state = (void *)(uintptr_t)kind };
	tests[n++] = (struct CMUnitTest){ .name = "fragments, cow",
					  .test_func = test_fragments,
					  .initial_state = (void *)(uintptr_t)KIND_COW };
	tests[n++] = (struct CMUnitTest){ .name = "fragments, cow on nbd",
					  .test_func = test_fragments,
					  .initial_state = (void *)(uintptr_t)KIND_NBD_COW };
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		tests[n++] = others[i];
	return _cmocka_run_group_tests("disk", tests, n, NULL, NULL);
}
