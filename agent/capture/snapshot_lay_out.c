/* SPDX-License-Identifier: MIT */
/*
 * snapshot_lay_out - the store into a directory; see snapshot.h
 *
 * Folders first, open to us alone; then files, on a few threads; then links; at last the folders'
 * own modes, the deepest first, since one without write permission takes no more entries.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/folder.h"
#include "capture/parallel.h"
#include "capture/snapshot.h"
#include "capture/tree_link.h"
#include "capture/walk.h"
#include "common/file.h"
#include "common/mem.h"
#include "store/manifest.h"
#include "store/store.h"

/* A folder's files mostly go to one thread: two would wait for each other at the folder. */
#define FILES_GRAIN 64
#define FILES_WORTH 32

/* Entries of one type, in the order of the manifest. */
struct group {
	struct manifest_entry *entries;
	size_t count, room;
};

struct layout {
	struct store *store;
	const char *source_dir;
	int dirfd;
	char *manifest;
	struct group folders, files, links;
	struct folder_cursor cursors[PARALLEL_WORKERS_MAX];
};

static void layout_release(struct layout *layout)
{
	for (size_t i = 0; i < ARRAY_SIZE(layout->cursors); i++)
		folder_cursor_release(&layout->cursors[i]);
	free(layout->folders.entries);
	free(layout->files.entries);
	free(layout->links.entries);
	free(layout->manifest);
}

static int fail(struct error *err, int r, const char *path)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	walk_show_path(&text, "", path);
	if (r == -EBADMSG)
		return error_set(err, r, text.data,
			"the stored bytes of \"%s\" are damaged: change the file and submit again",
			text.data);
	return error_errno(err, r, text.data, "cannot lay out \"%s\"", text.data);
}

static int read_manifest(struct layout *layout, const struct digest *id)
{
	struct manifest_reader reader;
	struct manifest_entry entry;
	size_t size;
	int r = store_read(layout->store, id, SNAPSHOT_MANIFEST_MAX, &layout->manifest, &size);

	if (r >= 0)
		r = manifest_open(&reader, layout->manifest, size);
	if (r < 0)
		return r;
	while ((r = manifest_next(&reader, &entry)) > 0) {
		struct group *group = entry.type == MANIFEST_DIRECTORY ? &layout->folders
				      : entry.type == MANIFEST_FILE    ? &layout->files
								       : &layout->links;

		GROW(group->entries, group->count, group->room);
		group->entries[group->count++] = entry;
	}
	return r;
}

static int make_folders(struct layout *layout, struct error *err)
{
	for (size_t i = 0; i < layout->folders.count; i++) {
		const char *path = layout->folders.entries[i].path;
		const char *name;
		int dirfd = folder_cursor_parent(&layout->cursors[0], path, &name);

		if (dirfd < 0)
			return fail(err, dirfd, path);
		if (mkdirat(dirfd, name, 0700) < 0)
			return fail(err, -errno, path);
	}
	return 0;
}

static int write_file(
	struct layout *layout, int dirfd, const char *name, const struct manifest_entry *entry)
{
	_cleanup_(closep) int fd = openat(
		dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = store_copy(layout->store, &entry->digest, fd);
	if (r < 0)
		return r;
	return fchmod(fd, entry->mode) < 0 ? -errno : 0;
}

static int file_step(void *context, unsigned worker, size_t item, struct error *err)
{
	struct layout *layout = context;
	const struct manifest_entry *entry = &layout->files.entries[item];
	const char *name;
	int dirfd = folder_cursor_parent(&layout->cursors[worker], entry->path, &name);
	int r = dirfd < 0 ? dirfd : write_file(layout, dirfd, name, entry);

	return r < 0 ? fail(err, r, entry->path) : 0;
}

static int make_files(struct layout *layout, struct error *err)
{
	struct parallel parallel = {
		.count = layout->files.count,
		.grain = layout->files.count < 16 * FILES_GRAIN ? 1 : FILES_GRAIN,
		.worth = FILES_WORTH,
		.step = file_step,
		.context = layout,
	};

	return parallel_run(&parallel, err);
}

static int make_link(struct layout *layout, const struct manifest_entry *entry)
{
	_cleanup_(freep) char *absolute = NULL;
	const char *name;
	int dirfd = folder_cursor_parent(&layout->cursors[0], entry->path, &name);

	if (dirfd < 0)
		return dirfd;
	if (layout->source_dir && entry->target[0] != '/' &&
		tree_link_leads_out(entry->path, entry->target))
		absolute = tree_link_absolute(layout->source_dir, entry->path, entry->target);
	return symlinkat(absolute ? absolute : entry->target, dirfd, name) < 0 ? -errno : 0;
}

static int make_links(struct layout *layout, struct error *err)
{
	for (size_t i = 0; i < layout->links.count; i++) {
		int r = make_link(layout, &layout->links.entries[i]);

		if (r < 0)
			return fail(err, r, layout->links.entries[i].path);
	}
	return 0;
}

static int finish_folders(struct layout *layout, struct error *err)
{
	for (size_t i = layout->folders.count; i-- > 0;) {
		const struct manifest_entry *entry = &layout->folders.entries[i];
		const char *name;
		int dirfd = folder_cursor_parent(&layout->cursors[0], entry->path, &name);

		if (dirfd < 0)
			return fail(err, dirfd, entry->path);
		if (fchmodat(dirfd, name, entry->mode, 0) < 0)
			return fail(err, -errno, entry->path);
	}
	return 0;
}

/* What it made, and nothing else: the directory was empty. */
static void clear(int dirfd)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			tree_remove(dirfd, entry->d_name);
}

static int check_empty(int dirfd)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = -errno;

		fd_close(fd);
		return r;
	}
	errno = 0;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return -ENOTEMPTY;
	return -errno;
}

static int lay_out(struct layout *layout, struct error *err)
{
	int r = make_folders(layout, err);

	if (r >= 0)
		r = make_files(layout, err);
	if (r >= 0)
		r = make_links(layout, err);
	if (r >= 0)
		r = finish_folders(layout, err);
	return r;
}

int snapshot_lay_out(struct store *store, const struct digest *id, const char *source_dir,
	int dirfd, struct error *err)
{
	_cleanup_(layout_release) struct layout layout = {
		.store = store,
		.source_dir = source_dir,
		.dirfd = dirfd,
	};
	int r = read_manifest(&layout, id);

	for (size_t i = 0; i < ARRAY_SIZE(layout.cursors); i++)
		layout.cursors[i] = (struct folder_cursor)FOLDER_CURSOR_INIT(dirfd);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot read the snapshot from the store");
	r = check_empty(dirfd);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot lay the snapshot out");
	r = lay_out(&layout, err);
	if (r < 0)
		clear(dirfd);
	return r;
}
