/* SPDX-License-Identifier: MIT */
/*
 * test_api_access - who may do what by way of the API, and what the audit is told of it
 *
 * The whole API on a real history and a fake executor; users are numbers. Real users, real sockets
 * and the files are tests/users' business.
 */
#include "run_fixture.h"

#include "api/api.h"
#include "common/audit.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "fake_http.h"

#define ADMINS 70001
#define LAB 70002
#define SERVED 70003
#define NOBODYS "nobodys-run_1700000000_0123abcd"

static const gid_t admin_groups[] = { ADMINS, SERVED };
static const gid_t lab_groups[] = { 60001, LAB, SERVED };

static const struct fake_user ana = { 60001, lab_groups, 3 };
static const struct fake_user ben = { 60002, lab_groups + 1, 2 };
static const struct fake_user eva = { 60003, admin_groups, 2 };
static const struct fake_user otto = { 60004, NULL, 0 };
static const struct fake_user root = { 0, NULL, 0 };

static struct api *api;
static struct http_handler handler;

/* ---- the audit ---- */

static struct strbuf heard; /* "action:uid:run:result " */
static int events;

void audit(const struct audit_event *event)
{
	events++;
	strbuf_addf(&heard, "%s:%u:%s:%s ", event->action, (unsigned)event->uid,
		event->run_id ? event->run_id : "-", event->result);
}

static void expect_heard(const char *expected)
{
	strbuf_adds(&heard, "");
	assert_string_equal(heard.data, expected);
	strbuf_clear(&heard);
	strbuf_adds(&heard, "");
}

/* ---- the fixture ---- */

static void serve(struct api_access access)
{
	access.admin_group = "wheel";
	access.users_group = "research";
	api_set_access(api, &access);
}

static const struct api_access open_to_all = {
	.system = true, .admin_gid = ADMINS, .users_gid = API_NO_GROUP
};

static int set_up_api(void **state)
{
	struct api_options options = { 0 };

	set_up(state);
	strbuf_clear(&heard);
	events = 0;
	options.loop = &f.loop;
	options.runs = f.manager;
	options.history = f.history;
	options.store = f.store;
	options.state_dir = f.state;
	options.config_path = "/etc/our.conf";
	api = api_new(&options);
	handler = api_handler(api);
	serve(open_to_all);
	return 0;
}

static int tear_down_api(void **state)
{
	int r;

	turn_for(&f, 1000);
	api_free(api);
	r = tear_down(state);
	strbuf_release(&heard);
	return r;
}

#define TEST_API(name) cmocka_unit_test_setup_teardown(name, set_up_api, tear_down_api)

static struct fake_answer ask(
	const struct fake_user *user, const char *method, const char *url, const char *body)
{
	struct fake_answer answer;

	fake_http_ask(&f.loop, &handler, user, method, url, body, &answer);
	return answer;
}

static unsigned status_of(
	const struct fake_user *user, const char *method, const char *url, const char *body)
{
	struct fake_answer answer = ask(user, method, url, body);
	unsigned status = answer.status;

	fake_answer_release(&answer);
	return status;
}

static struct json *json_of(
	const struct fake_user *user, const char *method, const char *url, const char *body)
{
	struct fake_answer answer = ask(user, method, url, body);
	struct json *json;

	assert_int_equal(answer.status / 100, 2);
	assert_int_equal(json_parse(answer.body.data, answer.body.size, &json, NULL), 0);
	fake_answer_release(&answer);
	return json;
}

static char *run_of(const struct fake_user *user, const char *more)
{
	return submit_as(&f, user->uid, more);
}

static char *completed_run_of(const struct fake_user *user, const char *more)
{
	char *run_id = run_of(user, more);

	run_to_end(&f, run_id, 0);
	return run_id;
}

/* ---- routes ---- */

static const struct {
	const char *method, *path, *body, *action;
} of_runs[] = {
	{ "GET", "", NULL, "read" },
	{ "HEAD", "", NULL, "read" },
	{ "GET", "/logs/user_logs/std_log.txt", NULL, "read" },
	{ "GET", "/logs/user_logs/std_log.txt?follow=1", NULL, "read" },
	{ "GET", "/artifacts", NULL, "read" },
	{ "GET", "/artifacts?prefix=x", NULL, "read" },
	{ "GET", "/snapshot", NULL, "read" },
	{ "GET", "/artifacts/outputs/x", NULL, "read" },
	{ "PATCH", "", "{\"tags\":{\"a\":\"b\"}}", "patch" },
	{ "PATCH", "", "{\"shared\":false}", "patch" },
	{ "POST", "/cancel", NULL, "cancel" },
	{ "POST", "/hold", NULL, "hold" },
	{ "POST", "/release", NULL, "release" },
	{ "PUT", "/artifacts/outputs/x", "bytes", "put" },
	{ "DELETE", "", NULL, "delete" },
};

