/* SPDX-License-Identifier: MIT */
/* test_history_list - runs, experiments, artifacts and names are looked up; see history.h */
#include "history_fixture.h"

/* a..h: experiment x for the even ones; state; tags k=1 for a, c, e, k=2 for b. */
static void fill(struct fixture *f)
{
	static const struct {
		const char *id, *experiment, *tag;
		enum run_state state;
	} runs[] = {
		{ "a", "x", "1", RUN_COMPLETED },
		{ "b", "y", "2", RUN_COMPLETED },
		{ "c", "x", "1", RUN_FAILED },
		{ "d", "y", NULL, RUN_CANCELED },
		{ "e", "x", "1", RUN_COMPLETED },
		{ "f", "y", NULL, RUN_QUEUED },
		{ "g", "x", NULL, RUN_RUNNING },
		{ "h", "y", NULL, RUN_FAILED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		struct run_record record = make(runs[i].id, runs[i].experiment, runs[i].state);

		record.created_us =
			(int64_t)(100 - i); /* order is that of insertion, not of clocks */
		pairs_set(&record.tags, "all", "yes");
		if (runs[i].tag)
			pairs_set(&record.tags, "k", runs[i].tag);
		history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
		pairs_release(&record.tags);
	}
	wait_all(f);
}

static void list_filters_and_pages(void **state)
{
	struct fixture *f = *state;
	char *ended[] = { (char *)"Completed", (char *)"Failed", NULL };
	char *none[] = { NULL };
	_cleanup_(run_record_list_release) struct run_record_list list = { 0 };
	char **ids = NULL;

	expect_list(f, (struct history_query){ 0 }, "");
	fill(f);
	expect_list(f, (struct history_query){ 0 }, "hgfedcba");
	expect_list(f, (struct history_query){ .limit = 3 }, "hgf");
	expect_list(f, (struct history_query){ .limit = 3, .before = "f" }, "edc");
	expect_list(f, (struct history_query){ .limit = 3, .before = "a" }, "");
	expect_list(f, (struct history_query){ .experiment_name = "x" }, "geca");
	expect_list(f, (struct history_query){ .experiment_name = "x", .before = "e", .limit = 1 },
		"c");
	expect_list(f, (struct history_query){ .states = ended }, "hecba");
	expect_list(f, (struct history_query){ .states = ended + 1 }, "hc");
	expect_list(f, (struct history_query){ .states = ended, .limit = 2 }, "he");
	expect_list(f, (struct history_query){ .states = ended, .before = "h", .limit = 2 }, "ec");
	expect_list(f, (struct history_query){ .states = ended, .experiment_name = "y" }, "hb");
	expect_list(f, (struct history_query){ .tag_key = "k" }, "ecba");
	expect_list(f, (struct history_query){ .tag_key = "k", .tag_value = "1" }, "eca");
	expect_list(f, (struct history_query){ .tag_key = "k", .tag_value = "" }, "");
	expect_list(f, (struct history_query){ .tag_key = "k", .experiment_name = "y" }, "b");
	expect_list(f, (struct history_query){ .tag_key = "all", .states = ended + 1, .limit = 1 },
		"h");
	expect_list(f,
		(struct history_query){ .tag_key = "all",
			.tag_value = "yes",
			.states = ended,
			.experiment_name = "x",
			.before = "e" },
		"ca");
	expect_list(
		f, (struct history_query){ .tag_key = "all", .states = ended, .limit = 3 }, "hec");
	expect_list(f,
		(struct history_query){
			.tag_key = "k", .tag_value = "1", .experiment_name = "x", .limit = 2 },
		"ec");
	expect_list(f, (struct history_query){ .states = none }, "");
	expect_list(f, (struct history_query){ .states = none, .tag_key = "k" }, "");
	assert_int_equal(history_list(f->history,
				 &(struct history_query){ .limit = 1, .before = "nobody" }, &ids),
		-ENOENT);
	assert_null(ids);
	assert_int_equal(history_list_live(f->history, &list), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0].run_id, "f");
	assert_string_equal(list.items[1].run_id, "g");
	assert_string_equal(pairs_get(&list.items[0].tags, "all"), "yes");
}

static void counts_and_experiments(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
	int64_t counts[RUN_STATE_COUNT];

	fill(f);
	assert_int_equal(history_count_states(f->history, NULL, counts), 0);
	assert_int_equal(counts[RUN_COMPLETED], 3);
	assert_int_equal(counts[RUN_FAILED], 2);
	assert_int_equal(counts[RUN_STARTING], 0);
	assert_int_equal(history_experiments_list(f->history, NULL, NULL, &list), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0].name, "x");
	assert_int_equal(list.items[0].runs, 4);
	assert_int_equal(list.items[0].last_created_us, 94);
	assert_string_equal(list.items[1].name, "y");
}

