/* SPDX-License-Identifier: MIT */
/* api_internal - what the handlers of the API share (private to agent/api/) */
#pragma once

#include <sys/queue.h>

#include "api/api.h"
#include "common/json.h"
#include "history/history.h"
#include "runs/run_manager.h"

#define API_JSON "application/json"

struct live_look;
struct api_names;

struct api {
	struct api_options options;
	char *admin_group, *users_group; /* options.access names these */
	struct api_names *names;
	TAILQ_HEAD(, live_look) looks; /* live_files.c: under way and waiting, in order */
};

/* Who asks, as the kernel says. */
struct viewer {
	struct history_viewer sees; /* all: an admin */
	pid_t pid;
};

/* What the audit is to be told of a call, once the user's name is known. */
struct call_event {
	const char *result; /* AUDIT_...; NULL: nothing */
	char *run_id, *reason;
};

/* An answer that waits until the audit has been told. */
struct call_answer {
	unsigned status; /* 0: none waits */
	const char *type;
	char *text;
	char **headers;
};

/* One request being answered. Lives as long as the http_request. */
struct call {
	struct api *api;
	struct http_request *request;
	const struct route *route; /* NULL: there is none */
	struct viewer viewer;
	char *run_id; /* of {id}, resolved; NULL when the route has none */
	char *rest;   /* of {rest}, decoded: a path; NULL when the route has none */
	bool answered;
	bool whole;         /* the body is there */
	const char *action; /* for the audit; NULL: the route's */
	bool audited;
	char *reason; /* likewise: of what is done, as he gave it; NULL or "": he did not */
	struct call_event event;
	struct call_answer answer;
	TAILQ_ENTRY(call) unnamed; /* api_name::calls */
	struct api_name *waits_for;
	void (*named)(struct call *call); /* api_names_await(): to be called then */
	uv_timer_t *patience;
	bool patient_no_more;
	/* GET ?wait= */
	struct run_waiter waiter;
	uv_timer_t *timer;
	/* PUT */
	struct store_writer *writer;
};

/* What a route asks of who calls it. */
enum access {
	ACCESS_EVERYBODY, /* even who is not served */
	ACCESS_ANY,       /* every user who is */
	ACCESS_READ,      /* the run is his to see; else it is not there: 404 */
	ACCESS_OWN,       /* the run is his, or he is an admin; else 403 */
	ACCESS_ADMIN,     /* else 403 */
};

struct route {
	const char *method;
	const char *path; /* "/v1/runs/{id}/artifacts/{rest}" */
	enum access access;
	const char *action; /* for the audit; NULL: it changes nothing */
	void (*handle)(struct call *call);
	void (*begin)(struct call *call); /* at the headers; NULL: nothing to do */
	void (*end)(struct call *call);   /* the request is over; NULL: nothing to do */
	const char *const *queries;       /* NULL-ended names of what may follow '?'; NULL: none */
};

/* routes.c */
const struct route *route_find(
	const char *method, const char *path, char **ret_id, char **ret_rest, int *ret_error);
/* "GET, POST" for a path that is there under other methods. malloc'ed; NULL when it is not there.
 */
char *route_methods(const char *path);

