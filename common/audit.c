/* SPDX-License-Identifier: MIT */
/* audit - one line for everything that a user has done, or was refused; see audit.h */
#include "common/audit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/journal.h"
#include "common/log.h"
#include "common/utf8.h"

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("_-.@+:/%", c));
}

static bool is_all_bare(const char *text)
{
	for (const char *at = text; *at; at++)
		if (!is_bare(*at))
			return false;
	return *text != '\0';
}

/* Sequences that end a line or turn its direction, where they are shown. */
static bool is_steering(const unsigned char *sequence, size_t size)
{
	static const struct {
		unsigned first, last;
	} ranges[] = {
		{ 0x80, 0x9f },     /* C1 controls */
		{ 0x200b, 0x200f }, /* no width, marks of direction */
		{ 0x2028, 0x202e }, /* line and paragraph separators, overrides of direction */
		{ 0x2060, 0x206f }, /* no width, isolates */
		{ 0xfeff, 0xfeff }, /* no width */
	};
	unsigned point = 0;

	if (size == 2)
		point = (sequence[0] & 0x1fu) << 6 | (sequence[1] & 0x3fu);
	else if (size == 3)
		point = (sequence[0] & 0x0fu) << 12 | (sequence[1] & 0x3fu) << 6 |
			(sequence[2] & 0x3fu);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	return false;
}

static void add_escaped(struct strbuf *ret, const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		strbuf_addf(ret, "\\x%02x", bytes[i]);
}

/* One sequence, or one byte that is none; its length. */
static size_t add_shown(struct strbuf *ret, const char *at, size_t left)
{
	const unsigned char *bytes = (const unsigned char *)at;
	size_t size = utf8_sequence(at, left);

	if (*at == '"' || *at == '\\')
		strbuf_addf(ret, "\\%c", *at);
	else if (*at == '\n')
		strbuf_adds(ret, "\\n");
	else if (*at == '\t')
		strbuf_adds(ret, "\\t");
	else if (!size || bytes[0] < 0x20 || bytes[0] == 0x7f || is_steering(bytes, size))
		add_escaped(ret, bytes, size ? size : 1);
	else
		strbuf_add(ret, at, size);
	return size ? size : 1;
}

static void add_quoted(struct strbuf *ret, const char *name, const char *value)
{
	size_t left = strlen(value);

	strbuf_addf(ret, " %s=\"", name);
	while (left > 0) {
		size_t size = add_shown(ret, value, left);

		value += size;
		left -= size;
	}
	strbuf_addc(ret, '"');
}

static void add_value(struct strbuf *ret, const char *name, const char *value)
{
	if (value && is_all_bare(value))
		strbuf_addf(ret, " %s=%s", name, value);
	else if (value)
		add_quoted(ret, name, value);
}

void audit_format(const struct audit_event *event, struct strbuf *ret)
{
	strbuf_adds(ret, "audit:");
	add_value(ret, "action", event->action);
	add_value(ret, "user", event->user);
	strbuf_addf(ret, " uid=%u", (unsigned)event->uid);
	if (event->pid)
		strbuf_addf(ret, " pid=%d", (int)event->pid);
	add_value(ret, "run", event->run_id);
	add_value(ret, "result", event->result);
	if (event->reason)
		add_quoted(ret, "reason", event->reason);
}

void audit(const struct audit_event *event)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	char uid[16], pid[16];
	const struct journal_field fields[] = {
		{ "AMLAGENT_AUDIT", "1" },
		{ "AMLAGENT_ACTION", event->action },
		{ "AMLAGENT_USER", event->user },
		{ "AMLAGENT_UID", uid },
		{ "AMLAGENT_PID", event->pid ? pid : NULL },
		{ "AMLAGENT_RUN_ID", event->run_id },
		{ "AMLAGENT_RESULT", event->result },
		{ "AMLAGENT_REASON", event->reason },
	};

	snprintf(uid, sizeof(uid), "%u", (unsigned)event->uid);
	snprintf(pid, sizeof(pid), "%d", (int)event->pid);
	audit_format(event, &line);
	log_entry(LOG_LEVEL_NOTICE, line.data, fields, ARRAY_SIZE(fields));
}