static void experiments_are_read_in_pages(void **state)
{
	struct fixture *f = *state;
	char name[16];

	for (int i = 0; i < 5; i++) {
		_cleanup_(freep) char *run_id = mem_printf("r%d_1_00000001", i);

		snprintf(name, sizeof(name), "e%d", i);
		assert_int_equal(insert(f, run_id, name, RUN_QUEUED), 0);
	}
	for (int i = 0; i <= 5; i += 2) {
		_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
		struct history_page page = { i ? name : NULL, 2 };

		snprintf(name, sizeof(name), "e%d", i - 1);
		assert_int_equal(history_experiments_list(f->history, NULL, &page, &list), 0);
		assert_int_equal(list.count, i == 4 ? 1 : 2);
		snprintf(name, sizeof(name), "e%d", i);
		assert_string_equal(list.items[0].name, name);
	}
}

/* A page ends anywhere: the next one begins after it, and within the prefix. */
static void artifacts_are_read_in_pages(void **state)
{
	static const char *const names[] = { "logs/a", "outputs/a", "outputs/a\xff", "outputs/b",
		"outputs/b/c", "user_logs/z" };
	struct fixture *f = *state;
	struct artifacts artifacts = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		artifacts_add(&artifacts, names[i], i, NULL, 1);
	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	history_put_artifacts(f->history, "e_1_00000001", &artifacts, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	artifacts_release(&artifacts);
	for (int64_t limit = 1; limit < 7; limit++) {
		for (size_t i = 0; i <= ARRAY_SIZE(names); i++) {
			struct history_page page = { i ? names[i - 1] : NULL, limit };
			size_t left = ARRAY_SIZE(names) - i;

			assert_int_equal(history_artifacts_list(f->history, "e_1_00000001", NULL,
						 &page, &artifacts),
				0);
			assert_int_equal(
				artifacts.count, left < (size_t)limit ? left : (size_t)limit);
			for (size_t k = 0; k < artifacts.count; k++)
				assert_string_equal(artifacts.items[k].path, names[i + k]);
			artifacts_release(&artifacts);
		}
	}
	assert_int_equal(history_artifacts_list(f->history, "e_1_00000001", "outputs/",
				 &(struct history_page){ "outputs/b", 10 }, &artifacts),
		0);
	assert_int_equal(artifacts.count, 1);
	assert_string_equal(artifacts.items[0].path, "outputs/b/c");
	artifacts_release(&artifacts);
}

static void expect_resolved(struct fixture *f, const char *name, int r, const char *run_id)
{
	_cleanup_(freep) char *found = NULL;

	assert_int_equal(history_resolve(f->history, NULL, name, &found), r);
	if (r == 0)
		assert_string_equal(found, run_id);
	else
		assert_null(found);
}

static void names_are_resolved(void **state)
{
	struct fixture *f = *state;

	expect_resolved(f, "latest", -ENOENT, NULL);
	assert_int_equal(insert(f, "mnist_17_0000000a", "mnist", RUN_QUEUED), 0);
	assert_int_equal(insert(f, "mnist_17_0000000ab", "mnist", RUN_QUEUED), 0);
	assert_int_equal(insert(f, "mni%t_18_00000001", "mni", RUN_QUEUED), 0);
	expect_resolved(f, "mnist_17_0000000a", 0, "mnist_17_0000000a");
	expect_resolved(f, "mnist_17_0000000ab", 0, "mnist_17_0000000ab");
	expect_resolved(f, "mnist_17", -ENOTUNIQ, NULL);
	expect_resolved(f, "mni%", 0, "mni%t_18_00000001");
	expect_resolved(f, "MNIST_17_0000000a", -ENOENT, NULL);
	expect_resolved(f, "mnist_18", -ENOENT, NULL);
	expect_resolved(f, "", -ENOENT, NULL);
	expect_resolved(f, "\xff\xff", -ENOENT, NULL);
	expect_resolved(f, "latest", 0, "mni%t_18_00000001");
	history_delete(f->history, "mni%t_18_00000001", on_done, ask());
	wait_all(f);
	expect_resolved(f, "latest", 0, "mnist_17_0000000ab");
}

static void order_survives_the_deletion_of_the_newest(void **state)
{
	struct fixture *f = *state;

	fill(f);
	history_delete(f->history, "h", on_done, ask());
	assert_int_equal(insert(f, "i", "x", RUN_QUEUED), 0);
	expect_list(f, (struct history_query){ .limit = 2 }, "ig");
	expect_list(f, (struct history_query){ .before = "i", .limit = 1 }, "g");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(list_filters_and_pages),
		TEST(counts_and_experiments),
		TEST(experiments_are_read_in_pages),
		TEST(artifacts_are_read_in_pages),
		TEST(names_are_resolved),
		TEST(order_survives_the_deletion_of_the_newest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
