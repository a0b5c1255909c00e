/* SPDX-License-Identifier: MIT */
/* git_url - a remote's URL without its credentials; see git_url.h */
#include "capture/git_url.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/strbuf.h"

static const struct scheme {
	const char *name;
	bool keeps_user;  /* git@ is part of the address */
	bool keeps_query; /* '?' and '#' are bytes of a path */
} schemes[] = {
	{ "http", false, false }, { "https", false, false }, { "ssh", true, true },
	{ "git+ssh", true, true }, { "ssh+git", true, true }, { "", false, true }, /* any other */
};

/* The scheme's text is what lies before end. */
static const struct scheme *scheme_of(const char *start, const char *end)
{
	const struct scheme *scheme = schemes;

	while (*scheme->name &&
		((size_t)(end - start) != strlen(scheme->name) ||
			strncasecmp(start, scheme->name, (size_t)(end - start)) != 0))
		scheme++;
	return scheme;
}

static bool is_scheme_byte(char c)
{
	return isalnum((unsigned char)c) || c == '+' || c == '-' || c == '.';
}

static const char *last_at(const char *from, size_t size)
{
	return memrchr(from, '@', size);
}

/* A port is digits, and '[' begins an IPv6 address: anything else behind a ':' is a password. */
static bool has_odd_port(const char *authority, size_t size)
{
	const char *colon = *authority == '[' ? NULL : memchr(authority, ':', size);

	return colon && strspn(colon + 1, "0123456789") < (size_t)(authority + size - colon - 1);
}

/*
 * The '@' that ends the credentials; NULL when there are none. A password with a '/' in it, which
 * no URL allows and people type all the same, reaches to the last '@' of the text.
 */
static const char *end_of_credentials(const char *authority)
{
	size_t size = strcspn(authority, "/?#");
	const char *at = last_at(authority, size);

	if (!at && has_odd_port(authority, size))
		at = last_at(authority, strlen(authority));
	return at;
}

/* Copy what follows "://" up to where the next scheme may begin; returns there. */
static const char *strip_authority(
	const char *authority, const struct scheme *scheme, struct strbuf *out)
{
	const char *at = end_of_credentials(authority);

	if (!at)
		return authority;
	if (scheme->keeps_user) {
		size_t user = strcspn(authority, ":@");

		strbuf_add(out, authority, user);
		if (user)
			strbuf_addc(out, '@');
	}
	return at + 1;
}

static char *strip_url(const char *url, const char *separator)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	const struct scheme *scheme;
	const char *rest = url;

	/* More than one when a transport's address is a URL. */
	do {
		const char *name = separator;

		while (name > rest && is_scheme_byte(name[-1]))
			name--;
		scheme = scheme_of(name, separator);
		strbuf_add(&out, rest, (size_t)(separator + 3 - rest));
		rest = strip_authority(separator + 3, scheme, &out);
		separator = strstr(rest, "://");
	} while (separator);
	/* A query may hold a token; what a git server is asked with has none. */
	strbuf_add(&out, rest, scheme->keeps_query ? strlen(rest) : strcspn(rest, "?#"));
	return strbuf_steal(&out);
}

/* user:password@host:path, which git itself would take for a host "user". */
static char *strip_scp(const char *url)
{
	const char *colon = url + strcspn(url, ":/");
	const char *at = *colon == ':' ? strchr(colon, '@') : NULL;
	const char *path = at ? strchr(at, ':') : NULL;

	if (!path)
		return mem_strdup(url);
	at = last_at(colon, (size_t)(path - colon));
	return mem_printf("%.*s%s", (int)(colon - url), url, at);
}

char *git_url_strip(const char *url)
{
	const char *separator = strstr(url, "://");

	/* A command line, with whatever its author put there. */
	if (!strncasecmp(url, "ext::", 5))
		return mem_strdup("ext::");
	return separator ? strip_url(url, separator) : strip_scp(url);
}