#define READS 7 /* so many of them work on any run; the eighth has nothing to read */

static char *url_of(const char *run, const char *path)
{
	return mem_printf("/v1/runs/%s%s", run, path);
}

/* Without the name that was asked for. */
static char *told(const struct fake_answer *answer, const char *name)
{
	struct strbuf out = STRBUF_INIT;
	const char *at = answer->body.data;

	strbuf_addf(&out, "%u %s ", answer->status, answer->type ? answer->type : "-");
	for (char **header = answer->headers; header && *header; header++)
		strbuf_addf(&out, "%s ", *header);
	for (const char *next; (next = strstr(at, name)); at = next + strlen(name)) {
		strbuf_add(&out, at, (size_t)(next - at));
		strbuf_adds(&out, "RUN");
	}
	strbuf_adds(&out, at);
	return strbuf_steal(&out);
}

static void expect_as_of_nobody(const struct fake_user *user, size_t i, const char *run)
{
	_cleanup_(freep) char *here = url_of(run, of_runs[i].path);
	_cleanup_(freep) char *nowhere = url_of(NOBODYS, of_runs[i].path);
	struct fake_answer a = ask(user, of_runs[i].method, here, of_runs[i].body);
	struct fake_answer b = ask(user, of_runs[i].method, nowhere, of_runs[i].body);
	_cleanup_(freep) char *told_a = told(&a, run);
	_cleanup_(freep) char *told_b = told(&b, NOBODYS);

	assert_int_equal(a.status, 404);
	assert_string_equal(told_a, told_b);
	fake_answer_release(&a);
	fake_answer_release(&b);
}

static void a_strangers_run_is_as_if_it_were_not_there(void **state)
{
	_cleanup_(freep) char *over = completed_run_of(&ben, NULL);
	_cleanup_(freep) char *held = run_of(&ben, "\"command\":\"true\",\"hold\":true");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(of_runs); i++) {
		_cleanup_(freep) char *prefix = mem_strndup(over, strlen(over) - 2);

		expect_as_of_nobody(&ana, i, over);
		expect_as_of_nobody(&otto, i, held);
		expect_as_of_nobody(&ana, i, prefix);
	}
	assert_int_equal(state_of(&f, held), RUN_QUEUED);
	assert_int_equal(state_of(&f, over), RUN_COMPLETED);
}

/* He who asked is told nothing; the audit is told. */
static void a_refusal_that_looks_like_none_is_heard(void **state)
{
	_cleanup_(freep) char *run = completed_run_of(&ben, NULL);
	_cleanup_(freep) char *url = url_of(run, "");
	_cleanup_(freep) char *expected = mem_printf(
		"read:60001:%s:denied delete:60001:%s:denied delete:60001:-:error ", run, run);

	(void)state;
	assert_int_equal(status_of(&ana, "GET", url, NULL), 404);
	assert_int_equal(status_of(&ana, "DELETE", url, NULL), 404);
	assert_int_equal(status_of(&ana, "DELETE", "/v1/runs/" NOBODYS, NULL), 404);
	/* What may have meant a run of his own accuses nobody. */
	assert_int_equal(status_of(&ana, "GET", "/v1/runs/latest", NULL), 404);
	expect_heard(expected);
}

static void a_shared_run_is_read_by_all_and_changed_by_its_owner(void **state)
{
	_cleanup_(freep) char *run = completed_run_of(&ben, "\"command\":\"true\",\"share\":true");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(of_runs); i++) {
		_cleanup_(freep) char *url = url_of(run, of_runs[i].path);
		_cleanup_(freep) char *expected =
			mem_printf("%s:60004:%s:denied ", of_runs[i].action, run);
		struct fake_answer answer;

		if (!strcmp(of_runs[i].path, "/artifacts/outputs/x") &&
			!strcmp(of_runs[i].method, "GET"))
			continue;
		answer = ask(&otto, of_runs[i].method, url, of_runs[i].body);
		assert_int_equal(answer.status, i < READS ? 200 : 403);
		if (i >= READS) {
			assert_non_null(strstr(answer.body.data, "belongs to"));
			expect_heard(expected);
		} else {
			expect_heard("");
		}
		fake_answer_release(&answer);
	}
	assert_int_equal(state_of(&f, run), RUN_COMPLETED);
}

