/* SPDX-License-Identifier: MIT */
/* test_fair_share - what users have used counts, decays, and is the same however it was told */
#include "test.h"

#include <math.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "runs/fair_share.h"

#define HOUR (3600 * USEC_PER_SEC)
#define DAY (24 * HOUR)
#define ANA 1001
#define BOB 1002

static void assert_near(double a, double b)
{
	if (fabs(a - b) > 1e-6 * (1 + fabs(b)))
		fail_msg("%f is not %f", a, b);
}

static void a_gpu_counts_as_ten_cpus(void **state)
{
	(void)state;
	assert_near(fair_share_rate(2, 0), 2);
	assert_near(fair_share_rate(1, 2), 21);
}

static void after_a_half_life_half_of_it_is_left(void **state)
{
	struct fair_share share;

	(void)state;
	fair_share_init(&share, DAY);
	fair_share_charge(&share, ANA, 1, 0, HOUR, HOUR);
	for (int days = 0; days < 5; days++)
		assert_near(fair_share_read(&share, ANA, HOUR + days * DAY),
			fair_share_read(&share, ANA, HOUR) / exp2(days));
	assert_true(fair_share_read(&share, ANA, HOUR) > 3500); /* of 3600 CPU-seconds */
	assert_true(fair_share_read(&share, ANA, HOUR) < 3600);
	assert_near(fair_share_read(&share, BOB, HOUR), 0);
	fair_share_release(&share);
}

/* Run by run as history tells it, or at every moment as it goes on. */
static void it_is_the_same_however_it_is_told(void **state)
{
	struct fair_share whole, parts, live;

	(void)state;
	fair_share_init(&whole, DAY);
	fair_share_init(&parts, DAY);
	fair_share_init(&live, DAY);
	fair_share_charge(&whole, ANA, 3, HOUR, 5 * HOUR, 7 * HOUR);
	for (int i = 1; i < 5; i++)
		fair_share_charge(&parts, ANA, 3, i * HOUR, (i + 1) * HOUR, (7 + i) * HOUR);
	fair_share_begin(&live, ANA, 1, HOUR);
	fair_share_begin(&live, ANA, 2, HOUR);
	assert_true(fair_share_read(&live, ANA, 3 * HOUR) > fair_share_read(&live, ANA, 2 * HOUR));
	fair_share_end(&live, ANA, 2, 5 * HOUR);
	fair_share_end(&live, ANA, 1, 5 * HOUR);
	assert_near(
		fair_share_read(&parts, ANA, 20 * HOUR), fair_share_read(&whole, ANA, 20 * HOUR));
	assert_near(
		fair_share_read(&live, ANA, 20 * HOUR), fair_share_read(&whole, ANA, 20 * HOUR));
	fair_share_release(&whole);
	fair_share_release(&parts);
	fair_share_release(&live);
}

static void a_new_half_life_holds_from_now_on(void **state)
{
	struct fair_share share;
	double before;

	(void)state;
	fair_share_init(&share, DAY);
	fair_share_charge(&share, ANA, 1, 0, HOUR, HOUR);
	before = fair_share_read(&share, ANA, 2 * HOUR);
	fair_share_set_half_life(&share, HOUR, 2 * HOUR);
	assert_near(fair_share_read(&share, ANA, 2 * HOUR), before);
	assert_near(fair_share_read(&share, ANA, 3 * HOUR), before / 2);
	fair_share_release(&share);
}

static void a_clock_that_is_set_back_makes_nothing_of_it(void **state)
{
	struct fair_share share;

	(void)state;
	fair_share_init(&share, DAY);
	fair_share_begin(&share, ANA, 1, 10 * HOUR);
	assert_near(fair_share_read(&share, ANA, HOUR), 0);
	fair_share_end(&share, ANA, 1, HOUR);
	fair_share_charge(&share, BOB, 1, 5 * HOUR, 4 * HOUR, 6 * HOUR); /* ended before it began */
	assert_near(fair_share_read(&share, ANA, 20 * HOUR), 0);
	assert_near(fair_share_read(&share, BOB, 20 * HOUR), 0);
	fair_share_release(&share);
}

static void who_has_next_to_nothing_left_is_forgotten(void **state)
{
	struct fair_share share;

	(void)state;
	fair_share_init(&share, HOUR);
	fair_share_charge(&share, ANA, 1, 0, HOUR, HOUR);
	fair_share_begin(&share, BOB, 1, HOUR);
	for (uid_t uid = 5000; uid < 15000; uid++)
		fair_share_charge(&share, uid, 1, uid * HOUR, uid * HOUR + HOUR, uid * HOUR + HOUR);
	assert_true(share.room < 100); /* by itself */
	assert_near(fair_share_read(&share, ANA, 20000 * HOUR), 0);
	assert_true(fair_share_read(&share, BOB, 20000 * HOUR) > 1000); /* it goes on */
	fair_share_forget(&share, 20000 * HOUR);
	assert_int_equal(share.count, 1);
	fair_share_release(&share);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gpu_counts_as_ten_cpus),
		cmocka_unit_test(after_a_half_life_half_of_it_is_left),
		cmocka_unit_test(it_is_the_same_however_it_is_told),
		cmocka_unit_test(a_new_half_life_holds_from_now_on),
		cmocka_unit_test(a_clock_that_is_set_back_makes_nothing_of_it),
		cmocka_unit_test(who_has_next_to_nothing_left_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
