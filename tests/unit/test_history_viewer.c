/* SPDX-License-Identifier: MIT */
/* test_history_viewer - who sees which runs, in lists, names and counts; see agent/history/history.h */
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "history/history.h"

#define ANA 1001
#define BEN 1002
#define EVA 1003
#define NOBODY 1009
#define LAB 2001
#define CLUB 2002
#define UNUSED 2003

struct fixture {
	char dir[64];
	struct history *history;
	int asked, told, last;
};

static struct fixture fixture;

static int set_up(void **state)
{
	struct fixture *f = &fixture;
	_cleanup_(freep) char *path = NULL;

	alarm(170);
	*f = (struct fixture){ 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_history_viewer.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	path = mem_printf("%s/history.db", f->dir);
	assert_int_equal(history_open(path, &f->history, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	history_close(f->history);
	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	alarm(0);
	return 0;
}

static void on_done(void *data, int result)
{
	struct fixture *f = data;

	f->told++;
	if (result < 0)
		f->last = result;
}

static void wait_all(struct fixture *f)
{
	while (f->told < f->asked) {
		struct pollfd look = { .fd = history_fd(f->history), .events = POLLIN };

		assert_int_equal(poll(&look, 1, 60000), 1);
		history_dispatch(f->history);
	}
	assert_int_equal(f->last, 0);
}

static void insert(struct fixture *f, struct run_record record)
{
	record.exit_code = -1;
	if (!record.created_us)
		record.created_us = 1000;
	f->asked++;
	history_insert(f->history, &record, HISTORY_SOON, on_done, f);
}

/* Newest last. Of ana: a b c; of ben: d (shared), e, f (for the lab), g; of eva: h (shared and for
 * the lab), i (for the club). Experiment x, but y for b e i; state Completed, but c and g Queued. */
static void fill(struct fixture *f)
{
	static const struct {
		const char *id;
		uid_t owner;
		bool shared;
		int64_t gid;
	} runs[] = {
		{ "a", ANA, false, 0 },
		{ "b", ANA, false, 0 },
		{ "c", ANA, false, 0 },
		{ "d", BEN, true, 0 },
		{ "e", BEN, false, 0 },
		{ "f", BEN, false, LAB },
		{ "g", BEN, false, 0 },
		{ "h", EVA, true, LAB },
		{ "i", EVA, false, CLUB },
	};
	static const char *const names[] = { "ana", "ben", "eva" };

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		struct run_record record = {
			.run_id = mem_printf("run_%s", runs[i].id),
			.experiment_name = (char *)(strstr("bei", runs[i].id) ? "y" : "x"),
			.submitted_by = (char *)names[runs[i].owner - ANA],
			.owner = runs[i].owner,
			.state = strstr("c g", runs[i].id) ? RUN_QUEUED : RUN_COMPLETED,
			.shared = runs[i].shared,
			.shared_gid = runs[i].gid,
			.created_us = (int64_t)(i + 1),
		};

		pairs_set(&record.tags, "kind", strstr("adh", runs[i].id) ? "good" : "bad");
		insert(f, record);
		free(record.run_id);
		pairs_release(&record.tags);
	}
	wait_all(f);
}

static const gid_t lab_groups[] = { UNUSED, LAB };
static const gid_t all_groups[] = { LAB, UNUSED, CLUB };

static const struct history_viewer ana = { .uid = ANA };
static const struct history_viewer ana_of_lab = {
	.uid = ANA, .groups = lab_groups, .group_count = 2
};
static const struct history_viewer ben = { .uid = BEN };
static const struct history_viewer eva_of_lab = {
	.uid = EVA, .groups = lab_groups, .group_count = 2
};
static const struct history_viewer nobody = { .uid = NOBODY };
static const struct history_viewer joiner = {
	.uid = NOBODY, .groups = all_groups, .group_count = 3
};
static const struct history_viewer admin = { .uid = NOBODY, .all = true };

/* The last letters of the ids. */
static void expect_list(struct fixture *f, struct history_query query, const char *ids)
{
	_cleanup_(strv_freep) char **list = NULL;
	_cleanup_(strbuf_release) struct strbuf found = STRBUF_INIT;

	if (!query.limit)
		query.limit = 100;
	assert_int_equal(history_list(f->history, &query, &list), 0);
	strbuf_adds(&found, "");
	for (size_t i = 0; list && list[i]; i++)
		strbuf_addc(&found, list[i][4]);
	assert_string_equal(found.data, ids);
}

#define LIST(ids, ...) expect_list(f, (struct history_query){ __VA_ARGS__ }, ids)

static void a_list_is_of_what_the_viewer_sees(void **state)
{
	struct fixture *f = *state;

	LIST("", .viewer = &ana);
	fill(f);
	LIST("hdcba", .viewer = &ana);
	LIST("hfdcba", .viewer = &ana_of_lab);
	LIST("hgfed", .viewer = &ben);
	LIST("ihfd", .viewer = &eva_of_lab);
	LIST("hd", .viewer = &nobody);
	LIST("ihfd", .viewer = &joiner);
	LIST("ihgfedcba", .viewer = &admin);
	LIST("ihgfedcba", .viewer = NULL);
}

static void a_limit_is_of_visible_rows(void **state)
{
	struct fixture *f = *state;

	fill(f);
	LIST("hd", .viewer = &ana, .limit = 2);
	LIST("hdc", .viewer = &ana, .limit = 3);
	LIST("cb", .viewer = &ana, .limit = 2, .before = "run_d");
	LIST("", .viewer = &ana, .limit = 2, .before = "run_a");
	LIST("hf", .viewer = &joiner, .limit = 2, .before = "run_i");
}

static void before_is_a_run_that_the_viewer_sees(void **state)
{
	struct fixture *f = *state;
	struct history_query query = { .viewer = &ana, .limit = 10 };
	char **list = NULL;

	fill(f);
	query.before = "run_g"; /* ben's */
	assert_int_equal(history_list(f->history, &query, &list), -ENOENT);
	query.before = "run_0"; /* nobody's */
	assert_int_equal(history_list(f->history, &query, &list), -ENOENT);
	query.viewer = &ben;
	query.before = "run_g";
	assert_int_equal(history_list(f->history, &query, &list), 0);
	strv_free(list);
}

static void filters_and_viewers_go_together(void **state)
{
	char *queued[] = { (char *)"Queued", NULL };
	char *both[] = { (char *)"Queued", (char *)"Completed", NULL };
	char *none[] = { NULL };
	struct fixture *f = *state;

	fill(f);
	LIST("hdca", .viewer = &ana, .experiment_name = "x");
	LIST("b", .viewer = &ana, .experiment_name = "y");
	LIST("ieb", .viewer = &admin, .experiment_name = "y", .user = NULL, .limit = 5,
		.tag_key = "kind", .tag_value = "bad", .before = NULL, .states = both + 1);
	LIST("c", .viewer = &ana, .states = queued);
	LIST("gc", .viewer = &admin, .states = queued);
	LIST("", .viewer = &nobody, .states = queued);
	LIST("hdcba", .viewer = &ana, .states = both);
	LIST("", .viewer = &ana, .states = none);
	LIST("c", .viewer = &ana, .states = queued, .experiment_name = "x");
	LIST("", .viewer = &ana, .states = queued, .experiment_name = "y");
	LIST("hda", .viewer = &ana, .tag_key = "kind", .tag_value = "good");
	LIST("cb", .viewer = &ana, .tag_key = "kind", .tag_value = "bad");
	LIST("c", .viewer = &ana, .tag_key = "kind", .tag_value = "bad", .experiment_name = "x");
	LIST("hd", .viewer = &nobody, .tag_key = "kind");
	LIST("", .viewer = &nobody, .tag_key = "kind", .tag_value = "bad");
	LIST("if", .viewer = &joiner, .tag_key = "kind", .tag_value = "bad");
	LIST("f", .viewer = &joiner, .tag_key = "kind", .tag_value = "bad", .states = both,
		.experiment_name = "x");
}

static void a_users_runs_are_those_of_them_that_are_seen(void **state)
{
	char *queued[] = { (char *)"Queued", NULL };
	struct fixture *f = *state;

	fill(f);
	LIST("cba", .viewer = &ana, .user = "ana");
	LIST("cba", .viewer = &ana, .user = "1001");
	LIST("d", .viewer = &ana, .user = "ben");
	LIST("fd", .viewer = &ana_of_lab, .user = "ben");
	LIST("f", .viewer = &ana_of_lab, .user = "ben", .limit = 1);
	LIST("gfed", .viewer = &ben, .user = "ben");
	LIST("gfed", .viewer = &admin, .user = "ben");
	LIST("gfed", .viewer = NULL, .user = "1002");
	LIST("e", .viewer = &ben, .user = "ben", .experiment_name = "y");
	LIST("g", .viewer = &ben, .user = "ben", .states = queued);
	LIST("", .viewer = &ana, .user = "ben", .states = queued);
	LIST("d", .viewer = &ana, .user = "ben", .tag_key = "kind", .tag_value = "good");
	LIST("h", .viewer = &ana, .user = "eva");
	LIST("", .viewer = &admin, .user = "zoe");
	LIST("", .viewer = &admin, .user = "1");
	LIST("", .viewer = &admin, .user = "99999999999999999999999");
	LIST("", .viewer = &admin, .user = "");
}

static void a_name_is_that_of_the_newest_run(void **state)
{
	struct fixture *f = *state;
	uid_t uid;

	fill(f);
	assert_int_equal(history_user(f->history, "ben", &uid), 0);
	assert_int_equal(uid, BEN);
	/* The name of a user who is gone is given to a new one; a third bears a number as name. */
	insert(f, (struct run_record){ .run_id = (char *)"run_j",
			  .experiment_name = (char *)"x",
			  .submitted_by = (char *)"ben",
			  .owner = 700 });
	insert(f, (struct run_record){ .run_id = (char *)"run_k",
			  .experiment_name = (char *)"x",
			  .submitted_by = (char *)"1002",
			  .owner = 800 });
	wait_all(f);
	assert_int_equal(history_user(f->history, "ben", &uid), 0);
	assert_int_equal(uid, 700);
	assert_int_equal(history_user(f->history, "1002", &uid), 0);
	assert_int_equal(uid, 800);
	assert_int_equal(history_user(f->history, "1003", &uid), 0);
	assert_int_equal(uid, EVA);
	assert_int_equal(history_user(f->history, "zoe", &uid), -ENOENT);
	assert_int_equal(history_user(f->history, "-1", &uid), -ENOENT);
	assert_int_equal(history_user(f->history, "4294967295", &uid), -ENOENT);
}

static void expect_resolved(struct fixture *f, const struct history_viewer *viewer,
	const char *name, const char *run_id)
{
	_cleanup_(freep) char *found = NULL;
	int r = history_resolve(f->history, viewer, name, &found);

	assert_int_equal(r, run_id ? 0 : -ENOENT);
	if (run_id)
		assert_string_equal(found, run_id);
	else
		assert_null(found);
}

static void names_are_of_what_the_viewer_sees(void **state)
{
	struct fixture *f = *state;
	struct history_viewer own;
	char *found = NULL;

	expect_resolved(f, &ana, "latest", NULL);
	fill(f);
	expect_resolved(f, &ana, "run_a", "run_a");
	expect_resolved(f, &ana, "run_d", "run_d");
	expect_resolved(f, &ana, "run_e", NULL);
	expect_resolved(f, &ana, "run_f", NULL);
	expect_resolved(f, &ana_of_lab, "run_f", "run_f");
	expect_resolved(f, &ben, "run_e", "run_e");
	expect_resolved(f, &admin, "run_e", "run_e");
	expect_resolved(f, &ana, "latest", "run_h");
	expect_resolved(f, &joiner, "latest", "run_i");
	expect_resolved(f, NULL, "latest", "run_i");
	own = ana;
	own.own_latest = true;
	expect_resolved(f, &own, "latest", "run_c");
	own.all = true;
	expect_resolved(f, &own, "latest", "run_c");
	own.uid = EVA + 1;
	expect_resolved(f, &own, "latest", NULL);
	assert_int_equal(history_resolve(f->history, &nobody, "run_", &found), -ENOTUNIQ);
	assert_int_equal(history_resolve(f->history, &admin, "run", &found), -ENOTUNIQ);
	assert_null(found);
}

static void a_prefix_is_unique_among_what_is_seen(void **state)
{
	static const struct {
		const char *id;
		uid_t owner;
		bool shared;
		int64_t gid;
	} runs[] = {
		{ "mnist_1", ANA, false, 0 },
		{ "mnist_2", BEN, false, 0 },
		{ "cifar_1", BEN, false, LAB },
		{ "cifar_2", EVA, false, 0 },
		{ "coco_1", EVA, true, LAB },
		{ "coco_2", BEN, false, 0 },
	};
	struct fixture *f = *state;
	char *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		insert(f, (struct run_record){ .run_id = (char *)runs[i].id,
				  .experiment_name = (char *)"x",
				  .owner = runs[i].owner,
				  .shared = runs[i].shared,
				  .shared_gid = runs[i].gid });
	wait_all(f);
	expect_resolved(f, &ana, "mnist", "mnist_1");
	expect_resolved(f, &ben, "mn", "mnist_2");
	expect_resolved(f, &nobody, "mnist", NULL);
	expect_resolved(f, &ana, "cifar", NULL);
	expect_resolved(f, &ana_of_lab, "cifar", "cifar_1");
	expect_resolved(f, &ana, "coco", "coco_1");
	expect_resolved(f, &ana_of_lab, "coco", "coco_1");
	expect_resolved(f, &nobody, "c", "coco_1");
	expect_resolved(f, &nobody, "", NULL);
	expect_resolved(f, &ana, "\xff\xff", NULL);
	assert_int_equal(history_resolve(f->history, &ana_of_lab, "c", &found), -ENOTUNIQ);
	assert_int_equal(history_resolve(f->history, &admin, "mnist", &found), -ENOTUNIQ);
}

static int64_t total(struct fixture *f, const struct history_viewer *viewer, enum run_state which)
{
	int64_t counts[RUN_STATE_COUNT];

	assert_int_equal(history_count_states(f->history, viewer, counts), 0);
	return counts[which];
}

static void counts_are_of_what_the_viewer_sees(void **state)
{
	struct fixture *f = *state;

	fill(f);
	assert_int_equal(total(f, &ana, RUN_COMPLETED), 4);
	assert_int_equal(total(f, &ana, RUN_QUEUED), 1);
	assert_int_equal(total(f, &ana_of_lab, RUN_COMPLETED), 5);
	assert_int_equal(total(f, &nobody, RUN_COMPLETED), 2);
	assert_int_equal(total(f, &nobody, RUN_QUEUED), 0);
	assert_int_equal(total(f, &joiner, RUN_COMPLETED), 4);
	assert_int_equal(total(f, &eva_of_lab, RUN_COMPLETED), 4);
	assert_int_equal(total(f, &admin, RUN_COMPLETED), 7);
	assert_int_equal(total(f, NULL, RUN_QUEUED), 2);
}

static void expect_experiments(
	struct fixture *f, const struct history_viewer *viewer, const char *expected)
{
	_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
	_cleanup_(strbuf_release) struct strbuf found = STRBUF_INIT;

	assert_int_equal(history_experiments_list(f->history, viewer, NULL, &list), 0);
	strbuf_adds(&found, "");
	for (size_t i = 0; i < list.count; i++)
		strbuf_addf(&found, "%s:%lld@%lld ", list.items[i].name,
			(long long)list.items[i].runs, (long long)list.items[i].last_created_us);
	assert_string_equal(found.data, expected);
}

static void experiments_are_of_what_the_viewer_sees(void **state)
{
	struct fixture *f = *state;

	fill(f);
	expect_experiments(f, &ana, "x:4@8 y:1@2 ");
	expect_experiments(f, &ben, "x:4@8 y:1@5 ");
	expect_experiments(f, &nobody, "x:2@8 ");
	expect_experiments(f, &joiner, "x:3@8 y:1@9 ");
	expect_experiments(f, &admin, "x:6@8 y:3@9 ");
}

static void sharing_is_a_change_of_its_own(void **state)
{
	static const bool on = true, off = false;
	struct fixture *f = *state;
	_cleanup_(run_record_release) struct run_record record = { 0 };

	fill(f);
	expect_resolved(f, &nobody, "run_a", NULL);
	f->asked++;
	history_patch(f->history, "run_a", NULL, NULL, &on, on_done, f);
	wait_all(f);
	expect_resolved(f, &nobody, "run_a", "run_a");
	LIST("hda", .viewer = &nobody);
	assert_int_equal(total(f, &nobody, RUN_COMPLETED), 3);
	/* A copy of the record that does not know of it changes nothing. */
	assert_int_equal(history_get(f->history, "run_a", &record), 0);
	assert_true(record.shared);
	record.shared = false;
	f->asked += 2;
	history_update(f->history, &record, HISTORY_SOON, on_done, f);
	history_patch(f->history, "run_a", NULL, "named", NULL, on_done, f);
	wait_all(f);
	LIST("hda", .viewer = &nobody);
	f->asked++;
	history_patch(f->history, "run_a", NULL, NULL, &off, on_done, f);
	wait_all(f);
	LIST("hd", .viewer = &nobody);
	expect_resolved(f, &nobody, "run_a", NULL);
}

static void one_record_is_seen_as_the_list_sees_it(void **state)
{
	static const struct history_viewer *const viewers[] = { &ana, &ana_of_lab, &ben,
		&eva_of_lab, &nobody, &joiner, &admin, NULL };
	struct fixture *f = *state;
	_cleanup_(strv_freep) char **all = NULL;

	fill(f);
	assert_int_equal(
		history_list(f->history, &(struct history_query){ .limit = 100 }, &all), 0);
	for (size_t i = 0; i < ARRAY_SIZE(viewers); i++) {
		_cleanup_(strbuf_release) struct strbuf seen = STRBUF_INIT;

		strbuf_adds(&seen, "");
		for (size_t k = 0; all && all[k]; k++) {
			_cleanup_(run_record_release) struct run_record record = { 0 };

			assert_int_equal(history_get(f->history, all[k], &record), 0);
			if (history_viewer_sees(viewers[i], &record))
				strbuf_addc(&seen, record.run_id[4]);
		}
		LIST(seen.data, .viewer = viewers[i]);
	}
}

/* ---- use ---- */

static void add_usage(void *data, const struct history_usage *usage)
{
	strbuf_addf(data, "%u:%lld-%lld,%lld,%lld ", (unsigned)usage->owner,
		(long long)usage->start_us, (long long)usage->end_us, (long long)usage->cpus,
		(long long)usage->gpus);
}

static void expect_usage(struct fixture *f, int64_t since_us, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf found = STRBUF_INIT;

	strbuf_adds(&found, "");
	assert_int_equal(history_each_usage(f->history, since_us, add_usage, &found), 0);
	assert_string_equal(found.data, expected);
}

static void use_is_told_of_runs_that_ran_and_ended(void **state)
{
	static const struct {
		const char *id;
		uid_t owner;
		int64_t start_us, end_us, cpus, gpus;
	} runs[] = {
		{ "a", ANA, 10, 40, 2, 0 },
		{ "b", BEN, 20, 30, 1, 1 },
		{ "never started", ANA, 0, 50, 4, 0 },
		{ "still runs", BEN, 45, 0, 4, 4 },
		{ "c", ANA, 60, 70, 3, 2 },
	};
	struct fixture *f = *state;

	expect_usage(f, 0, "");
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		insert(f, (struct run_record){ .run_id = (char *)runs[i].id,
				  .experiment_name = (char *)"x",
				  .owner = runs[i].owner,
				  .start_us = runs[i].start_us,
				  .end_us = runs[i].end_us,
				  .cpus = runs[i].cpus,
				  .gpus = runs[i].gpus });
	wait_all(f);
	expect_usage(f, 0, "1002:20-30,1,1 1001:10-40,2,0 1001:60-70,3,2 ");
	expect_usage(f, 40, "1001:10-40,2,0 1001:60-70,3,2 ");
	expect_usage(f, 71, "");
}

/* ---- many ---- */

#define MANY 100000
#define USERS 50

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* As a lab has them in a year: of 50 users, one of whom has submitted 20 runs only and long ago; a
 * tenth shared, one user's for the lab. */
static void insert_many(struct fixture *f)
{
	static const char definition[1200] = { [0 ... 1198] = 'x' };

	for (unsigned i = 0; i < MANY; i++) {
		unsigned user = i < 20 ? 0 : 1 + i % (USERS - 1);
		char run_id[64], experiment[32], name[16];

		snprintf(experiment, sizeof(experiment), i % 4 ? "train" : "of_%u", user);
		snprintf(run_id, sizeof(run_id), "%s_17%08u_%08x", experiment, i, i * 2654435761u);
		snprintf(name, sizeof(name), "user%u", user);
		insert(f, (struct run_record){ .run_id = run_id,
				  .experiment_name = experiment,
				  .submitted_by = name,
				  .owner = ANA + user,
				  .state = i % 20 ? RUN_COMPLETED : RUN_FAILED,
				  .definition = (char *)definition,
				  .start_us = 1 + i,
				  .end_us = 2 + i,
				  .shared = i % 10 == 3,
				  .shared_gid = user == 7 ? LAB : 0 });
		if (i % 5000 == 0)
			wait_all(f);
	}
	wait_all(f);
}

/* The best of a few: what else the machine does is not asked. */
static int64_t time_list(struct fixture *f, struct history_query query, size_t expected)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 5; i++) {
		_cleanup_(strv_freep) char **list = NULL;
		int64_t began = now_us();

		assert_int_equal(history_list(f->history, &query, &list), 0);
		assert_int_equal(strv_length(list), expected);
		if (now_us() - began < best)
			best = now_us() - began;
	}
	return best;
}

