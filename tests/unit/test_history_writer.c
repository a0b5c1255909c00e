/* SPDX-License-Identifier: MIT */
/* test_history_writer - writes are told in their order, whole, and are not lost; see history.h */
#include "history_fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- the queue ---- */

static void writes_are_told_in_the_order_queued(void **state)
{
	struct fixture *f = *state;
	char run_id[32];

	for (int i = 0; i < 500; i++) {
		struct run_record record = make(run_id, "e", RUN_QUEUED);

		snprintf(run_id, sizeof(run_id), "e_1_%08x", i);
		history_insert(f->history, &record, i % 3 ? HISTORY_SOON : HISTORY_DURABLE, on_done,
			ask());
	}
	wait_all(f);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(f->which[i], i);
		assert_int_equal(f->results[i], 0);
	}
}

static void close_carries_out_what_is_queued(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strv_freep) char **list = NULL;
	char run_id[32];

	for (int i = 0; i < 300; i++) {
		struct run_record record = make(run_id, "e", RUN_QUEUED);

		snprintf(run_id, sizeof(run_id), "e_1_%08x", i);
		history_insert(f->history, &record, HISTORY_SOON, on_done, NULL);
	}
	reopen(f);
	assert_int_equal(f->told, 0);
	assert_int_equal(
		history_list(f->history, &(struct history_query){ .limit = 1000 }, &list), 0);
	assert_int_equal(strv_length(list), 300);
	assert_string_equal(list[0], "e_1_0000012b");
}

/* ---- a write that fails ---- */

static void one_failing_write_leaves_its_group_alone(void **state)
{
	static const int expected[] = { 0, -EEXIST, -ENOENT, 0, -ENOENT, 0 };
	struct fixture *f = *state;
	struct run_record one = make("e_1_00000001", "e", RUN_QUEUED);
	struct run_record two = make("e_1_00000002", "e", RUN_QUEUED);
	struct run_record none = make("e_1_00000009", "e", RUN_RUNNING);
	struct artifacts artifacts = { 0 };

	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	history_insert(f->history, &one, HISTORY_DURABLE, on_done, ask());
	history_insert(f->history, &one, HISTORY_DURABLE, on_done, ask());
	history_finish(f->history, &none, &artifacts, on_done, ask());
	history_insert(f->history, &two, HISTORY_SOON, on_done, ask());
	history_delete(f->history, "nobody", on_done, ask());
	history_put_artifacts(f->history, "e_1_00000001", &artifacts, on_done, ask());
	wait_all(f);
	assert_memory_equal(f->results, expected, sizeof(expected));
	artifacts_release(&artifacts);
	reopen(f);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000001", NULL, NULL, &artifacts), 0);
	assert_int_equal(artifacts.count, 1);
	artifacts_release(&artifacts);
	assert_int_equal(history_artifacts_list(f->history, "e_1_00000009", NULL, NULL, &artifacts),
		-ENOENT);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000002", NULL, NULL, &artifacts), 0);
	assert_int_equal(artifacts.count, 0);
}

static void finish_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000001", "e", RUN_RUNNING);
	_cleanup_(artifacts_release) struct artifacts artifacts = { 0 };
	_cleanup_(artifacts_release) struct artifacts read = { 0 };
	_cleanup_(run_record_release) struct run_record after = { 0 };

	assert_int_equal(insert(f, record.run_id, "e", RUN_RUNNING), 0);
	sabotage(f, "CREATE TRIGGER t BEFORE INSERT ON artifacts WHEN NEW.size = 2 BEGIN"
		    " SELECT RAISE(ABORT, 'no'); END");
	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	artifacts_add(&artifacts, "outputs/b", 2, NULL, 0);
	record.state = RUN_COMPLETED;
	history_finish(f->history, &record, &artifacts, on_done, ask());
	assert_int_equal(insert(f, "e_1_00000002", "e", RUN_QUEUED), 0);
	assert_true(f->results[f->told - 2] < 0);
	assert_int_equal(history_get(f->history, record.run_id, &after), 0);
	assert_int_equal(after.state, RUN_RUNNING);
	assert_int_equal(history_artifacts_list(f->history, record.run_id, NULL, NULL, &read), 0);
	assert_int_equal(read.count, 0);
}