static void owners_admins_and_root_may_do_all(void **state)
{
	static const struct fake_user *const users[] = { &ben, &eva, &root };

	(void)state;
	for (size_t u = 0; u < ARRAY_SIZE(users); u++) {
		_cleanup_(freep) char *run = run_of(&ben, "\"command\":\"true\",\"hold\":true");
		_cleanup_(freep) char *url = url_of(run, "");
		_cleanup_(freep) char *cancel = url_of(run, "/cancel");
		_cleanup_(freep) char *put = url_of(run, "/artifacts/outputs/x");

		assert_int_equal(status_of(users[u], "GET", url, NULL), 200);
		assert_int_equal(status_of(users[u], "PATCH", url, "{\"shared\":true}"), 200);
		assert_int_equal(status_of(users[u], "PUT", put, "bytes"), 201);
		assert_int_equal(status_of(users[u], "GET", put, NULL), 200);
		assert_int_equal(status_of(users[u], "POST", cancel, NULL), 202);
		assert_int_equal(status_of(users[u], "DELETE", url, NULL), 204);
	}
}

static void drain_and_resume_are_for_admins(void **state)
{
	(void)state;
	assert_int_equal(status_of(&ana, "POST", "/v1/drain", "{}"), 403);
	assert_int_equal(status_of(&ana, "POST", "/v1/resume", NULL), 403);
	expect_heard("drain:60001:-:denied resume:60001:-:denied ");
	assert_int_equal(status_of(&eva, "POST", "/v1/drain", "{\"reason\":\"noon\"}"), 200);
	assert_int_equal(status_of(&root, "POST", "/v1/resume", NULL), 200);
	expect_heard("drain:60003:-:ok resume:0:-:ok ");
}

/* ---- who is served ---- */

static void only_members_are_served_where_there_is_a_group(void **state)
{
	static const char *const urls[] = { "/v1/runs", "/v1/status", "/v1/experiments", "/metrics",
		"/v1/openapi.yaml", "/v1/runs/latest", "/no/such/route" };
	struct api_access access = open_to_all;

	(void)state;
	access.users_gid = SERVED;
	serve(access);
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct fake_answer answer = ask(&otto, "GET", urls[i], NULL);

		assert_int_equal(answer.status, 403);
		assert_non_null(strstr(answer.body.data, "research"));
		fake_answer_release(&answer);
	}
	assert_int_equal(events, ARRAY_SIZE(urls));
	assert_int_equal(status_of(&otto, "GET", "/healthz", NULL), 200);
	assert_int_equal(status_of(&ana, "GET", "/v1/runs", NULL), 200);
	assert_int_equal(status_of(&eva, "GET", "/v1/runs", NULL), 200);
	assert_int_equal(status_of(&root, "GET", "/v1/runs", NULL), 200);
	/* An admin need not be a member. */
	access.users_gid = 71000;
	serve(access);
	assert_int_equal(status_of(&ana, "GET", "/v1/runs", NULL), 403);
	assert_int_equal(status_of(&eva, "GET", "/v1/runs", NULL), 200);
}

static void a_daemon_of_one_user_serves_him_and_root(void **state)
{
	const struct fake_user self = { getuid(), NULL, 0 };
	struct api_access access = open_to_all;

	(void)state;
	access.system = false;
	serve(access);
	assert_int_equal(status_of(&self, "GET", "/v1/runs", NULL), 200);
	assert_int_equal(status_of(&root, "GET", "/v1/runs", NULL), 200);
	assert_int_equal(status_of(&ana, "GET", "/v1/runs", NULL), 403);
	assert_int_equal(status_of(&eva, "GET", "/v1/runs", NULL), 403);
	assert_int_equal(status_of(&ana, "GET", "/healthz", NULL), 200);
}

static void without_a_group_of_admins_root_alone_is_one(void **state)
{
	static const gid_t groups[] = { 0, (gid_t)-1 };
	const struct fake_user sly = { 60009, groups, 2 };
	struct api_access access = open_to_all;

	(void)state;
	access.admin_gid = API_NO_GROUP;
	serve(access);
	assert_int_equal(status_of(&sly, "POST", "/v1/resume", NULL), 403);
	assert_int_equal(status_of(&eva, "POST", "/v1/resume", NULL), 403);
	assert_int_equal(status_of(&root, "POST", "/v1/resume", NULL), 200);
}

