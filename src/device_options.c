/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A value is a list of words between commas. The first one says what the
 * device is connected with, the others are settings, `name` or `name=value`:
 *
 *	disk.img,ro,serial=root
 *	user,hostfwd=tcp:127.0.0.1:2222-:22,mac=02:00:00:00:00:07
 *
 * Only --tunnet is different: it is as it was in the original lguest, with
 * colons.
 */
#include "device_options.h"
#include "config.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value {
	const char *option; /* "--block" */
	const char *text;   /* all of it */
	const char *next;   /* the next word; NULL: there is none */
	char *err;
	size_t errlen;
};

/* A piece of the value: not terminated. */
struct word {
	const char *at;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static bool bad(struct value *v, const char *fmt, ...)
{
	int n = snprintf(v->err, v->errlen, "%s=%.200s: ", v->option, v->text);
	va_list ap;

	if (n > 0 && (size_t)n < v->errlen) {
		va_start(ap, fmt);
		vsnprintf(v->err + n, v->errlen - (size_t)n, fmt, ap);
		va_end(ap);
	}
	return false;
}

static bool is(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.at, text, w.len) == 0;
}

/* Does @w begin with @prefix? Then it is cut off. */
static bool skip(struct word *w, const char *prefix)
{
	size_t len = strlen(prefix);

	if (w->len < len || memcmp(w->at, prefix, len) != 0)
		return false;
	w->at += len;
	w->len -= len;
	return true;
}

/* The next word up to a comma; false at the end. */
static bool next_word(struct value *v, struct word *w)
{
	if (!v->next)
		return false;
	*w = (struct word){ v->next, strcspn(v->next, ",") };
	v->next = w->at[w->len] ? w->at + w->len + 1 : NULL;
	return true;
}

/* Cuts @w at the first @c: the part before it; the rest stays in @w. Without @c all of it. */
static struct word cut(struct word *w, char c)
{
	const char *end = memchr(w->at, c, w->len);
	size_t len = end ? (size_t)(end - w->at) : w->len;
	struct word part = { w->at, len };

	len += end != NULL;
	w->at += len;
	w->len -= len;
	return part;
}

/* As a string; false when it does not fit. */
static bool copy(char *to, size_t size, struct word w)
{
	if (w.len >= size)
		return false;
	memcpy(to, w.at, w.len);
	to[w.len] = 0;
	return true;
}

#define SHOW(w) (int)((w).len > 60 ? 60 : (w).len), (w).at

/* ---- --block ---- */

/* Up to a comma that stands alone; of two, one is the file's. */
static char *file_name(struct value *v)
{
	const char *p = v->text;
	char *name = malloc(strlen(p) + 1), *to = name;

	if (!name)
		return NULL;
	for (;;) {
		size_t len = strcspn(p, ",");

		to = mempcpy(to, p, len);
		p += len;
		if (p[0] != ',' || p[1] != ',')
			break;
		*to++ = ',';
		p += 2;
	}
	*to = 0;
	v->next = *p ? p + 1 : NULL;
	return name;
}

static bool serial(struct value *v, struct block_config *cfg, struct word w)
{
	if (w.len == 0)
		return bad(v, "the serial number is empty (write serial=NAME)");
	for (size_t i = 0; i < w.len; i++)
		if (w.at[i] <= ' ' || w.at[i] > '~')
			return bad(v, "a serial number is made of visible ASCII characters");
	if (!copy(cfg->serial, sizeof(cfg->serial), w))
		return bad(v, "the serial number is too long (at most %zu characters)",
			   sizeof(cfg->serial) - 1);
	return true;
}

