/* SPDX-License-Identifier: MIT */
/* test_slots - the ledger gives nothing twice, takes all back, and counts right */
#include "test.h"

#include "common/cleanup.h"
#include "runs/slots.h"

#define GRANTS 40

static int holders[GRANTS];

static struct slots slots_of(int64_t places, int64_t cpus, int64_t memory, size_t gpus)
{
	const struct slots_amount total = { places, cpus, memory, 0 };
	struct slots slots;

	slots_init(&slots, gpus);
	slots_set_total(&slots, &total);
	return slots;
}

static void what_fits_is_given_and_what_does_not_takes_nothing(void **state)
{
	struct slots slots = slots_of(4, 4, 100, 2);
	const struct slots_amount half = { 1, 2, 50, 1 }, little = { 1, 1, 0, 0 };
	struct slots_grant first = { 0 }, second = { 0 }, third = { 0 };
	struct slots_amount left;

	(void)state;
	assert_int_equal(slots_take(&slots, &half, &holders[0], &first), 0);
	assert_int_equal(slots_take(&slots, &half, &holders[1], &second), 0);
	assert_int_equal(first.gpus[0], 0);
	assert_int_equal(second.gpus[0], 1);
	assert_int_equal(slots_take(&slots, &little, &holders[2], &third), -EBUSY);
	assert_null(third.gpus);
	left = slots_free(&slots);
	assert_true(left.places == 2 && !left.cpus && !left.memory_bytes && !left.gpus);
	slots_give(&slots, &first);
	slots_give(&slots, &first); /* again: nothing */
	left = slots_free(&slots);
	assert_true(
		left.places == 3 && left.cpus == 2 && left.memory_bytes == 50 && left.gpus == 1);
	assert_int_equal(slots_take(&slots, &half, &holders[2], &third), 0);
	assert_int_equal(third.gpus[0], 0); /* the one that came back */
	slots_give(&slots, &second);
	slots_give(&slots, &third);
	assert_true(slots_are_sound(&slots, NULL, 0));
	slots_release(&slots);
}

static void what_is_not_asked_for_may_be_short(void **state)
{
	struct slots slots = slots_of(2, 2, 0, 0);
	const struct slots_amount none = { 0 }, plain = { 1, 1, 0, 0 };
	struct slots_grant grants[2] = { 0 };

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(slots_take(&slots, &plain, &holders[i], &grants[i]), 0);
	slots_set_total(&slots, &none);
	assert_int_equal(slots_free(&slots).cpus, -2);
	assert_int_equal(slots_free(&slots).memory_bytes, 0);
	for (int i = 0; i < 2; i++)
		slots_give(&slots, &grants[i]);
	assert_int_equal(slots_take(&slots, &plain, &holders[0], &grants[0]), -EBUSY);
	slots_release(&slots);
}

static void a_gpu_that_is_set_aside_is_not_given(void **state)
{
	struct slots slots = slots_of(8, 8, 0, 3);
	const struct slots_amount one = { 1, 1, 0, 1 }, two = { 1, 1, 0, 2 };
	struct slots_grant first = { 0 }, second = { 0 };

	(void)state;
	slots_set_aside(&slots, 0, true);
	assert_int_equal(slots_all(&slots).gpus, 2);
	assert_int_equal(slots_take(&slots, &one, &holders[0], &first), 0);
	assert_int_equal(first.gpus[0], 1);
	assert_int_equal(slots_take(&slots, &two, &holders[1], &second), -EBUSY);
	slots_set_aside(&slots, 1, true); /* held: it counts when it is back */
	assert_int_equal(slots_all(&slots).gpus, 2);
	slots_give(&slots, &first);
	assert_int_equal(slots_all(&slots).gpus, 1);
	assert_int_equal(slots_take(&slots, &one, &holders[1], &second), 0);
	assert_int_equal(second.gpus[0], 2);
	slots_set_aside(&slots, 0, false);
	assert_int_equal(slots_free(&slots).gpus, 1);
	slots_give(&slots, &second);
	slots_release(&slots);
}