static void a_user_pays_for_his_own_rows(void **state)
{
	char *failed[] = { (char *)"Failed", NULL };
	char *live[] = { (char *)"Queued", (char *)"Running", NULL };
	struct history_viewer few = { .uid = ANA, .groups = lab_groups, .group_count = 2 };
	struct history_viewer many = { .uid = ANA + 5 };
	const struct {
		const char *what;
		struct history_query query;
		size_t expected;
	} cases[] = {
		{ "newest 100 of what many sees", { .viewer = &many, .limit = 100 }, 100 },
		{ "newest 100 of his own", { .viewer = &many, .user = "user5", .limit = 100 },
			100 },
		{ "20 old ones", { .viewer = &few, .user = "user0", .limit = 100 }, 20 },
		{ "newest 100 of what few sees", { .viewer = &few, .limit = 100 }, 100 },
		{ "failed", { .viewer = &many, .states = failed, .limit = 100 }, 100 },
		{ "live, none", { .viewer = &many, .states = live, .limit = 100 }, 0 },
		{ "experiment", { .viewer = &many, .experiment_name = "train", .limit = 100 },
			100 },
		{ "another's experiment",
			{ .viewer = &few, .experiment_name = "of_9", .limit = 100 }, 0 },
		{ "another's shared", { .viewer = &many, .user = "user9", .limit = 100 }, 100 },
		{ "all", { .limit = 100 }, 100 },
	};
	struct fixture *f = *state;
	int64_t counts[RUN_STATE_COUNT], began;
	_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
	_cleanup_(strbuf_release) struct strbuf used = STRBUF_INIT;
	char *found = NULL;

	insert_many(f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t us = time_list(f, cases[i].query, cases[i].expected);

		print_message("%-32s %6lld us\n", cases[i].what, (long long)us);
		assert_true(us < 100000);
	}
	began = now_us();
	assert_int_equal(history_count_states(f->history, &many, counts), 0);
	print_message("%-32s %6lld us\n", "states", (long long)(now_us() - began));
	began = now_us();
	assert_int_equal(history_experiments_list(f->history, &many, NULL, &list), 0);
	print_message("%-32s %6lld us\n", "experiments", (long long)(now_us() - began));
	began = now_us();
	assert_int_equal(history_resolve(f->history, &few, "train_1700099", &found), -ENOTUNIQ);
	assert_int_equal(history_resolve(f->history, &few, "zebra", &found), -ENOENT);
	print_message("%-32s %6lld us\n", "two prefixes", (long long)(now_us() - began));
	began = now_us();
	assert_int_equal(history_each_usage(f->history, MANY / 2, add_usage, &used), 0);
	print_message("%-32s %6lld us\n", "use, 50,000 runs", (long long)(now_us() - began));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_list_is_of_what_the_viewer_sees),
		TEST(a_limit_is_of_visible_rows),
		TEST(before_is_a_run_that_the_viewer_sees),
		TEST(filters_and_viewers_go_together),
		TEST(a_users_runs_are_those_of_them_that_are_seen),
		TEST(a_name_is_that_of_the_newest_run),
		TEST(names_are_of_what_the_viewer_sees),
		TEST(a_prefix_is_unique_among_what_is_seen),
		TEST(counts_are_of_what_the_viewer_sees),
		TEST(experiments_are_of_what_the_viewer_sees),
		TEST(sharing_is_a_change_of_its_own),
		TEST(one_record_is_seen_as_the_list_sees_it),
		TEST(use_is_told_of_runs_that_ran_and_ended),
		TEST(a_user_pays_for_his_own_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
