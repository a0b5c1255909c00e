/* SPDX-License-Identifier: MIT */
/* mount - what /proc/self/mountinfo says; see doctor.h */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/doctor/doctor.h"
#include "common/file.h"
#include "common/mem.h"

#define MOUNTS_MAX (16u << 20)

/* One line: "36 35 98:0 /root /mnt options optional... - type source super-options". */
struct line {
	unsigned long long id;
	const char *point, *options, *type;
};

static bool parse(char *text, struct line *ret)
{
	char *fields[6];
	char *rest = text;
	char *type;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strsep(&rest, " ");
		if (!rest)
			return false;
	}
	type = rest[0] == '-' ? rest - 1 : strstr(rest, " - ");
	if (!type)
		return false;
	type += strlen(" - ");
	type[strcspn(type, " ")] = '\0';
	*ret = (struct line){ strtoull(fields[0], NULL, 10), fields[4], fields[5], type };
	return true;
}

/* The first line that is the mount with this id, or of this type; *text is the file, cut up. */
static int find_line(struct strbuf *text, unsigned long long id, const char *type, struct line *ret)
{
	char *rest;
	char *line;
	int r = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_MAX, text);

	if (r < 0)
		return r;
	rest = text->data;
	while (rest && (line = strsep(&rest, "\n")))
		if (parse(line, ret) && (type ? !strcmp(ret->type, type) : ret->id == id))
			return 0;
	return -ENOENT;
}

int doctor_mount_of(const char *path, struct doctor_mount *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct statx stx;
	struct line line;
	int r;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	r = find_line(&text, stx.stx_mnt_id, NULL, &line);
	if (r < 0)
		return r;
	*ret = (struct doctor_mount){ mem_strdup(line.type), mem_strdup(line.options) };
	return 0;
}

char *doctor_mount_point(const char *type)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct line line;

	return find_line(&text, 0, type, &line) < 0 ? NULL : mem_strdup(line.point);
}

void doctor_mount_release(struct doctor_mount *mount)
{
	free(mount->type);
	free(mount->options);
	*mount = (struct doctor_mount){ 0 };
}