bool parse_block(struct block_config *cfg, const char *value, char *err, size_t errlen)
{
	struct value v = { "--block", value, value, err, errlen };
	struct word w;

	cfg->path = file_name(&v);
	if (!cfg->path)
		return bad(&v, "out of memory");
	if (!*cfg->path)
		return bad(&v, "no file is named (write --block=FILE[,ro][,cow][,serial=NAME][,direct])");
	while (next_word(&v, &w)) {
		if (is(w, "ro"))
			cfg->read_only = true;
		else if (is(w, "cow"))
			cfg->cow = true;
		else if (is(w, "direct"))
			cfg->direct = true;
		else if (skip(&w, "serial=")) {
			if (!serial(&v, cfg, w))
				return false;
		} else
			return bad(
				&v,
				"\"%.*s\" is no setting of a disk (there are ro, cow, serial=NAME, direct; a "
				"comma in the file's name is written twice)",
				SHOW(w));
	}
	if (cfg->read_only && cfg->cow)
		return bad(&v, "ro and cow together make no sense (leave FILE alone with either of them)");
	return true;
}

/* ---- networks ---- */

static bool mac_address(struct value *v, struct net_config *cfg, struct word w)
{
	unsigned digits = 0, part = 0;

	memset(cfg->mac, 0, sizeof(cfg->mac));
	for (size_t i = 0; i < w.len; i++) {
		static const char hex[] = "0123456789abcdef";
		char c = w.at[i] >= 'A' && w.at[i] <= 'F' ? (char)(w.at[i] - 'A' + 'a') : w.at[i];
		const char *digit = c ? strchr(hex, c) : NULL;

		if (c == ':' && digits > 0) {
			part++;
			digits = 0;
		} else if (digit && part < 6 && digits < 2) {
			cfg->mac[part] = (uint8_t)(cfg->mac[part] << 4 | (digit - hex));
			digits++;
		} else {
			part = 99;
			break;
		}
	}
	if (part != 5 || digits == 0)
		return bad(v, "\"%.*s\" is no MAC address (write 02:00:00:00:00:01)", SHOW(w));
	if (cfg->mac[0] & 1)
		return bad(v, "\"%.*s\" is a multicast address (the first byte must be even)", SHOW(w));
	if (memcmp(cfg->mac, "\0\0\0\0\0", 6) == 0)
		return bad(v, "the MAC address is zero (write 02:00:00:00:00:01)");
	cfg->has_mac = true;
	return true;
}

static bool interface_name(struct value *v, struct net_config *cfg, struct word w)
{
	_Static_assert(sizeof(cfg->name) == IFNAMSIZ, "a name fits");

	if (w.len == 0)
		return bad(v, "the name of the interface is empty");
	/* What the host's kernel does not take either (dev_valid_name). */
	for (size_t i = 0; i < w.len; i++)
		if ((uint8_t)w.at[i] <= ' ' || w.at[i] == '/' || w.at[i] == ':')
			return bad(v, "\"%.*s\" cannot be the name of an interface", SHOW(w));
	if (is(w, ".") || is(w, "..") || !copy(cfg->name, sizeof(cfg->name), w))
		return bad(v, "\"%.*s\" cannot be the name of an interface (it has 1 to %zu characters)",
			   SHOW(w), sizeof(cfg->name) - 1);
	return true;
}

static bool ip_address(struct value *v, struct net_config *cfg, struct word w)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr addr;

	if (!copy(text, sizeof(text), w) || inet_pton(AF_INET, text, &addr) != 1)
		return bad(
			v,
			"\"%.*s\" is no IPv4 address (write --tunnet=192.168.19.1 or --tunnet=bridge:NAME)",
			SHOW(w));
	cfg->ip = ntohl(addr.s_addr);
	if (cfg->ip == 0 || cfg->ip >= 0xe0000000)
		return bad(v, "%s cannot be the host's address (write one like 192.168.19.1)", text);
	return true;
}

