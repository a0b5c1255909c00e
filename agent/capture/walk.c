/* SPDX-License-Identifier: MIT */
/* walk - what is in a directory tree; see walk.h */
#include "capture/walk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "capture/folder.h"
#include "capture/parallel.h"
#include "common/file.h"
#include "common/mem.h"

/* Directories worth a thread more. */
#define DIRS_WORTH 16

/* The entries of a larger one are looked at in pieces, which several threads can share. */
#define LARGE_DIR 1024
#define PIECE ((size_t)512)

struct walker {
	struct walk *walk;
	const struct walk_options *options;
	int root_fd;
	size_t level_start;   /* the level at hand: from here to the end of walk->dirs */
	struct piece *pieces; /* of its large directories */
	size_t piece_count, piece_room;
	atomic_ullong seen; /* entries */
};

/* Some entries of a large directory. */
struct piece {
	struct walk_dir *dir;
	size_t from, to;
};

/* The names of one directory while they are read: their type, the name, a NUL. */
struct names {
	struct strbuf bytes;
	size_t count;
};

void walk_show_path(struct strbuf *out, const char *dir, const char *name)
{
	size_t start = out->size;

	strbuf_adds(out, dir);
	strbuf_adds(out, name);
	for (size_t i = start; i < out->size; i++)
		if ((unsigned char)out->data[i] < ' ' || out->data[i] == 0x7f)
			out->data[i] = '?';
}

static int fail(
	struct error *err, int r, const struct walk_dir *dir, const char *name, const char *advice)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;

	walk_show_path(&path, dir->path, name);
	if (!path.size)
		strbuf_addc(&path, '.');
	if (path.size > 1 && path.data[path.size - 1] == '/')
		path.data[--path.size] = '\0';
	if (r == -EACCES || r == -EPERM)
		return error_set(err, -EACCES, path.data,
			"no permission to read \"%s\": change that (chmod u+rX), or list it in %s",
			path.data, advice);
	if (r == -ELOOP || r == -ENOTDIR || r == -EXDEV)
		return error_set(err, -EBUSY, path.data,
			"\"%s\" became something else while the snapshot was taken: try again when "
			"nothing writes to the folder",
			path.data);
	return error_errno(err, r, path.data, "cannot read \"%s\"", path.data);
}

/* ---- rules ---- */

/* 1: a regular file; 0: none, or something else. */
static int look_for_rules(int fd, const char *name, struct walk_dir *dir)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	dir->rules_are_link = S_ISLNK(st.st_mode);
	return S_ISREG(st.st_mode);
}