static void whole_group_fails_when_its_transaction_does(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000002", "e", RUN_QUEUED);
	_cleanup_(run_record_release) struct run_record read = { 0 };
	bool undone;

	sabotage(f, "CREATE TRIGGER t BEFORE INSERT ON runs WHEN NEW.run_id = 'bad' BEGIN"
		    " SELECT RAISE(ROLLBACK, 'no'); END");
	history_insert(f->history, &record, HISTORY_DURABLE, on_done, ask());
	assert_true(insert(f, "bad", "e", RUN_QUEUED) < 0);
	/* Whether they shared a transaction is chance; told and stored must agree. */
	undone = f->results[0] < 0;
	assert_int_equal(history_get(f->history, record.run_id, &read), undone ? -ENOENT : 0);
	assert_int_equal(insert(f, "e_1_00000003", "e", RUN_QUEUED), 0);
}

/* ---- kill -9 ---- */

struct killed {
	struct history *history;
	int out;
	int next; /* number of the next insert */
};

static void on_killed_done(void *data, int result)
{
	struct killed *killed = data;
	char byte = result == 0 ? '.' : '!';

	if (write(killed->out, &byte, 1) != 1)
		_exit(1);
}

/* Inserts forever, a few at a time, one byte to `out` for each that was told done. */
static void killed_main(const char *path, int round, int out)
{
	struct killed killed = { .out = out };

	if (history_open(path, &killed.history, NULL) < 0)
		_exit(2);
	for (;;) {
		struct pollfd look = { .fd = history_fd(killed.history), .events = POLLIN };

		for (int i = 0; i < 5; i++) {
			char run_id[32];
			struct run_record record = make(run_id, "e", RUN_QUEUED);

			snprintf(run_id, sizeof(run_id), "e_%d_%08x", round, killed.next++);
			pairs_set(&record.tags, "round", run_id);
			history_insert(killed.history, &record,
				i % 2 ? HISTORY_SOON : HISTORY_DURABLE, on_killed_done, &killed);
			pairs_release(&record.tags);
		}
		poll(&look, 1, -1);
		history_dispatch(killed.history);
	}
}

/* How many were told done before the kill, which came after about `bytes` of them. */
static int run_and_kill(const char *path, int round, int bytes)
{
	int out[2];
	int told = 0, status;
	pid_t pid;
	char c;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(out[0]);
		killed_main(path, round, out[1]);
	}
	close(out[1]);
	while (read(out[0], &c, 1) == 1) {
		assert_int_equal(c, '.');
		if (++told == bytes)
			kill(pid, SIGKILL);
	}
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(told >= bytes && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return told;
}

static void nothing_told_done_is_lost_by_a_kill(void **state)
{
	struct fixture *f = *state;

	srand(17);
	close_history(f);
	for (int round = 0; round < 30; round++) {
		int told = run_and_kill(f->db, round, 1 + rand() % 120);
		_cleanup_(freep) char *sound = value_of(f, "PRAGMA integrity_check");

		assert_string_equal(sound, "ok");
		assert_int_equal(history_open(f->db, &f->history, NULL), 0);
		for (int i = 0; i < told; i++) {
			_cleanup_(run_record_release) struct run_record read = { 0 };
			char run_id[32];

			snprintf(run_id, sizeof(run_id), "e_%d_%08x", round, i);
			assert_int_equal(history_get(f->history, run_id, &read), 0);
			assert_string_equal(pairs_get(&read.tags, "round"), run_id);
		}
		close_history(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(writes_are_told_in_the_order_queued),
		TEST(close_carries_out_what_is_queued),
		TEST(one_failing_write_leaves_its_group_alone),
		TEST(finish_is_all_or_nothing),
		TEST(whole_group_fails_when_its_transaction_does),
		TEST(nothing_told_done_is_lost_by_a_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