/* ---- names, lists, what follows what ---- */

static size_t listed(const struct fake_user *user, const char *url)
{
	struct json *array = json_of(user, "GET", url, NULL);
	size_t count = json_size(array);

	json_free(array);
	return count;
}

static void names_and_lists_are_of_what_one_sees(void **state)
{
	_cleanup_(freep) char *hers = completed_run_of(&ana, NULL);
	_cleanup_(freep) char *his = completed_run_of(&ben, NULL);
	_cleanup_(freep) char *before = mem_printf("/v1/runs?before=%s", his);
	struct json *record = json_of(&ana, "GET", "/v1/runs/latest", NULL);

	(void)state;
	assert_string_equal(json_string(json_get(record, "run_id")), hers);
	json_free(record);
	record = json_of(&ana, "GET", "/v1/runs/e_", NULL);
	assert_string_equal(json_string(json_get(record, "run_id")), hers);
	json_free(record);
	assert_int_equal(status_of(&root, "GET", "/v1/runs/e_", NULL), 409);
	assert_int_equal(status_of(&otto, "GET", "/v1/runs/latest", NULL), 404);
	assert_int_equal(listed(&ana, "/v1/runs"), 1);
	assert_int_equal(listed(&otto, "/v1/runs"), 0);
	assert_int_equal(listed(&eva, "/v1/runs"), 2);
	assert_int_equal(listed(&ana, "/v1/runs?user=60002"), 0);
	assert_int_equal(listed(&eva, "/v1/runs?user=60002"), 1);
	assert_int_equal(listed(&ben, "/v1/runs?user=60002"), 1);
	assert_int_equal(status_of(&ana, "GET", before, NULL), 400);
	assert_int_equal(status_of(&ben, "GET", before, NULL), 200);
	assert_int_equal(listed(&otto, "/v1/experiments"), 0);
	assert_int_equal(listed(&ana, "/v1/experiments"), 1);
}

static char *submit_body(const char *after)
{
	return mem_printf("{\"source_directory\":\"%s\",\"command\":\"true\",\"hold\":true,"
			  "\"after\":[{\"run_id\":\"%s\"}]}",
		f.source, after);
}

static void a_run_follows_what_its_submitter_sees(void **state)
{
	_cleanup_(freep) char *private = run_of(&ben, "\"command\":\"true\",\"hold\":true");
	_cleanup_(freep) char *shared =
		run_of(&ben, "\"command\":\"true\",\"hold\":true,\"share\":true");
	_cleanup_(freep) char *none = submit_body(NOBODYS);
	_cleanup_(freep) char *his = submit_body(private);
	_cleanup_(freep) char *public = submit_body(shared);
	struct fake_answer a = ask(&ana, "POST", "/v1/runs", none);
	struct fake_answer b = ask(&ana, "POST", "/v1/runs", his);
	_cleanup_(freep) char *told_a = told(&a, NOBODYS);
	_cleanup_(freep) char *told_b = told(&b, private);

	(void)state;
	assert_int_equal(a.status, 400);
	assert_string_equal(told_a, told_b);
	assert_int_equal(status_of(&ana, "POST", "/v1/runs", public), 201);
	assert_int_equal(status_of(&ben, "POST", "/v1/runs", his), 201);
	fake_answer_release(&a);
	fake_answer_release(&b);
}

/* ---- what is shown of a shared run ---- */

static void a_shared_run_shows_no_values_and_no_strangers_names(void **state)
{
	_cleanup_(freep) char *first = run_of(&ben, "\"command\":\"true\",\"hold\":true");
	_cleanup_(freep) char *more =
		mem_printf("\"command\":\"true\",\"share\":true,\"after\":[{\"run_id\":\"%s\"}],"
			   "\"environment\":{\"environment_variables\":{\"TOKEN\":\"s3cret\"}}",
			first);
	_cleanup_(freep) char *run = run_of(&ben, more);
	_cleanup_(freep) char *url = url_of(run, "");
	static const char *const lists[] = { NULL, "/v1/runs" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const char *what = lists[i] ? lists[i] : url;
		struct fake_answer hers = ask(&ana, "GET", what, NULL);
		struct fake_answer his = ask(&ben, "GET", what, NULL);
		struct fake_answer admins = ask(&eva, "GET", what, NULL);

		assert_non_null(strstr(hers.body.data, "\"TOKEN\":\"\""));
		assert_null(strstr(hers.body.data, "s3cret"));
		assert_null(strstr(hers.body.data, first));
		assert_non_null(strstr(hers.body.data, "\"after\":[]"));
		assert_non_null(strstr(hers.body.data, "waits for another run to end"));
		assert_non_null(strstr(his.body.data, "s3cret"));
		assert_non_null(strstr(his.body.data, first));
		assert_non_null(strstr(admins.body.data, "s3cret"));
		fake_answer_release(&hers);
		fake_answer_release(&his);
		fake_answer_release(&admins);
	}
}

