/* SPDX-License-Identifier: MIT */
/* test_run_change - runs are changed and deleted */
#include "run_fixture.h"

#include "common/unowed.h"

/* ---- patch, put, delete ---- */

static void patch(const char *run_id, const char *key, const char *value, const char *display_name,
	struct answer *answer)
{
	struct pairs tags = { 0 };

	if (key)
		pairs_set(&tags, key, value);
	run_manager_patch(f.manager, run_id, &tags, display_name, NULL, answered, answer);
	pairs_release(&tags);
	until(&f, answer->count);
}

static void tags_and_names_change_while_it_runs_and_afterwards(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++) {
		struct answer set = { 0 }, removed = { 0 };

		patch(run_id, "k", "v", "name", &set);
		assert_true(set.has_record);
		assert_string_equal(pairs_get(&set.record.tags, "k"), "v");
		assert_string_equal(set.record.display_name, "name");
		if (i == 0) {
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
		}
		answer_release(&set);
		patch(run_id, NULL, NULL, NULL, &set);
		assert_string_equal(pairs_get(&set.record.tags, "k"), "v");
		assert_string_equal(set.record.display_name, "name");
		patch(run_id, "k", NULL, "", &removed);
		assert_null(pairs_get(&removed.record.tags, "k"));
		assert_null(removed.record.display_name);
		answer_release(&set);
		answer_release(&removed);
	}
}

static void more_tags_than_may_be_are_refused_whole(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	_cleanup_(freep) char *value = mem_alloc(RUN_TAGS_BYTES_MAX);

	(void)state;
	memset(value, 'v', RUN_TAGS_BYTES_MAX - 1);
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++) {
		struct answer first = { 0 }, second = { 0 };
		struct run_record now = { 0 };

		patch(run_id, "k", value, NULL, &first);
		assert_true(first.has_record);
		patch(run_id, "l", "v", "name", &second);
		assert_int_equal(second.err.code, -EINVAL);
		assert_string_equal(second.err.target, "tags");
		assert_int_equal(run_manager_get(f.manager, run_id, &now), 0);
		assert_int_equal(now.tags.count, 1);
		assert_null(now.display_name);
		run_record_release(&now);
		answer_release(&first);
		answer_release(&second);
		if (i == 0) {
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
		}
	}
}

static void an_artifact_can_be_put_while_it_runs_and_afterwards(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	static const char *const paths[] = { "outputs/live", "outputs/late" };
	struct artifacts list = { 0 };

	(void)state;
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++) {
		struct artifacts one = { 0 };
		struct digest digest = { { (unsigned char)i } };
		struct answer answer = { 0 }, unknown = { 0 };

		artifacts_add(&one, paths[i], 5, &digest, 1);
		run_manager_put_artifacts(f.manager, run_id, &one, answered, &answer);
		run_manager_put_artifacts(f.manager, "e_1_00000000", &one, answered, &unknown);
		until(&f, answer.count && unknown.count);
		assert_true(answer.has_record);
		assert_int_equal(unknown.err.code, -ENOENT);
		artifacts_release(&one);
		answer_release(&answer);
		answer_release(&unknown);
		if (i == 0) {
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
		}
	}
	assert_int_equal(history_artifacts_list(f.history, run_id, "outputs/", NULL, &list), 0);
	assert_int_equal(list.count, 2);
	artifacts_release(&list);
}

static void a_live_run_is_not_deleted_an_ended_one_with_its_folder(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer live = { 0 }, ended = { 0 }, again = { 0 };
	struct run_record record;

	(void)state;
	until_running(&f, run_id);
	run_manager_delete(f.manager, run_id, answered, &live);
	until(&f, live.count);
	assert_int_equal(live.err.code, -EBUSY);
	end_run(&f, run_id, 1);
	until_over(&f, run_id);
	assert_true(exists_in_state(&f, run_id, "work"));
	run_manager_delete(f.manager, run_id, answered, &ended);
	run_manager_delete(f.manager, run_id, answered, &again);
	until(&f, ended.count && again.count);
	/* One of the two has deleted it. */
	assert_int_equal(ended.err.code + again.err.code, -ENOENT);
	assert_true(!ended.err.code || !again.err.code);
	assert_int_equal(folders(&f), 0);
	assert_int_equal(run_manager_get(f.manager, run_id, &record), -ENOENT);
	answer_release(&live);
	answer_release(&ended);
	answer_release(&again);
}

/* Else its folder would go should history be lost one day. */
static void a_delete_that_is_not_committed_leaves_no_mark(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer failed = { 0 }, again = { 0 };

	(void)state;
	assert_false(exists_in_state(&f, run_id, UNOWED_MARK));
	run_to_end(&f, run_id, 1);
	disk_is(DISK_FULL);
	run_manager_delete(f.manager, run_id, answered, &failed);
	until(&f, failed.count);
	assert_int_equal(failed.err.code, -ENOSPC);
	assert_false(exists_in_state(&f, run_id, UNOWED_MARK));
	assert_true(exists_in_state(&f, run_id, "work"));
	disk_is(DISK_FINE);
	run_manager_delete(f.manager, run_id, answered, &again);
	until(&f, again.count);
	assert_int_equal(again.err.code, 0);
	assert_int_equal(folders(&f), 0);
	answer_release(&failed);
	answer_release(&again);
}

/* Ids are compared whole: one that another begins with is another run. */
static void a_run_whose_id_begins_anothers_is_itself(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *longer = mem_printf("%sa", first);
	_cleanup_(freep) char *found = NULL;
	struct run_record record = record_of(&f, first);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	mem_replace(&record.run_id, longer);
	record.state = RUN_QUEUED;
	history_insert(f.history, &record, HISTORY_DURABLE, NULL, NULL);
	run_record_release(&record);
	patch(first, "mine", "1", NULL, &answer);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	assert_int_equal(run_manager_resolve(f.manager, NULL, first, &found), 0);
	assert_string_equal(found, first);
	assert_state(&f, longer, RUN_QUEUED);
	answer_release(&answer);
	cancel(&f, longer, &answer);
	until(&f, answer.count);
	assert_state(&f, longer, RUN_CANCELED);
	assert_true(fake_executor_holds(f.fake, first));
	assert_int_equal(fake_executor_stops(f.fake, first), 0);
	end_run(&f, first, 0);
	until_over(&f, first);
	answer_release(&answer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(tags_and_names_change_while_it_runs_and_afterwards),
		TEST(more_tags_than_may_be_are_refused_whole),
		TEST(an_artifact_can_be_put_while_it_runs_and_afterwards),
		TEST(a_live_run_is_not_deleted_an_ended_one_with_its_folder),
		TEST(a_delete_that_is_not_committed_leaves_no_mark),
		TEST(a_run_whose_id_begins_anothers_is_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
