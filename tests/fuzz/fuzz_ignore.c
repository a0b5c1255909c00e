/* SPDX-License-Identifier: MIT */
/*
 * fuzz_ignore - rules and a path from anywhere
 *
 * Input: rules, a NUL, a path; the rules are those of the root and of the path's first directory.
 * Besides not crashing, a last rule that spells the path, byte by byte escaped, must decide.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/ignore.h"
#include "common/strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ignore_rules *parse_with_last(
	const char *text, size_t size, const char *before, const char *path, size_t path_len)
{
	_cleanup_(strbuf_release) struct strbuf rules = STRBUF_INIT;

	strbuf_add(&rules, text, size);
	strbuf_adds(&rules, before);
	for (size_t i = 0; i < path_len; i++) {
		strbuf_addc(&rules, '\\');
		strbuf_addc(&rules, path[i]);
	}
	return ignore_rules_parse(rules.data, rules.size);
}

/* These end a rule before its path does. */
static bool can_be_spelt(const char *path, size_t path_len)
{
	return path_len && !memchr(path, '\n', path_len) && !memchr(path, '\0', path_len) &&
	       path[path_len - 1] != '/' && path[path_len - 1] != '\r';
}

static void check_last_rule(const char *text, size_t size, const char *path, size_t path_len)
{
	_cleanup_(ignore_rules_freep) struct ignore_rules *in =
		parse_with_last(text, size, "\n!/", path, path_len);
	_cleanup_(ignore_rules_freep) struct ignore_rules *out =
		parse_with_last(text, size, "\n/", path, path_len);
	struct ignore_level keeps = { .rules = in }, leaves_out = { .rules = out };

	for (int is_dir = 0; is_dir < 2; is_dir++)
		if (ignore_match(&keeps, path, path_len, is_dir) ||
			!ignore_match(&leaves_out, path, path_len, is_dir))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *nul = size ? memchr(text, '\0', size) : NULL;
	size_t text_size = nul ? (size_t)(nul - text) : size;
	const char *path = nul ? nul + 1 : text;
	size_t path_len = nul ? size - text_size - 1 : size;
	const char *slash = path_len ? memchr(path, '/', path_len) : NULL;
	_cleanup_(ignore_rules_freep) struct ignore_rules *rules =
		ignore_rules_parse(text, text_size);
	struct ignore_level root = { .rules = rules };
	struct ignore_level deeper = { &root, rules, slash ? (size_t)(slash - path) + 1 : 0 };

	if (!path_len)
		return 0;
	ignore_match(&deeper, path, path_len, false);
	ignore_match(&deeper, path, path_len, true);
	if (can_be_spelt(path, path_len))
		check_last_rule(text, text_size, path, path_len);
	return 0;
}
