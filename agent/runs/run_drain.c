/* SPDX-License-Identifier: MIT */
/*
 * run_drain - nothing more is started until an admin says so; see run_manager.h
 *
 * <state>/drain holds who, when and why, as lines of "key=value"; there is none while the
 * machine is not drained. A file that cannot be read means that it is. Changes count at once and are
 * written on a work thread, one after the other; one that cannot be written is taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"

#define DRAIN_FILE "drain"
#define DRAIN_TEXT_MAX 65536
#define REASON_MAX 1024

struct drain_change {
	struct run_manager *manager;
	struct drain before; /* as it was written last */
	char *text;          /* NULL: the file goes */
	int result;
	struct work work;
	run_manager_done done;
	void *data;
	TAILQ_ENTRY(drain_change) entry;
};

void drain_release(struct drain *drain)
{
	free(drain->by);
	free(drain->reason);
	*drain = (struct drain){ 0 };
}

/* ---- the file ---- */

static char *format(const struct drain *drain)
{
	char since[CLOCK_TEXT_SIZE];

	clock_format(drain->since_us, since);
	return mem_printf("since=%s\nby=%s\nreason=%s\n", since, drain->by, drain->reason);
}

static void parse_line(struct drain *drain, const char *line)
{
	int64_t since;

	if (!strncmp(line, "since=", 6) && clock_parse(line + 6, &since) == 0)
		drain->since_us = since;
	else if (!strncmp(line, "by=", 3))
		mem_replace(&drain->by, line + 3);
	else if (!strncmp(line, "reason=", 7))
		mem_replace(&drain->reason, line + 7);
}

static void parse(char *text, struct drain *ret)
{
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")))
		parse_line(ret, line);
}

/* The reason is one line. */
static char *one_line(const char *text)
{
	char *line = mem_strndup(text, strnlen(text, REASON_MAX));

	for (char *at = line; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = ' ';
	return line;
}

void run_drain_read(struct run_manager *manager)
{
	_cleanup_(freep) char *path = path_join(manager->options.state_dir, DRAIN_FILE);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct drain *drain = &manager->drain;
	int r = file_read(AT_FDCWD, path, DRAIN_TEXT_MAX, &text);

	if (r == -ENOENT)
		return;
	if (r < 0)
		log_error("%s cannot be read: %s; nothing is started until a resume", path,
			strerror(-r));
	else
		parse(text.data ? text.data : (char[]){ "" }, drain);
	if (!drain->since_us)
		drain->since_us = clock_utc();
	if (!drain->by)
		drain->by = mem_strdup("somebody");
	if (!drain->reason)
		drain->reason = mem_strdup("");
	log_info("drained by %s: nothing is started until a resume", drain->by);
}

static int remove_file(const char *dir)
{
	_cleanup_(closep) int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return -errno;
	if (unlinkat(dirfd, DRAIN_FILE, 0) < 0 && errno != ENOENT)
		return -errno;
	return file_fsync(dirfd);
}

static void write_on_thread(struct work *work)
{
	struct drain_change *change = container_of(work, struct drain_change, work);
	const char *dir = change->manager->options.state_dir;
	_cleanup_(freep) char *path = path_join(dir, DRAIN_FILE);

	change->result = change->text ? file_replace(AT_FDCWD, path, change->text,
						strlen(change->text), 0600, FILE_SYNC)
				      : remove_file(dir);
}

/* ---- changes, one after the other ---- */

static void write_done(struct work *work);

static void write_next(struct run_manager *manager)
{
	struct drain_change *change = TAILQ_FIRST(&manager->drain_changes);

	if (change)
		work_queue(manager->options.loop, &change->work, write_on_thread, write_done);
}

static void take_back(struct drain_change *change)
{
	struct drain_change *next = TAILQ_NEXT(change, entry);
	/* Another one has been asked for meanwhile: that one counts, unless it fails as well. */
	struct drain *to = next ? &next->before : &change->manager->drain;

	drain_release(to);
	*to = change->before;
	change->before = (struct drain){ 0 };
}

static void write_done(struct work *work)
{
	struct drain_change *change = container_of(work, struct drain_change, work);
	struct run_manager *manager = change->manager;
	struct error err = ERROR_INIT;

	if (change->result < 0) {
		error_errno(&err, change->result, NULL, "cannot write %s/%s",
			manager->options.state_dir, DRAIN_FILE);
		take_back(change);
	}
	TAILQ_REMOVE(&manager->drain_changes, change, entry);
	write_next(manager);
	run_live_schedule(manager);
	change->done(change->data, NULL, &err);
	drain_release(&change->before);
	free(change->text);
	free(change);
	run_manager_unpend(manager);
}

/* drain is taken over; a zeroed one: resume. */
static void change_to(
	struct run_manager *manager, struct drain drain, run_manager_done done, void *data)
{
	struct drain_change *change = NEW(struct drain_change);

	change->manager = manager;
	change->text = drain.since_us ? format(&drain) : NULL;
	change->before = manager->drain;
	change->done = done;
	change->data = data;
	manager->drain = drain;
	manager->pending++;
	TAILQ_INSERT_TAIL(&manager->drain_changes, change, entry);
	if (TAILQ_FIRST(&manager->drain_changes) == change)
		write_next(manager);
}

/* Of one who drains a second time the reason is the new one, and since when it was stays. */
void run_manager_drain(struct run_manager *manager, uid_t by, const char *reason,
	run_manager_done done, void *data)
{
	struct drain drain = {
		.since_us = manager->drain.since_us ? manager->drain.since_us : clock_utc(),
		.by = run_manager_user_name(manager, by),
		.reason = one_line(reason ? reason : ""),
	};

	log_info("drained by %s%s%s", drain.by, drain.reason[0] ? ": " : "", drain.reason);
	change_to(manager, drain, done, data);
}

void run_manager_resume(struct run_manager *manager, uid_t by, run_manager_done done, void *data)
{
	_cleanup_(freep) char *name = run_manager_user_name(manager, by);

	log_info("resumed by %s", name);
	change_to(manager, (struct drain){ 0 }, done, data);
}
