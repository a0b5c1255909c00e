/* SPDX-License-Identifier: MIT */
/* utf8 - is it UTF-8, and if not, what can be shown of it; see utf8.h */
#include "common/utf8.h"

#include <stdint.h>

#include "common/strbuf.h"

/* The rows of Unicode's table 3-7: first byte, range of the second, length. */
static const struct {
	uint8_t first_low, first_high, second_low, second_high, size;
} sequences[] = {
	{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
	{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
	{ 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 },
	{ 0xee, 0xef, 0x80, 0xbf, 3 },
	{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
	{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

static bool continues(const uint8_t *bytes, size_t size)
{
	for (size_t i = 2; i < size; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return false;
	return true;
}

size_t utf8_sequence(const char *text, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)text;

	if (size == 0)
		return 0;
	if (bytes[0] < 0x80)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
		if (bytes[0] < sequences[i].first_low || bytes[0] > sequences[i].first_high)
			continue;
		if (size < sequences[i].size || bytes[1] < sequences[i].second_low ||
			bytes[1] > sequences[i].second_high)
			return 0;
		return continues(bytes, sequences[i].size) ? sequences[i].size : 0;
	}
	return 0;
}

bool utf8_valid(const char *text, size_t size)
{
	for (size_t at = 0; at < size;) {
		size_t n = utf8_sequence(text + at, size - at);

		if (!n)
			return false;
		at += n;
	}
	return true;
}

char *utf8_sanitize(const char *text, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	for (size_t at = 0; at < size;) {
		size_t n = text[at] ? utf8_sequence(text + at, size - at) : 0;

		if (n)
			strbuf_add(&out, text + at, n);
		else
			strbuf_adds(&out, "\xef\xbf\xbd");
		at += n ? n : 1;
	}
	return strbuf_steal(&out);
}