static void a_claim_counts_whether_there_is_room_or_not_but_a_gpu_is_nobodys_twice(void **state)
{
	struct slots slots = slots_of(1, 1, 10, 2);
	const struct slots_amount much = { 1, 5, 50, 2 };
	const size_t both[] = { 0, 1 };
	struct slots_grant first = { 0 }, second = { 0 };
	const struct slots_grant *grants[] = { &first, &second };

	(void)state;
	slots_claim(&slots, &much, both, 2, &holders[0], &first);
	slots_claim(&slots, &much, both, 2, &holders[1], &second);
	assert_int_equal(first.amount.gpus, 2);
	assert_int_equal(second.amount.gpus, 0);
	assert_int_equal(slots.used.cpus, 10);
	assert_true(slots_are_sound(&slots, grants, 2));
	slots_give(&slots, &second);
	assert_ptr_equal(slots.gpus[0].holder, &holders[0]);
	slots_give(&slots, &first);
	assert_null(slots.gpus[0].holder);
	slots_release(&slots);
}

static void an_unsound_ledger_is_seen(void **state)
{
	struct slots slots = slots_of(4, 4, 0, 2);
	const struct slots_amount one = { 1, 1, 0, 1 };
	struct slots_grant grant = { 0 };
	const struct slots_grant *grants[] = { &grant };

	(void)state;
	assert_int_equal(slots_take(&slots, &one, &holders[0], &grant), 0);
	assert_true(slots_are_sound(&slots, grants, 1));
	assert_false(slots_are_sound(&slots, grants, 0)); /* leaked */
	slots.used.cpus++;
	assert_false(slots_are_sound(&slots, grants, 1));
	slots.used.cpus--;
	slots.gpus[1].holder = &holders[1];
	assert_false(slots_are_sound(&slots, grants, 1));
	slots.gpus[1].holder = NULL;
	slots_give(&slots, &grant);
	slots_release(&slots);
}

/* Whatever is taken and given in whatever order. */
static void it_is_sound_at_every_step(void **state)
{
	struct slots slots = slots_of(20, 30, 1000, 7);
	struct slots_grant grants[GRANTS] = { 0 };
	const struct slots_grant *all[GRANTS];
	int taken = 0;

	(void)state;
	srand(4);
	for (int i = 0; i < GRANTS; i++)
		all[i] = &grants[i];
	for (int step = 0; step < 20000; step++) {
		int i = rand() % GRANTS;
		const struct slots_amount want = { 1, 1 + rand() % 4, rand() % 200, rand() % 3 };

		if (grants[i].amount.places)
			slots_give(&slots, &grants[i]);
		else
			taken += slots_take(&slots, &want, &holders[i], &grants[i]) == 0;
		slots_set_aside(&slots, (size_t)(rand() % 7), rand() % 2);
		assert_true(slots_are_sound(&slots, all, GRANTS));
		assert_true(slots.used.places <= 20 && slots.used.cpus <= 30 &&
			    slots.used.memory_bytes <= 1000);
	}
	assert_true(taken > 1000);
	for (int i = 0; i < GRANTS; i++)
		slots_give(&slots, &grants[i]);
	assert_true(slots_are_sound(&slots, NULL, 0));
	slots_release(&slots);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_given_and_what_does_not_takes_nothing),
		cmocka_unit_test(what_is_not_asked_for_may_be_short),
		cmocka_unit_test(a_gpu_that_is_set_aside_is_not_given),
		cmocka_unit_test(
			a_claim_counts_whether_there_is_room_or_not_but_a_gpu_is_nobodys_twice),
		cmocka_unit_test(an_unsound_ledger_is_seen),
		cmocka_unit_test(it_is_sound_at_every_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
