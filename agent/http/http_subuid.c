/* SPDX-License-Identifier: MIT */
/* http_subuid - whose are the uids that /etc/subuid lends; see http_internal.h and subuid(5) */
#include "http/http_internal.h"

#include <string.h>

/* "name:first:count". false: no such line. */
static bool parse_range(const char *line, const char *end, uint64_t *ret_first, uint64_t *ret_count)
{
	const char *field = memchr(line, ':', (size_t)(end - line));
	char text[48];
	char *rest;

	if (!field || (size_t)(end - field) > sizeof(text))
		return false;
	memcpy(text, field + 1, (size_t)(end - field) - 1);
	text[end - field - 1] = '\0';
	*ret_first = strtoull(text, &rest, 10);
	if (rest == text || *rest != ':')
		return false;
	*ret_count = strtoull(rest + 1, NULL, 10);
	return true;
}

uid_t http_subuid_owner(const char *text, size_t size, uid_t uid)
{
	for (size_t at = 0, length; at < size; at += length + 1) {
		const char *end = memchr(text + at, '\n', size - at);
		uint64_t first, count;

		length = end ? (size_t)(end - text) - at : size - at;
		if (parse_range(text + at, text + at + length, &first, &count) && uid >= first &&
			uid - first < count)
			return (uid_t)first;
	}
	return uid;
}
