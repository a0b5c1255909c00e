/* SPDX-License-Identifier: MIT */
/* manifest - a directory tree as bytes, whose digest is the snapshot id; see manifest.h */
#include "store/manifest.h"

#include <errno.h>
#include <string.h>

static const char first_line[] = "amlagent-manifest 1\n";

void manifest_begin(struct strbuf *out)
{
	strbuf_adds(out, first_line);
}

void manifest_add(struct strbuf *out, const struct manifest_entry *entry)
{
	char hex[DIGEST_HEX_SIZE + 1];

	switch (entry->type) {
	case MANIFEST_DIRECTORY:
		strbuf_addf(out, "D %03o", entry->mode & 0777);
		break;
	case MANIFEST_FILE:
		digest_format(&entry->digest, hex);
		strbuf_addf(out, "F %03o %s %llu", entry->mode & 0777, hex,
			(unsigned long long)entry->size);
		break;
	case MANIFEST_LINK:
		strbuf_addc(out, 'L');
		break;
	}
	strbuf_addc(out, '\0');
	strbuf_add(out, entry->path, strlen(entry->path) + 1);
	if (entry->type == MANIFEST_LINK)
		strbuf_add(out, entry->target, strlen(entry->target) + 1);
}

int manifest_open(struct manifest_reader *reader, const char *data, size_t size)
{
	size_t line = sizeof(first_line) - 1;

	if (size < line || memcmp(data, first_line, line) != 0)
		return -EBADMSG;
	*reader = (struct manifest_reader){ .data = data, .size = size, .at = line };
	return 0;
}

/* The string that ends with the next NUL, which must be there. */
static const char *take_string(struct manifest_reader *reader)
{
	const char *text = reader->data + reader->at;
	const char *nul = memchr(text, '\0', reader->size - reader->at);

	if (!nul)
		return NULL;
	reader->at = (size_t)(nul + 1 - reader->data);
	return text;
}

/* " 755" */
static bool take_mode(const char **text, unsigned *ret)
{
	const char *p = *text;
	unsigned mode = 0;

	if (*p++ != ' ')
		return false;
	for (int i = 0; i < 3; i++, p++) {
		if (*p < '0' || *p > '7')
			return false;
		mode = mode << 3 | (unsigned)(*p - '0');
	}
	*ret = mode;
	*text = p;
	return true;
}

static bool take_digest(const char **text, struct digest *ret)
{
	char hex[DIGEST_HEX_SIZE + 1];

	if (**text != ' ' || strnlen(*text + 1, DIGEST_HEX_SIZE) != DIGEST_HEX_SIZE)
		return false;
	memcpy(hex, *text + 1, DIGEST_HEX_SIZE);
	hex[DIGEST_HEX_SIZE] = '\0';
	*text += 1 + DIGEST_HEX_SIZE;
	return digest_parse(hex, ret) == 0;
}

/* Decimal as printf writes it: one spelling for one number. */
static bool take_size(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t size = 0;

	if (*p++ != ' ' || *p < '0' || *p > '9' || (*p == '0' && p[1]))
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(size, UINT64_C(10), &size) ||
			__builtin_add_overflow(size, (uint64_t)(*p - '0'), &size))
			return false;
	*ret = size;
	*text = p;
	return true;
}

static bool read_head(const char *text, struct manifest_entry *entry)
{
	switch (*text++) {
	case 'D':
		entry->type = MANIFEST_DIRECTORY;
		return take_mode(&text, &entry->mode) && !*text;
	case 'F':
		entry->type = MANIFEST_FILE;
		return take_mode(&text, &entry->mode) && take_digest(&text, &entry->digest) &&
		       take_size(&text, &entry->size) && !*text;
	case 'L':
		entry->type = MANIFEST_LINK;
		return !*text;
	default:
		return false;
	}
}

/* Parts with '/' between them, none of them empty, "." or "..". */
static bool path_is_canonical(const char *path)
{
	for (const char *part = path;; part++) {
		size_t size = strcspn(part, "/");

		if (size <= 2 && !strncmp(part, "..", size))
			return false;
		part += size;
		if (!*part)
			return true;
	}
}

/* '/' comes before every other byte: then a directory's content follows it at once. */
static bool path_is_before(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (!*a || !*b)
		return !*a && *b;
	if (*a == '/' || *b == '/')
		return *a == '/';
	return (unsigned char)*a < (unsigned char)*b;
}

/*
 * The directory of path was listed: the entry before is that directory, or lies somewhere below it.
 * So nothing lies below a file or a link, and laying a tree out never leaves it through one.
 */
static bool parent_is_listed(const struct manifest_reader *reader, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t parent = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		return true;
	if (!reader->previous || strncmp(reader->previous, path, parent) != 0)
		return false;
	return reader->previous[parent] == '/' ||
	       (!reader->previous[parent] && reader->previous_type == MANIFEST_DIRECTORY);
}

int manifest_next(struct manifest_reader *reader, struct manifest_entry *ret)
{
	struct manifest_reader next = *reader;
	struct manifest_entry entry = { 0 };
	const char *head;

	if (next.at == next.size)
		return 0;
	head = take_string(&next);
	if (!head || !read_head(head, &entry))
		return -EBADMSG;
	entry.path = take_string(&next);
	if (!entry.path || !path_is_canonical(entry.path) || !parent_is_listed(reader, entry.path))
		return -EBADMSG;
	if (reader->previous && !path_is_before(reader->previous, entry.path))
		return -EBADMSG;
	if (entry.type == MANIFEST_LINK) {
		entry.target = take_string(&next);
		if (!entry.target || !*entry.target)
			return -EBADMSG;
	}
	next.previous = entry.path;
	next.previous_type = entry.type;
	*reader = next;
	*ret = entry;
	return 1;
}
