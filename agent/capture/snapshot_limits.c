/* SPDX-License-Identifier: MIT */
/*
 * snapshot_limits - is it too much, and what makes it so; see snapshot_list.h, snapshot.h
 *
 * Named are the few files and folders that weigh most, each byte counted once: a file or folder
 * that holds a twentieth of all is an offender and is not counted again above; what is lighter is
 * added to the folder above it. So a data set in a thousand small folders is named by the one that
 * holds them, and not its whole chain of parents.
 */
#include <inttypes.h>

#include "capture/snapshot.h"
#include "capture/snapshot_list.h"
#include "common/quantity.h"
#include "common/strv.h"

#define OFFENDERS_MAX 5
#define OFFENDER_SHARE 20

struct weight {
	uint64_t bytes;
	uint64_t files;
};

struct offender {
	const struct walk_dir *dir;
	const struct walk_entry *file; /* NULL: the folder itself */
	struct weight weight;
};

struct offenders {
	bool by_files;
	uint64_t least; /* of an offender */
	size_t count;
	struct offender top[OFFENDERS_MAX]; /* heaviest first */
};

static uint64_t measure(const struct offenders *offenders, const struct weight *weight)
{
	return offenders->by_files ? weight->files : weight->bytes;
}

static void weight_add(struct weight *to, const struct weight *more)
{
	to->files += more->files;
	if (__builtin_add_overflow(to->bytes, more->bytes, &to->bytes))
		to->bytes = UINT64_MAX;
}

/* Keep it when it is one of the heaviest. Of equals the first stays first. */
static void offer(struct offenders *offenders, const struct offender *offender)
{
	uint64_t size = measure(offenders, &offender->weight);
	size_t at = offenders->count;

	while (at && measure(offenders, &offenders->top[at - 1].weight) < size)
		at--;
	if (at == OFFENDERS_MAX)
		return;
	if (offenders->count < OFFENDERS_MAX)
		offenders->count++;
	for (size_t i = offenders->count - 1; i > at; i--)
		offenders->top[i] = offenders->top[i - 1];
	offenders->top[at] = *offender;
}

/* Offers what is heavy enough; the rest is returned, for the one above. */
static struct weight weigh(struct offenders *offenders, const struct walk_dir *dir,
	const struct walk_entry *file, struct weight weight)
{
	struct offender offender = { .dir = dir, .file = file, .weight = weight };

	if (measure(offenders, &weight) < offenders->least)
		return weight;
	offer(offenders, &offender);
	return (struct weight){ 0 };
}

static struct weight weigh_file(
	struct offenders *offenders, const struct walk_dir *dir, const struct walk_entry *entry)
{
	struct weight weight = {
		.bytes = S_ISREG(entry->stamp.mode) ? entry->stamp.size : 0,
		.files = S_ISREG(entry->stamp.mode) || S_ISLNK(entry->stamp.mode),
	};

	/* Where it is the number that counts, no single file is to blame. */
	return offenders->by_files ? weight : weigh(offenders, dir, entry, weight);
}

static struct weight weigh_dir(struct offenders *offenders, const struct walk_dir *dir)
{
	struct weight sum = { 0 };

	for (size_t i = 0; i < dir->count; i++) {
		const struct walk_entry *entry = &dir->entries[i];
		struct weight rest = { 0 };

		if (entry->dir)
			rest = weigh_dir(offenders, entry->dir);
		else if (!S_ISDIR(entry->stamp.mode))
			rest = weigh_file(offenders, dir, entry);
		weight_add(&sum, &rest);
	}
	return weigh(offenders, dir, NULL, sum);
}

static void show_bytes(struct strbuf *out, uint64_t bytes)
{
	_cleanup_(freep) char *text = size_text((int64_t)bytes);

	strbuf_adds(out, text);
}

static void show_offender(struct strbuf *out, const struct offender *offender)
{
	if (!offender->file && !offender->dir->path_size)
		strbuf_adds(out, "files at the top");
	else
		walk_show_path(
			out, offender->dir->path, offender->file ? offender->file->name : "");
	strbuf_adds(out, " (");
	show_bytes(out, offender->weight.bytes);
	if (!offender->file)
		strbuf_addf(out, " in %" PRIu64 " files", offender->weight.files);
	strbuf_addc(out, ')');
}

static void show_offenders(
	struct strbuf *out, const struct walk *walk, bool by_files, uint64_t total)
{
	struct offenders offenders = { .by_files = by_files, .least = total / OFFENDER_SHARE + 1 };

	weigh_dir(&offenders, walk->dirs[0]);
	for (size_t i = 0; i < offenders.count; i++) {
		strbuf_adds(out, i ? ", " : "; the largest: ");
		show_offender(out, &offenders.top[i]);
	}
	strbuf_addf(out, "; list what the run does not need in %s", walk->advice);
}

static void show_bytes_excess(struct strbuf *out, const struct snapshot_list *list,
	const struct walk *walk, uint64_t limit)
{
	strbuf_addf(out, "the snapshot holds ");
	show_bytes(out, list->bytes);
	strbuf_addf(out, ", more than ");
	show_bytes(out, limit);
	show_offenders(out, walk, false, list->bytes);
}

static void show_files_excess(struct strbuf *out, const struct snapshot_list *list,
	const struct walk *walk, uint64_t limit)
{
	uint64_t entries = list->files > limit ? list->files : list->folders;

	strbuf_addf(out, "the snapshot holds %s%" PRIu64 " %s, more than %" PRIu64,
		walk->cut ? "at least " : "", entries, list->files > limit ? "files" : "folders",
		limit);
	show_offenders(out, walk, true, list->files);
}

static bool too_many(const struct snapshot_list *list, uint64_t limit)
{
	return list->files > limit || list->folders > limit;
}

int snapshot_list_check(const struct snapshot_list *list, const struct walk *walk,
	const struct snapshot_limits *limits, char ***warnings, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (too_many(list, limits->max_files) || walk->cut)
		show_files_excess(&text, list, walk, limits->max_files);
	else if (list->bytes > limits->max_bytes)
		show_bytes_excess(&text, list, walk, limits->max_bytes);
	if (text.size)
		return error_set(err, -EFBIG, "source_directory", "%s", text.data);

	if (list->bytes > limits->warn_bytes) {
		show_bytes_excess(&text, list, walk, limits->warn_bytes);
		strv_take(warnings, strbuf_steal(&text));
	}
	if (list->files > limits->warn_files) {
		show_files_excess(&text, list, walk, limits->warn_files);
		strv_take(warnings, strbuf_steal(&text));
	}
	return 0;
}
