/* SPDX-License-Identifier: MIT */
/* collect_list - the files that a run left; see collect_list.h */
#include "capture/collect_list.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "common/utf8.h"

#define DEPTH_MAX 200 /* each level holds a descriptor */
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static const char *const folders[] = { "logs", "user_logs", "outputs" };
#define LIVE_FOLDERS 2 /* the first so many are listed while the run goes on */

struct lister {
	struct collect_list *list;
	bool live;
	struct strbuf path; /* of what is looked at, relative to work/ */
	struct error *err;
};

bool collect_is_inside(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		size_t size = strlen(folders[i]);

		if (!strncmp(path, folders[i], size) && path[size] == '/')
			return true;
	}
	return false;
}

char *collect_printable(const char *path)
{
	char *text = utf8_sanitize(path, strlen(path));

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == '\x7f')
			*p = '?';
	return text;
}

void collect_list_leave_out(struct collect_list *list, const char *path, const char *why)
{
	_cleanup_(freep) char *name = collect_printable(path);

	if (list->left_out++ < COLLECT_NAMED_MAX)
		strv_addf(&list->warnings, "not kept: %s (%s)", name, why);
}

static int fail(struct lister *lister, int r)
{
	_cleanup_(freep) char *name = collect_printable(lister->path.data);

	return error_errno(lister->err, r, name, "cannot keep %s", name);
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a named pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFDIR:
		return "a directory";
	default:
		return "a device";
	}
}

