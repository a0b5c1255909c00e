/* SPDX-License-Identifier: MIT */
/*
 * executor_fixture - a real loop, the real supervisor ($AMLAGENT_SUPERVISOR), real processes
 *
 * set_up() makes an executor and an empty folder for runs, tear_down() frees and removes both; one
 * work thread is all there is. Everything is waited for by turning the loop; an alarm ends a test
 * that waits in vain. The events look that they come in their order, and never in a call.
 *
 * Threads: the loop's, which is the test's.
 */
#pragma once

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "runs/supervisor_executor.h"

/* One run, and what was told of it. */
struct told {
	char *dir;
	bool started, ended, lost, not_started;
	int64_t start_us, seen_us;
	int error; /* not_started */
	char reason[256];
	struct run_exit exit;
};

extern char top[PATH_MAX]; /* the folder of the runs' folders */
extern uv_loop_t loop;
extern struct executor *executor; /* NULL: freed */

int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* path: of the supervisor. */
void make_executor(const char *path);
void make_executor_below(const char *path, const char *cgroup_parent);
void free_executor(void);
void turn_until(const bool *what);

/* ---- a run's folder ---- */

/* With nothing to launch. */
struct told *make_run(void);
struct told *make_script(const char *script);
void free_run(struct told *told);
DEFINE_CLEANUP(struct told *, free_run);
void put(const struct told *told, const char *name, const struct strbuf *text);
void put_status(const struct told *told, pid_t supervisor, int64_t start_us);
void put_exit(const struct told *told, int code, int64_t start_us);
void read_status(const struct told *told, struct run_status *ret);
bool has(const struct told *told, const char *name);
void turn_until_there(const struct told *told, const char *name);

/* ---- the executor's calls ---- */

int start(struct told *told);
enum executor_found look(const struct told *told);
/* Taken over, as recovery does it: looked at, and reattached when there is something. */
enum executor_found reattach(struct told *told);
int stop(struct told *told, int64_t grace_us);