static void the_status_names_users_and_not_their_runs(void **state)
{
	_cleanup_(freep) char *run = run_of(&ben, NULL);
	struct fake_answer answer;
	struct json *status;

	(void)state;
	until_running(&f, run);
	answer = ask(&ana, "GET", "/v1/status", NULL);
	assert_null(strstr(answer.body.data, run));
	assert_null(strstr(answer.body.data, f.state));
	assert_null(strstr(answer.body.data, "our.conf"));
	fake_answer_release(&answer);
	status = json_of(&ana, "GET", "/v1/status", NULL);
	assert_true(json_is_null(json_get(status, "state_directory")));
	assert_true(json_is_null(json_get(status, "configuration_file")));
	assert_true(json_bool(json_get(status, "system")));
	assert_false(json_bool(json_get(status, "admin")));
	assert_int_equal(json_size(json_get(status, "runs")), 0);
	assert_int_equal(json_int(json_get(status, "running")), 1);
	assert_int_equal(json_size(json_get(status, "users")), 1);
	json_free(status);
	status = json_of(&eva, "GET", "/v1/status", NULL);
	assert_string_equal(json_string(json_get(status, "state_directory")), f.state);
	assert_string_equal(json_string(json_get(status, "configuration_file")), "/etc/our.conf");
	assert_true(json_bool(json_get(status, "admin")));
	assert_int_equal(json_size(json_get(status, "runs")), 1);
	json_free(status);
	end_run(&f, run, 0);
	until_over(&f, run);
}

static void what_an_admin_holds_its_owner_does_not_release(void **state)
{
	_cleanup_(freep) char *block = run_of(&ana, NULL);
	_cleanup_(freep) char *run = run_of(&ben, "\"command\":\"true\",\"hold\":true");
	_cleanup_(freep) char *hold = url_of(run, "/hold");
	_cleanup_(freep) char *release = url_of(run, "/release");

	(void)state;
	assert_int_equal(status_of(&eva, "POST", release, NULL), 200);
	assert_int_equal(status_of(&eva, "POST", hold, NULL), 200);
	assert_int_equal(status_of(&ben, "POST", release, NULL), 403);
	assert_int_equal(status_of(&ben, "POST", hold, NULL), 200);
	assert_int_equal(status_of(&ben, "POST", release, NULL), 403);
	assert_int_equal(status_of(&eva, "POST", release, NULL), 200);
}

/* ---- files of a run that is just ending, or just going ---- */

static char *folder_of(const char *run)
{
	return mem_printf("%s/runs/%s", f.state, run);
}

static void write_file_of(const char *run, const char *name)
{
	_cleanup_(freep) char *path = mem_printf("state/runs/%s/work/%s", run, name);

	fixture_write(&f, path, "bytes");
}

struct ending {
	struct run_waiter waiter;
	uv_timer_t timer;
	char *run;
	bool over;
};

static void let_it_end(uv_timer_t *timer)
{
	(void)timer;
	disk_is(DISK_FINE);
}

/* The clean-up is quicker than whoever is looking into the folder. */
static void folder_goes_first(struct run_waiter *waiter, bool over)
{
	struct ending *ending = container_of(waiter, struct ending, waiter);
	_cleanup_(freep) char *folder = folder_of(ending->run);

	if (!over)
		return;
	assert_int_equal(tree_remove(AT_FDCWD, folder), 0);
	ending->over = true;
	let_threads_go(&f);
}

static void what_is_stored_while_it_is_looked_for_is_found(void **state)
{
	struct ending ending = { .run = run_of(&root, NULL) };
	_cleanup_(freep) char *url = url_of(ending.run, "/artifacts/outputs/x");
	struct fake_answer answer;

	(void)state;
	until_running(&f, ending.run);
	write_file_of(ending.run, "outputs/x");
	disk_is(DISK_SLOW);
	end_run(&f, ending.run, 0);
	hold_threads(&f); /* its outputs have been collected, that they are is not committed */
	assert_int_equal(
		run_waiter_start(f.manager, ending.run, &ending.waiter, folder_goes_first), 0);
	uv_timer_init(&f.loop, &ending.timer);
	uv_timer_start(&ending.timer, let_it_end, 50, 0);
	answer = ask(&root, "GET", url, NULL);
	assert_true(ending.over);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.body.data, "bytes");
	fake_answer_release(&answer);
	uv_close((uv_handle_t *)&ending.timer, NULL);
	turn_for(&f, 1000);
	free(ending.run);
}

