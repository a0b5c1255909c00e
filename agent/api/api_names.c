/* SPDX-License-Identifier: MIT */
/* api_names - names of users, looked up on a work thread and remembered; see api_internal.h */
#include "api/api_internal.h"
#include "common/clock.h"
#include "common/identity.h"
#include "common/mem.h"
#include "runs/work.h"

#define GOOD_FOR_US (600 * USEC_PER_SEC)
/* Of more than these the oldest are forgotten: a user may connect under 65536 names (subuid). */
#define NAMES_MAX 1024
/* How long a change waits for the name of who makes it. */
#define PATIENCE_MS 1000

TAILQ_HEAD(call_list, call);

struct api_name {
	TAILQ_ENTRY(api_name) all; /* oldest first */
	struct api_names *names;
	uid_t uid;
	char *name;       /* NULL: there is no such user */
	int64_t known_us; /* clock_boot(); 0: not yet */
	bool asking;
	struct identity identity; /* the work thread's */
	struct work work;
	struct call_list calls; /* that wait for it */
};

TAILQ_HEAD(api_name_list, api_name);

struct api_names {
	uv_loop_t *loop;
	struct api_name_list all;
	size_t count;
};

struct api_names *api_names_new(uv_loop_t *loop)
{
	struct api_names *names = NEW(struct api_names);

	names->loop = loop;
	TAILQ_INIT(&names->all);
	return names;
}

static void forget(struct api_name *user)
{
	TAILQ_REMOVE(&user->names->all, user, all);
	user->names->count--;
	free(user->name);
	free(user);
}

void api_names_free(struct api_names *names)
{
	if (!names)
		return;
	while (!TAILQ_EMPTY(&names->all))
		forget(TAILQ_FIRST(&names->all));
	free(names);
}

static struct api_name *find(struct api_names *names, uid_t uid)
{
	struct api_name *user;

	TAILQ_FOREACH(user, &names->all, all)
	if (user->uid == uid)
		return user;
	return NULL;
}

static void make_room(struct api_names *names)
{
	struct api_name *user, *next;

	for (user = TAILQ_FIRST(&names->all); user && names->count >= NAMES_MAX; user = next) {
		next = TAILQ_NEXT(user, all);
		if (!user->asking)
			forget(user);
	}
}

static struct api_name *add(struct api_names *names, uid_t uid)
{
	struct api_name *user = NEW(struct api_name);

	make_room(names);
	user->names = names;
	user->uid = uid;
	TAILQ_INIT(&user->calls);
	TAILQ_INSERT_TAIL(&names->all, user, all);
	names->count++;
	return user;
}

static void look_up(struct work *work)
{
	struct api_name *user = container_of(work, struct api_name, work);

	if (identity_of_user(user->uid, &user->identity) < 0)
		user->identity = (struct identity){ 0 };
}

/* ---- a call waits, but not for ever ---- */

static void timer_closed(uv_handle_t *timer)
{
	free(timer);
}

void api_names_await_end(struct call *call)
{
	call->named = NULL;
	if (call->patience)
		uv_close((uv_handle_t *)TAKE(call->patience), timer_closed);
}

static void end_of_wait(struct call *call)
{
	void (*again)(struct call * call) = call->named;

	api_names_await_end(call);
	again(call);
}

static void patience_is_over(uv_timer_t *timer)
{
	struct call *call = timer->data;

	api_names_forget(call);
	call->patient_no_more = true;
	end_of_wait(call);
}

bool api_names_await(struct call *call, void (*again)(struct call *call))
{
	const char *name = NULL;

	if (call->patient_no_more)
		return true;
	if (api_names_get(call->api->names, call, &name)) {
		if (name)
			run_manager_know_user(call->api->options.runs, call->viewer.sees.uid, name);
		return true;
	}
	call->named = again;
	call->patience = NEW(uv_timer_t);
	uv_timer_init(call->api->options.loop, call->patience);
	call->patience->data = call;
	uv_timer_start(call->patience, patience_is_over, PATIENCE_MS, 0);
	return false;
}

static void looked_up(struct work *work)
{
	struct api_name *user = container_of(work, struct api_name, work);
	struct call *call;

	mem_replace(&user->name, user->identity.name);
	identity_release(&user->identity);
	user->asking = false;
	user->known_us = clock_boot();
	while ((call = TAILQ_FIRST(&user->calls))) {
		api_names_forget(call);
		if (call->named)
			end_of_wait(call);
		else
			api_named(call, user->name);
	}
}

bool api_names_get(struct api_names *names, struct call *call, const char **ret)
{
	struct api_name *user = find(names, call->viewer.sees.uid);

	if (!user)
		user = add(names, call->viewer.sees.uid);
	if (user->known_us && clock_boot() - user->known_us < GOOD_FOR_US) {
		*ret = user->name;
		return true;
	}
	if (!user->asking) {
		user->asking = true;
		work_queue(names->loop, &user->work, look_up, looked_up);
	}
	call->waits_for = user;
	TAILQ_INSERT_TAIL(&user->calls, call, unnamed);
	return false;
}

void api_names_forget(struct call *call)
{
	if (!call->waits_for)
		return;
	TAILQ_REMOVE(&call->waits_for->calls, call, unnamed);
	call->waits_for = NULL;
}
