/* SPDX-License-Identifier: MIT */
/* live_files - what is in the folders of a run now; see live_files.h */
#include "api/live_files.h"

#include <string.h>
#include <sys/stat.h>

#include "capture/collect.h"
#include "common/identity.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/work.h"

struct live_look {
	TAILQ_ENTRY(live_look) all; /* api::looks */
	struct call *call;
	char *run_dir;
	int dirfd;
	uid_t owner;
	bool is_foreign, busy;
	struct identity as;
	char *path; /* NULL: list them all */
	live_files_listed listed;
	live_files_opened opened;
	struct work work;
	/* out */
	int result, fd;
	struct artifacts list;
};

/* -ENOENT: it has been deleted since the request began. Its folder may be there for a while, and is
 * looked at with nobody's rights then, least of all with ours. */
static int owner_of(const struct call *call, uid_t *ret)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	int r = run_manager_get(call->api->options.runs, call->run_id, &record);

	if (r < 0)
		return r;
	*ret = record.owner;
	return 0;
}

bool live_files_are_ours(struct call *call, const char *path)
{
	uid_t owner;

	return !strcmp(path, RUN_LOG_ARTIFACT) ||
	       (owner_of(call, &owner) >= 0 && owner == geteuid());
}

/* ---- on a work thread ---- */

/* Of a user who is gone his number is left, and his group as the run's folder has it. */
static int identify(struct live_look *look)
{
	struct stat st;
	int r = identity_of_user(look->owner, &look->as);

	if (r != -ENOENT)
		return r;
	if (fstat(look->dirfd, &st) < 0)
		return -errno;
	look->as = (struct identity){ .uid = look->owner, .gid = st.st_gid };
	look->as.groups = mem_dup(&st.st_gid, sizeof(st.st_gid));
	look->as.group_count = 1;
	return 0;
}

static int carry_out(struct live_look *look)
{
	struct collect_options options = { .run_dirfd = look->dirfd, .run_dir = look->run_dir };
	int r = 0;

	if (look->is_foreign) {
		r = identify(look);
		options.as = &look->as;
	}
	if (r < 0)
		return r;
	return look->path ? collect_open_live(&options, look->path, &look->fd)
			  : collect_list_live(&options, &look->list);
}

static void on_thread(struct work *work)
{
	struct live_look *look = container_of(work, struct live_look, work);

	look->result = carry_out(look);
}

/* ---- on the loop ---- */

static void look_free(struct live_look *look)
{
	fd_close(look->dirfd);
	free(look->run_dir);
	free(look->path);
	identity_release(&look->as);
	artifacts_release(&look->list);
	free(look);
}

static void finished(struct work *work);

/* The first of each user's. */
static void start_waiting(struct api *api)
{
	struct live_look *look, *other;

	TAILQ_FOREACH(look, &api->looks, all)
	{
		bool may = !look->busy;

		TAILQ_FOREACH(other, &api->looks, all)
		{
			if (other->busy && other->is_foreign && other->owner == look->owner)
				may = false;
		}
		if (!may)
			continue;
		look->busy = true;
		work_queue(api->options.loop, &look->work, on_thread, finished);
	}
}

static void finished(struct work *work)
{
	struct live_look *look = container_of(work, struct live_look, work);
	struct api *api = look->call->api;

	TAILQ_REMOVE(&api->looks, look, all);
	if (look->path)
		look->opened(look->call, look->result, look->fd);
	else
		look->listed(look->call, look->result, &look->list);
	look_free(look);
	start_waiting(api);
}

static struct live_look *look_new(struct call *call, const char *path)
{
	const struct api_options *options = &call->api->options;
	struct live_look *look = NEW(struct live_look);
	int r;

	look->call = call;
	look->path = mem_strdup(path);
	look->fd = -EBADF;
	r = owner_of(call, &look->owner);
	look->is_foreign = look->owner != geteuid();
	look->run_dir = mem_printf("%s/runs/%s", options->state_dir, call->run_id);
	look->dirfd = r < 0 ? r : run_manager_open_dir(options->runs, call->run_id);
	return look;
}

static void begin(struct live_look *look)
{
	struct api *api = look->call->api;

	TAILQ_INSERT_TAIL(&api->looks, look, all);
	start_waiting(api);
}

void live_files_list(struct call *call, live_files_listed done)
{
	struct live_look *look = look_new(call, NULL);

	look->listed = done;
	if (look->dirfd >= 0) {
		begin(look);
		return;
	}
	done(call, look->dirfd, &look->list);
	look_free(look);
}

void live_files_open(struct call *call, const char *path, live_files_opened done)
{
	struct live_look *look = look_new(call, path);

	look->opened = done;
	if (look->dirfd >= 0) {
		begin(look);
		return;
	}
	done(call, look->dirfd, -EBADF);
	look_free(look);
}