struct going {
	const char *run;
	int result;
};

static void gone(void *data, int result)
{
	struct going *going = data;

	going->result = result;
}

/* Its folder is still there, as it is for a while in a delete. */
static void row_goes(void *data)
{
	struct going *going = data;

	history_delete(f.history, going->run, gone, going);
	until(&f, going->result <= 0);
	assert_int_equal(going->result, 0);
}

/* Its owner, whose rights they are to be looked at with, is not known any more. */
static void files_of_a_run_that_goes_are_not_looked_at(void **state)
{
	static const char *const paths[] = { "/logs/logs/x", "/logs/user_logs/std_log.txt",
		"/artifacts/outputs/x", "/artifacts", "/snapshot", "" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_(freep) char *run = run_of(&ana, NULL);
		_cleanup_(freep) char *url = url_of(run, paths[i]);
		struct going going = { run, 1 };
		struct fake_answer answer;

		until_running(&f, run);
		write_file_of(run, "logs/x");
		write_file_of(run, "outputs/x");
		end_run(&f, run, 1);
		until_over(&f, run);
		fake_http_before_handle(row_goes, &going);
		answer = ask(&ana, "GET", url, NULL);
		assert_int_equal(going.result, 0);
		assert_int_equal(answer.status, 404);
		assert_non_null(strstr(answer.body.data, "no run"));
		fake_answer_release(&answer);
	}
}

/* ---- the audit ---- */

static void every_change_is_heard_once_and_before_its_answer(void **state)
{
	_cleanup_(freep) char *body = submit_body("latest");
	_cleanup_(freep) char *first = run_of(&ana, "\"command\":\"true\",\"hold\":true");
	struct json *record = json_of(&ana, "POST", "/v1/runs", body);
	_cleanup_(freep) char *run = mem_strdup(json_string(json_get(record, "run_id")));
	_cleanup_(freep) char *url = url_of(run, "");
	_cleanup_(freep) char *expected = mem_printf(
		"submit:60001:%s:ok patch:60001:%s:ok share:60001:%s:ok unshare:60001:%s:ok "
		"patch:60001:%s:error delete:60001:%s:error submit:60001:-:error ",
		run, run, run, run, run, run);

	(void)state;
	json_free(record);
	assert_int_equal(events, 1);
	assert_int_equal(status_of(&ana, "PATCH", url, "{\"display_name\":\"x\"}"), 200);
	assert_int_equal(status_of(&ana, "PATCH", url, "{\"shared\":true}"), 200);
	assert_int_equal(status_of(&ana, "PATCH", url, "{\"shared\":false,\"tags\":{}}"), 200);
	assert_int_equal(status_of(&ana, "PATCH", url, "{\"nonsense\":1}"), 400);
	assert_int_equal(status_of(&ana, "DELETE", url, NULL), 409);
	assert_int_equal(status_of(&ana, "POST", "/v1/runs", "{}"), 400);
	assert_int_equal(status_of(&ana, "GET", url, NULL), 200);
	expect_heard(expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_API(a_strangers_run_is_as_if_it_were_not_there),
		TEST_API(a_refusal_that_looks_like_none_is_heard),
		TEST_API(a_shared_run_is_read_by_all_and_changed_by_its_owner),
		TEST_API(owners_admins_and_root_may_do_all),
		TEST_API(drain_and_resume_are_for_admins),
		TEST_API(only_members_are_served_where_there_is_a_group),
		TEST_API(a_daemon_of_one_user_serves_him_and_root),
		TEST_API(without_a_group_of_admins_root_alone_is_one),
		TEST_API(names_and_lists_are_of_what_one_sees),
		TEST_API(a_run_follows_what_its_submitter_sees),
		TEST_API(a_shared_run_shows_no_values_and_no_strangers_names),
		TEST_API(the_status_names_users_and_not_their_runs),
		TEST_API(what_an_admin_holds_its_owner_does_not_release),
		TEST_API(what_is_stored_while_it_is_looked_for_is_found),
		TEST_API(files_of_a_run_that_goes_are_not_looked_at),
		TEST_API(every_change_is_heard_once_and_before_its_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