static int read_rules(int fd, const char *name, struct walk_dir *dir)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int rules_fd = -EBADF;
	struct stat st;
	int r = look_for_rules(fd, name, dir);

	if (r <= 0)
		return r;
	rules_fd = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (rules_fd < 0 && errno == ENOENT)
		return 0;
	if (rules_fd < 0 || fstat(rules_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	r = file_read_fd(rules_fd, WALK_RULES_SIZE_MAX, &text);
	if (r < 0)
		return r;
	dir->rules = ignore_rules_parse(text.data, text.size);
	return 0;
}

static int load_rules(const struct walk *walk, int fd, struct walk_dir *dir, struct error *err)
{
	int r = read_rules(fd, walk->rule_file, dir);

	if (r == -EFBIG)
		return error_set(err, r, walk->rule_file,
			"\"%s%s\" is larger than %zu KiB: that is no list of ignore rules",
			dir->path, walk->rule_file, WALK_RULES_SIZE_MAX / 1024);
	if (r < 0)
		return fail(err, r, dir, walk->rule_file, walk->advice);
	dir->in_force = dir->parent ? dir->parent->in_force : NULL;
	if (dir->rules) {
		dir->level = (struct ignore_level){ dir->in_force, dir->rules, dir->path_size };
		dir->in_force = &dir->level;
	}
	return 0;
}

/* Whose rules are in force, and which file to name to people: a first .amlignore would put all
 * .gitignore files out of force, so those who have the latter are told to use them. */
void walk_name_rules(struct walk *walk, bool aml, bool git)
{
	walk->rule_file = aml ? ".amlignore" : ".gitignore";
	walk->advice = git && !aml ? ".gitignore (or in an .amlignore, which then replaces all "
				     ".gitignore files)"
				   : ".amlignore";
}

static void choose_rule_file(struct walk *walk, int root_fd)
{
	struct stat st;
	bool aml = fstatat(root_fd, ".amlignore", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		   !S_ISDIR(st.st_mode);
	bool git = fstatat(root_fd, ".gitignore", &st, AT_SYMLINK_NOFOLLOW) == 0;

	walk_name_rules(walk, aml, git);
}

/* ---- one directory ---- */

static bool is_left_out(
	const struct walk_dir *dir, struct strbuf *path, const char *name, bool is_dir)
{
	if (!strcmp(name, ".git"))
		return true;
	if (!dir->in_force)
		return false;
	strbuf_clear(path);
	strbuf_add(path, dir->path, dir->path_size);
	strbuf_adds(path, name);
	return ignore_match(dir->in_force, path->data, path->size, is_dir);
}

static int read_names(DIR *stream, const struct walk_dir *dir, uint64_t max, struct names *names)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	struct dirent *entry;

	while (names->count <= max) {
		errno = 0;
		entry = readdir(stream);
		if (!entry)
			return -errno;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			(entry->d_type != DT_UNKNOWN &&
				is_left_out(dir, &path, entry->d_name, entry->d_type == DT_DIR)))
			continue;
		strbuf_addc(&names->bytes, (char)entry->d_type);
		strbuf_add(&names->bytes, entry->d_name, strlen(entry->d_name) + 1);
		names->count++;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **sort_names(const char *bytes, size_t count)
{
	const char **list = mem_alloc((count + 1) * sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		list[i] = bytes + 1;
		bytes = list[i] + strlen(list[i]) + 1;
	}
	qsort(list, count, sizeof(*list), by_name);
	return list;
}

/* 1: taken, 0: gone or left out. The type that readdir() told may be none, or no longer true. */
static int look_at(
	int fd, const struct walk_dir *dir, const char *name, struct strbuf *path, struct stat *ret)
{
	unsigned char type = (unsigned char)name[-1];

	if (fstatat(fd, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (type == IFTODT(ret->st_mode))
		return 1;
	return !is_left_out(dir, path, name, S_ISDIR(ret->st_mode));
}

/* -ENOENT: it is gone; -ELOOP: it is no link any more. */
static int read_target(int fd, const char *name, char **ret)
{
	char target[PATH_MAX];
	ssize_t size = readlinkat(fd, name, target, sizeof(target));

	if (size < 0)
		return errno == EINVAL ? -ELOOP : -errno;
	if (size == 0 || size == sizeof(target))
		return -ENAMETOOLONG;
	*ret = mem_strndup(target, (size_t)size);
	return 0;
}

/* What is gone by now keeps a stamp of zeroes. */
static int take(int fd, struct walk_entry *entry, const struct stat *st)
{
	int r = S_ISLNK(st->st_mode) ? read_target(fd, entry->name, &entry->target) : 0;

	if (r >= 0)
		entry->stamp = file_stamp_of(st);
	return r == -ENOENT ? 0 : r;
}

static int look_at_range(const struct walk *walk, int fd, struct walk_dir *dir, size_t from,
	size_t to, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	struct stat st;

	for (size_t i = from; i < to; i++) {
		int r = look_at(fd, dir, dir->entries[i].name, &path, &st);

		if (r > 0)
			r = take(fd, &dir->entries[i], &st);
		if (r < 0)
			return fail(err, r, dir, dir->entries[i].name, walk->advice);
	}
	return 0;
}

/* What was not taken has no mode. */
static void drop_not_taken(struct walk_dir *dir)
{
	size_t count = 0;

	for (size_t i = 0; i < dir->count; i++)
		if (dir->entries[i].stamp.mode)
			dir->entries[count++] = dir->entries[i];
	dir->count = count;
}

static int read_dir(
	const struct walker *walker, DIR *stream, struct walk_dir *dir, struct error *err)
{
	_cleanup_(freep) const char **sorted = NULL;
	struct names names = { 0 };
	int r = load_rules(walker->walk, dirfd(stream), dir, err);

	if (r < 0)
		return r;
	r = read_names(stream, dir, walker->options->entries_max, &names);
	dir->names = strbuf_steal(&names.bytes);
	if (r < 0)
		return fail(err, r, dir, "", walker->walk->advice);
	sorted = sort_names(dir->names, names.count);
	dir->entries = mem_alloc((names.count + 1) * sizeof(*dir->entries));
	dir->count = names.count;
	for (size_t i = 0; i < dir->count; i++)
		dir->entries[i].name = sorted[i];
	if (dir->count > LARGE_DIR)
		return 0;
	return look_at_range(walker->walk, dirfd(stream), dir, 0, dir->count, err);
}

static int open_stream(int root_fd, const struct walk_dir *dir, DIR **ret)
{
	int fd = folder_open(root_fd, dir->path, dir->path_size);

	if (fd < 0)
		return fd;
	*ret = fdopendir(fd);
	if (!*ret)
		fd_close(fd);
	return *ret ? 0 : -errno;
}

static int walk_step(void *context, unsigned number, size_t item, struct error *err)
{
	struct walker *walker = context;
	struct walk_dir *dir = walker->walk->dirs[walker->level_start + item];
	_cleanup_(closedirp) DIR *stream = NULL;
	int r;

	(void)number;
	if (atomic_load(&walker->seen) > walker->options->entries_max)
		return 0;
	r = open_stream(walker->root_fd, dir, &stream);
	if (r == -ENOENT && dir->parent) {
		dir->vanished = true;
		return 0;
	}
	if (r < 0)
		return fail(err, r, dir, "", walker->walk->advice);
	r = read_dir(walker, stream, dir, err);
	atomic_fetch_add(&walker->seen, dir->count);
	return r;
}

/* ---- levels ---- */

struct walk_dir *walk_add_dir(struct walk *walk, const struct walk_dir *parent, const char *name)
{
	struct walk_dir *dir = NEW(struct walk_dir);

	dir->parent = parent;
	dir->depth = parent ? parent->depth + 1 : 0;
	dir->path = parent ? mem_printf("%s%s/", parent->path, name) : mem_strdup("");
	dir->path_size = strlen(dir->path);
	GROW(walk->dirs, walk->count, walk->room);
	walk->dirs[walk->count++] = dir;
	return dir;
}

static bool is_skipped(const struct walk_options *options, const struct walk_entry *entry)
{
	return options->skip_inode && entry->stamp.inode == options->skip_inode &&
	       entry->stamp.device == options->skip_device;
}

static int add_dirs_below(struct walker *walker, const struct walk_dir *dir, struct error *err)
{
	struct walk *walk = walker->walk;

	for (size_t i = 0; i < dir->count; i++) {
		struct walk_entry *entry = &dir->entries[i];

		if (!S_ISDIR(entry->stamp.mode))
			continue;
		if (is_skipped(walker->options, entry)) {
			free(walk->skipped);
			walk->skipped = mem_printf("%s%s", dir->path, entry->name);
			continue;
		}
		if (dir->depth >= WALK_DEPTH_MAX)
			return error_set(err, -EFBIG, dir->path,
				"folders nest more than %d deep: \"%s\"; move them away, or list one "
				"in %s",
				WALK_DEPTH_MAX, dir->path, walk->advice);
		entry->dir = walk_add_dir(walk, dir, entry->name);
	}
	return 0;
}

static int read_level(struct walker *walker, size_t end, struct error *err)
{
	struct parallel parallel = {
		.count = end - walker->level_start,
		.grain = 1,
		.worth = DIRS_WORTH,
		.step = walk_step,
		.context = walker,
	};

	return parallel_run(&parallel, err);
}

static void add_pieces(struct walker *walker, struct walk_dir *dir)
{
	if (dir->count <= LARGE_DIR)
		return;
	for (size_t from = 0; from < dir->count; from += PIECE) {
		size_t to = from + PIECE < dir->count ? from + PIECE : dir->count;

		GROW(walker->pieces, walker->piece_count, walker->piece_room);
		walker->pieces[walker->piece_count++] = (struct piece){ dir, from, to };
	}
}

/* A directory that has vanished meanwhile holds nothing any more. */
static int piece_step(void *context, unsigned number, size_t item, struct error *err)
{
	struct walker *walker = context;
	const struct piece *piece = &walker->pieces[item];
	struct walk_dir *dir = piece->dir;
	_cleanup_(closep) int fd = folder_open(walker->root_fd, dir->path, dir->path_size);

	(void)number;
	if (fd == -ENOENT && dir->parent)
		return 0;
	if (fd < 0)
		return fail(err, fd, dir, "", walker->walk->advice);
	return look_at_range(walker->walk, fd, dir, piece->from, piece->to, err);
}

static int look_at_pieces(struct walker *walker, size_t end, struct error *err)
{
	struct parallel parallel = {
		.grain = 1, .worth = 1, .step = piece_step, .context = walker
	};

	walker->piece_count = 0;
	for (size_t i = walker->level_start; i < end; i++)
		add_pieces(walker, walker->walk->dirs[i]);
	parallel.count = walker->piece_count;
	return parallel_run(&parallel, err);
}

static int walk_level(struct walker *walker, size_t end, struct error *err)
{
	int r = read_level(walker, end, err);

	if (r >= 0)
		r = look_at_pieces(walker, end, err);
	for (size_t i = walker->level_start; r >= 0 && i < end; i++) {
		drop_not_taken(walker->walk->dirs[i]);
		r = add_dirs_below(walker, walker->walk->dirs[i], err);
	}
	return r;
}

int walk_run(int root_fd, const struct walk_options *options, struct walk *ret, struct error *err)
{
	struct walk walk = { 0 };
	struct walker walker = { .walk = &walk, .options = options, .root_fd = root_fd };
	int r = 0;

	choose_rule_file(&walk, root_fd);
	walk_add_dir(&walk, NULL, NULL);
	while (r >= 0 && walker.level_start < walk.count) {
		size_t end = walk.count;

		r = walk_level(&walker, end, err);
		walker.level_start = end;
	}
	free(walker.pieces);
	walk.cut = atomic_load(&walker.seen) > options->entries_max;
	if (r < 0) {
		walk_release(&walk);
		return r;
	}
	*ret = walk;
	return 0;
}

static void dir_free(struct walk_dir *dir)
{
	ignore_rules_free(dir->rules);
	for (size_t i = 0; i < dir->count; i++)
		free(dir->entries[i].target);
	free(dir->entries);
	free(dir->names);
	free(dir->path);
	free(dir);
}

void walk_release(struct walk *walk)
{
	for (size_t i = 0; i < walk->count; i++)
		dir_free(walk->dirs[i]);
	free(walk->dirs);
	free(walk->skipped);
	*walk = (struct walk){ 0 };
}