/* api_access.c. Each is false after having answered. */
void access_look(struct call *call); /* fills in the viewer */
bool access_is_served(struct call *call);
/* What the route asks for; run: as the path names it, NULL: it names none. Fills in run_id. */
bool access_is_given(struct call *call, const char *run);
/* Another user's run, as its record says. */
bool access_is_foreign(const struct call *call, const struct run_record *record);
/* 403 and the audit. run_id may be NULL. */
void access_refuse(struct call *call, const char *run_id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What is said of a run that is not there, or is not to be seen. name: as it was asked for. */
int access_no_run(int r, const char *target, const char *name, struct error *err);
/* The same as the answer, of the call's run. */
void access_reply_no_run(struct call *call, int r);
/* What belongs to the run is not there; is it because the run has been deleted since the request began?
 * Then it is answered so. */
bool access_is_gone(struct call *call);

/* api_audit.c: once a call, before its answer. run_id, reason: copied; NULL: none. */
void api_audit(struct call *call, const char *run_id, const char *result, const char *reason);
/* Of what a changing call came to: record NULL is the failure err, or a success about no run. */
void api_audit_result(struct call *call, const struct run_record *record, const struct error *err);
/* A call that would have changed something was answered with err, and nobody has told it yet: its body
 * is no JSON, its run is not there. */
void api_audit_failure(struct call *call, const struct error *err);
/* The call is over: told at the latest now; also of a change that was never asked for to its end. */
void api_audit_end(struct call *call);

/* api_names.c: names of users, looked up on a work thread and remembered for a while */
struct api_names *api_names_new(uv_loop_t *loop);
/* No lookup may be under way: the loop has come to its end. */
void api_names_free(struct api_names *names);
/* Known: true, and *ret (NULL: there is no such user). Else false, and api_named(call) is called,
 * once, when it is; api_names_forget() before the call goes away. */
bool api_names_get(struct api_names *names, struct call *call, const char **ret);
void api_names_forget(struct call *call);
/*
 * For a handler that shows the name in the record or the status. True: the run manager knows it, or it
 * has been waited for long enough (the number is shown then). Else false, and again(call) is called,
 * once, when true; api_names_await_end() before the call goes away.
 */
bool api_names_await(struct call *call, void (*again)(struct call *call));
void api_names_await_end(struct call *call);
void api_named(struct call *call, const char *name);

/* Answers; each takes what it is given over only where it says so. */
void api_reply_json(struct call *call, unsigned status, struct json *value); /* takes value over */
void api_reply_text(struct call *call, unsigned status, char *text); /* JSON; takes it over */
void api_reply_record(struct call *call, unsigned status, const struct run_record *record);
void api_reply_empty(struct call *call, unsigned status);
/* Status and code from err->code; a submit's -ENOENT and the like are 400 (bad_request). */
void api_reply_error(struct call *call, const struct error *err);
void api_reply_bad_request(struct call *call, const struct error *err);
void api_fail(struct call *call, int r, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A failure of our own (error_of_ours()), nothing the request is to blame for; its words are added. */
void api_fail_ours(struct call *call, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The answer that waited for the audit, if one does and the body is there. */
void api_send_answer(struct call *call);

/* The body as JSON; where it may be empty that is an object without keys. -errno after having
 * answered. */
int api_read_body(struct call *call, bool may_be_empty, struct json **ret);

/* A query parameter that is a whole number. -EINVAL after having replied. */
int api_query_int(struct call *call, const char *key, int64_t low, int64_t high, int64_t fallback,
	int64_t *ret);

/* record_json.c: as this viewer may see it */
struct json *record_json(
	struct api *api, const struct viewer *viewer, const struct run_record *record);
struct json *artifact_json(const char *run_id, const struct artifact *artifact);

/* api_status.c */
struct json *status_json(const struct call *call);

/* The handlers. */
void runs_submit(struct call *call);
void runs_list(struct call *call);
void runs_show(struct call *call);
void runs_show_end(struct call *call);
void runs_patch(struct call *call);
void runs_delete(struct call *call);
void runs_cancel(struct call *call);
void queue_hold(struct call *call);
void queue_release(struct call *call);
void queue_drain(struct call *call);
void queue_resume(struct call *call);
void logs_read(struct call *call);
void artifacts_list(struct call *call);
void artifacts_read(struct call *call);
void artifacts_write_begin(struct call *call);
void artifacts_write(struct call *call);
void artifacts_write_end(struct call *call);
void snapshots_read(struct call *call);
void node_experiments(struct call *call);
void node_status(struct call *call);
void node_health(struct call *call);
void node_openapi(struct call *call);
void metrics_read(struct call *call);