static int make_readable(int dirfd, const char *name, mode_t mode, mode_t wanted)
{
	return fchmodat(dirfd, name, (mode & 07777) | wanted, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static void visit_file(struct lister *lister, int dirfd, const char *name, const struct stat *st)
{
	int64_t modified_us = st->st_mtim.tv_sec * USEC_PER_SEC + st->st_mtim.tv_nsec / 1000;

	if (!lister->live && !(st->st_mode & S_IRUSR))
		(void)make_readable(dirfd, name, st->st_mode, S_IRUSR); /* the opening tells */
	artifacts_add(
		&lister->list->files, lister->path.data, (uint64_t)st->st_size, NULL, modified_us);
}

static int open_to_visit(struct lister *lister, int dirfd, const char *name, const struct stat *st)
{
	int fd = openat(dirfd, name, OPEN_DIRECTORY);

	if (fd < 0 && errno == EACCES && !lister->live &&
		make_readable(dirfd, name, st->st_mode, S_IRUSR | S_IXUSR) >= 0)
		fd = openat(dirfd, name, OPEN_DIRECTORY);
	return fd < 0 ? -errno : fd;
}

static int visit(struct lister *lister, int dirfd, const char *name, unsigned depth);

static int visit_entries(struct lister *lister, DIR *dir, unsigned depth)
{
	struct dirent *entry;
	int r = 0;

	while (r >= 0 && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = visit(lister, dirfd(dir), entry->d_name, depth);
	if (r >= 0 && errno)
		r = fail(lister, -errno);
	return r;
}

static int visit_directory(
	struct lister *lister, int dirfd, const char *name, const struct stat *st, unsigned depth)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(closedirp) DIR *dir = NULL;

	if (depth > DEPTH_MAX) {
		collect_list_leave_out(lister->list, lister->path.data, "nested too deeply");
		return 0;
	}
	fd = open_to_visit(lister, dirfd, name, st);
	if (fd == -ENOENT || (fd < 0 && lister->live))
		return 0;
	if (fd < 0)
		return fail(lister, fd);
	dir = fdopendir(fd);
	if (!dir)
		return -ENOMEM;
	TAKE_FD(fd);
	return visit_entries(lister, dir, depth + 1);
}

/* The path is that of name; depth 0 is one of the folders. */
static int visit_named(struct lister *lister, int dirfd, const char *name, unsigned depth)
{
	const char *path = lister->path.data;
	bool is_log = !strcmp(path, RUN_LOG_ARTIFACT);
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(lister, -errno);
	if (S_ISDIR(st.st_mode) && !is_log)
		return visit_directory(lister, dirfd, name, &st, depth);
	if (S_ISREG(st.st_mode) && depth == 0)
		collect_list_leave_out(lister->list, path, "a file, not a folder");
	else if (S_ISREG(st.st_mode) && !is_log) /* under the log's name there is the log */
		visit_file(lister, dirfd, name, &st);
	else if (!S_ISREG(st.st_mode))
		collect_list_leave_out(lister->list, path, kind_of(st.st_mode));
	return 0;
}

static int visit(struct lister *lister, int dirfd, const char *name, unsigned depth)
{
	size_t size = lister->path.size;
	int r;

	if (size)
		strbuf_addc(&lister->path, '/');
	strbuf_adds(&lister->path, name);
	r = visit_named(lister, dirfd, name, depth);
	lister->path.size = size;
	lister->path.data[size] = '\0';
	return r;
}

int collect_list_make(int work_fd, bool live, struct collect_list *ret, struct error *err)
{
	_cleanup_(collect_list_release) struct collect_list list = { 0 };
	struct lister lister = { .list = &list, .live = live, .err = err };
	size_t count = live ? LIVE_FOLDERS : ARRAY_SIZE(folders);
	int r = 0;

	for (size_t i = 0; r >= 0 && i < count; i++)
		r = visit(&lister, work_fd, folders[i], 0);
	strbuf_release(&lister.path);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct collect_list){ 0 };
	return 0;
}

void collect_list_release(struct collect_list *list)
{
	artifacts_release(&list->files);
	strv_free(list->warnings);
	*list = (struct collect_list){ 0 };
}

/* ---- text ---- */

#define MAGIC UINT32_C(0x3154554f) /* "OUT1" */

struct head {
	uint32_t magic;
	uint32_t warnings;
	uint64_t files;
	uint64_t left_out;
};

struct file_record {
	uint64_t size;
	int64_t modified_us;
	/* path, NUL */
};

void collect_list_format(const struct collect_list *list, struct strbuf *ret)
{
	struct head head = {
		.magic = MAGIC, .files = list->files.count, .left_out = list->left_out
	};

	while (list->warnings && list->warnings[head.warnings])
		head.warnings++;
	strbuf_add(ret, &head, sizeof(head));
	for (size_t i = 0; i < head.warnings; i++)
		strbuf_add(ret, list->warnings[i], strlen(list->warnings[i]) + 1);
	for (size_t i = 0; i < list->files.count; i++) {
		const struct artifact *file = &list->files.items[i];
		const struct file_record record = { file->size, file->modified_us };

		strbuf_add(ret, &record, sizeof(record));
		strbuf_add(ret, file->path, strlen(file->path) + 1);
	}
}

static const char *take_string(const char **at, const char *end)
{
	const char *text = *at;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

/* One line, as we would have made it. */
static bool is_line(const char *text)
{
	_cleanup_(freep) char *clean = collect_printable(text);

	return text[0] && !strcmp(clean, text);
}

static int parse_warnings(
	const char **at, const char *end, uint32_t count, struct collect_list *list)
{
	if (count > COLLECT_NAMED_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		const char *text = take_string(at, end);

		if (!text || !is_line(text))
			return -EBADMSG;
		strv_add(&list->warnings, text);
	}
	return 0;
}

static int parse_file(const char **at, const char *end, struct collect_list *list)
{
	struct file_record record;
	const char *path;

	if ((size_t)(end - *at) < sizeof(record))
		return -EBADMSG;
	memcpy(&record, *at, sizeof(record));
	*at += sizeof(record);
	path = take_string(at, end);
	if (!path || !path_is_inside(path) || !collect_is_inside(path) ||
		!strcmp(path, RUN_LOG_ARTIFACT) || record.size > INT64_MAX)
		return -EBADMSG;
	artifacts_add(&list->files, path, record.size, NULL, record.modified_us);
	return 0;
}

static bool names_one_twice(struct artifacts *files)
{
	artifacts_sort(files);
	for (size_t i = 1; i < files->count; i++)
		if (!strcmp(files->items[i - 1].path, files->items[i].path))
			return true;
	return false;
}

int collect_list_parse(const char *data, size_t size, struct collect_list *ret)
{
	_cleanup_(collect_list_release) struct collect_list list = { 0 };
	const char *at = data, *end = data + size;
	struct head head;
	int r;

	if (size < sizeof(head))
		return -EBADMSG;
	memcpy(&head, data, sizeof(head));
	at += sizeof(head);
	r = head.magic == MAGIC ? parse_warnings(&at, end, head.warnings, &list) : -EBADMSG;
	for (uint64_t i = 0; r >= 0 && i < head.files; i++)
		r = parse_file(&at, end, &list);
	if (r < 0 || at != end || head.left_out < head.warnings || names_one_twice(&list.files))
		return -EBADMSG;
	list.left_out = head.left_out;
	*ret = list;
	list = (struct collect_list){ 0 };
	return 0;
}