bool parse_tunnet(struct net_config *cfg, const char *value, char *err, size_t errlen)
{
	struct value v = { "--tunnet", value, NULL, err, errlen };
	struct word rest = { value, strlen(value) }, first;

	cfg->kind = skip(&rest, "bridge:") ? NET_TUN_BRIDGE : NET_TUN_IP;
	first = cut(&rest, ':');
	if (!(cfg->kind == NET_TUN_BRIDGE ? interface_name : ip_address)(&v, cfg, first))
		return false;
	/* A colon with nothing behind it is a mistake, too. */
	return first.at + first.len == rest.at || mac_address(&v, cfg, rest);
}

static bool port(struct value *v, uint16_t *number, struct word w)
{
	unsigned long n = 0;

	for (size_t i = 0; i < w.len; i++) {
		if (w.at[i] < '0' || w.at[i] > '9' || n > 65535)
			n = 65536;
		else
			n = n * 10 + (unsigned long)(w.at[i] - '0');
	}
	if (n == 0 || n > 65535)
		return bad(v, "\"%.*s\" is no port (1 to 65535)", SHOW(w));
	*number = (uint16_t)n;
	return true;
}

static bool host_address(struct value *v, struct net_forward *f, struct word *w)
{
	uint8_t bytes[sizeof(struct in6_addr)];
	bool six = skip(w, "[");
	struct word addr = cut(w, six ? ']' : ':');

	if (six && !skip(w, ":"))
		return bad(v, "hostfwd: the address in brackets does not end (write tcp:[::1]:8080-:80)");
	if (!copy(f->host_addr, sizeof(f->host_addr), addr) ||
	    ((addr.len || six) && inet_pton(six ? AF_INET6 : AF_INET, f->host_addr, bytes) != 1))
		return bad(v,
			   "hostfwd: \"%.*s\" is no address of this host (write tcp:127.0.0.1:8080-:80, or "
			   "tcp::8080-:80 for all addresses)",
			   SHOW(addr));
	return true;
}

/* tcp:127.0.0.1:8080-:80 */
static bool forward(struct value *v, struct net_config *cfg, struct word w)
{
	struct net_forward *f = &cfg->forward[cfg->forwards];
	struct word host;

	if (cfg->forwards == NET_MAX_FORWARDS)
		return bad(v, "too many forwardings (at most %d)", NET_MAX_FORWARDS);
	f->udp = skip(&w, "udp:");
	if (!f->udp && !skip(&w, "tcp:"))
		return bad(v, "hostfwd: neither tcp nor udp (write hostfwd=tcp:127.0.0.1:8080-:80)");
	if (!host_address(v, f, &w))
		return false;
	host = cut(&w, '-');
	if (!port(v, &f->host_port, host))
		return false;
	if (!skip(&w, ":"))
		return bad(v, "hostfwd: no port of the guest (write hostfwd=tcp:127.0.0.1:8080-:80)");
	if (!port(v, &f->guest_port, w))
		return false;
	cfg->forwards++;
	return true;
}

bool parse_net(struct net_config *cfg, const char *value, char *err, size_t errlen)
{
	struct value v = { "--net", value, value, err, errlen };
	struct word w;

	next_word(&v, &w);
	if (is(w, "user"))
		cfg->kind = NET_USER;
	else if (skip(&w, "tap:"))
		cfg->kind = NET_TAP;
	else
		return bad(&v,
			   "\"%.*s\" is no kind of network (write --net=user or --net=tap:NAME; see also "
			   "--tunnet)",
			   SHOW(w));
	if (cfg->kind == NET_TAP && !interface_name(&v, cfg, w))
		return false;
	while (next_word(&v, &w)) {
		bool ok;

		if (skip(&w, "mac="))
			ok = mac_address(&v, cfg, w);
		else if (cfg->kind == NET_USER && skip(&w, "hostfwd="))
			ok = forward(&v, cfg, w);
		else
			ok = bad(&v, "\"%.*s\" is no setting of this network (there are mac=MAC%s)", SHOW(w),
				 cfg->kind == NET_USER ? " and hostfwd=tcp:ADDRESS:PORT-:PORT" : "");
		if (!ok)
			return false;
	}
	return true;
}
