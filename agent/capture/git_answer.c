/* SPDX-License-Identifier: MIT */
/* git_answer - what amlagent-git-info tells the daemon; see git_answer.h */
#include "capture/git_answer.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/mem.h"
#include "common/strv.h"

#define FORMAT_RECORD "format=" GIT_ANSWER_FORMAT

static void add_record(struct strbuf *out, const char *key, const char *value)
{
	strbuf_addf(out, "%s=%s", key, value);
	strbuf_addc(out, '\0');
}

void git_answer_begin(struct strbuf *out)
{
	add_record(out, "format", GIT_ANSWER_FORMAT);
}

void git_answer_add(struct strbuf *out, const char *key, const char *value)
{
	if (value)
		add_record(out, key, value);
}

void git_answer_add_patch(struct strbuf *out, const void *patch, size_t size)
{
	strbuf_addf(out, "patch=%zu", size);
	strbuf_addc(out, '\0');
	strbuf_add(out, patch, size);
}

void git_answer_end(struct strbuf *out)
{
	add_record(out, "end", "");
}

/* What is not yet parsed. */
struct input {
	const char *at, *end;
};

/* The next record, NUL-terminated; NULL when there is no whole one. */
static const char *next_record(struct input *input)
{
	const char *record = input->at;
	const char *nul =
		record < input->end ? memchr(record, '\0', (size_t)(input->end - record)) : NULL;

	if (nul)
		input->at = nul + 1;
	return nul ? record : NULL;
}

/* Decimal, and not more than is there. */
static bool read_size(const char *text, const struct input *input, size_t *ret)
{
	size_t left = (size_t)(input->end - input->at), size = 0;

	if (!*text || strlen(text) > 18)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		size = size * 10 + (size_t)(*text - '0');
	}
	*ret = size;
	return size <= left;
}

static void take_value(
	struct git_answer *answer, const char *key, size_t key_size, const char *value)
{
	const struct {
		const char *key;
		char **field;
	} fields[] = {
		{ "repository_uri", &answer->repository_uri },
		{ "branch", &answer->branch },
		{ "commit", &answer->commit },
		{ "dirty", &answer->dirty },
	};

	if (!*value || strlen(value) > GIT_ANSWER_VALUE_MAX)
		return;
	if (key_size == 7 && !strncmp(key, "warning", 7)) {
		if (strv_length(answer->warnings) < GIT_ANSWER_WARNINGS_MAX)
			strv_add(&answer->warnings, value);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (strlen(fields[i].key) == key_size && !strncmp(key, fields[i].key, key_size))
			mem_replace(fields[i].field, value);
}

/* False when what follows cannot be told from the patch. */
static bool take_patch(struct git_answer *answer, const char *size_text, struct input *input)
{
	size_t size;

	if (!read_size(size_text, input, &size))
		return false;
	free(answer->patch);
	answer->patch = mem_strndup(input->at, size);
	answer->patch_size = size;
	input->at += size;
	return true;
}

static void take_records(struct git_answer *answer, struct input *input)
{
	const char *record;

	while (!answer->complete && (record = next_record(input))) {
		const char *equals = strchr(record, '=');

		if (!equals)
			continue;
		if (!strcmp(record, "end="))
			answer->complete = true;
		else if (strncmp(record, "patch=", 6) != 0)
			take_value(answer, record, (size_t)(equals - record), equals + 1);
		else if (!take_patch(answer, equals + 1, input))
			return;
	}
}

int git_answer_parse(const char *data, size_t size, struct git_answer *ret)
{
	struct input input = { data, size ? data + size : data };
	const char *first = next_record(&input);
	struct git_answer answer = { 0 };

	if (!first || strcmp(first, FORMAT_RECORD) != 0)
		return -EBADMSG;
	take_records(&answer, &input);
	*ret = answer;
	return 0;
}

void git_answer_release(struct git_answer *answer)
{
	free(answer->repository_uri);
	free(answer->branch);
	free(answer->commit);
	free(answer->dirty);
	strv_free(answer->warnings);
	free(answer->patch);
	*answer = (struct git_answer){ 0 };
}
