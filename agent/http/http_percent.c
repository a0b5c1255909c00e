/* SPDX-License-Identifier: MIT */
/* http_percent - %XX in URLs; see http_server.h */
#include "http/http_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int http_percent_decode(const char *text, char **ret)
{
	_cleanup_(freep) char *decoded = mem_alloc(strlen(text) + 1);
	char *to = decoded;

	for (const char *from = text; *from; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hex_value(from[1]);
		low = high < 0 ? -1 : hex_value(from[2]);
		if (low < 0 || (high == 0 && low == 0))
			return -EINVAL;
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	*ret = TAKE(decoded);
	return 0;
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~/", c));
}

char *http_percent_encode(const char *bytes)
{
	static const char digits[] = "0123456789ABCDEF";
	char *encoded = mem_alloc(3 * strlen(bytes) + 1);
	char *to = encoded;

	for (; *bytes; bytes++) {
		unsigned char c = (unsigned char)*bytes;

		if (is_plain(*bytes)) {
			*to++ = *bytes;
			continue;
		}
		*to++ = '%';
		*to++ = digits[c >> 4];
		*to++ = digits[c & 15];
	}
	return encoded;
}
