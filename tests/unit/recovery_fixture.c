/* SPDX-License-Identifier: MIT */
/* recovery_fixture - runs as an earlier daemon left them; see recovery_fixture.h */
#include "recovery_fixture.h"

struct run_record base;

int set_up_base(void **state)
{
	_cleanup_(freep) char *run_id = NULL;

	(void)state;
	fixture_init(&f, 4);
	fixture_open(&f);
	run_id = submit(&f, NULL);
	run_to_end(&f, run_id, 0);
	base = record_of(&f, run_id);
	base.start_us = base.end_us = 0;
	base.exit_code = -1;
	base.used_known = false;
	return 0;
}

int tear_down_base(void **state)
{
	run_record_release(&base);
	return tear_down(state);
}

static const char other_boot[] = "00000000-0000-0000-0000-000000000000";

void leave(const char *run_id, enum run_state state, bool same_boot, int64_t start_us)
{
	_cleanup_(freep) char *dir = mem_printf("%s/runs/%s", f.state, run_id);
	struct run_record record;
	char boot_id[37];

	assert_int_equal(clock_boot_id(boot_id), 0);
	run_record_copy(&base, &record);
	mem_replace(&record.run_id, run_id);
	record.state = state;
	record.start_us = start_us;
	if (state != RUN_QUEUED)
		mem_replace(&record.boot_id, same_boot ? boot_id : other_boot);
	history_insert(f.history, &record, HISTORY_SOON, NULL, NULL);
	run_record_release(&record);
	assert_int_equal(mkdir(dir, 0700), 0);
}

void restart(void)
{
	fixture_close(&f);
	fixture_start(&f);
}
