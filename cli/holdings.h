/* SPDX-License-Identifier: MIT */
/*
 * holdings - who holds what of the machine, and who waits: the tables of `amlctl status`
 *
 * Of the API's status object and of the runs that are not over, as far as the user may see them.
 * What has nothing to show is left out.
 */
#pragma once

#include <stdbool.h>

#include "common/json.h"

/* "5 of 16 in use" of {total, used}; bytes: as sizes. malloc'ed, NULL when the daemon says none. */
char *holdings_share(const struct json *share, bool bytes);
/* "1 of 2 in use, 1 set aside"; NULL when there is no GPU. malloc'ed. */
char *holdings_gpus(const struct json *gpus);

/* To stdout, a table each, with an empty line before it. */
void holdings_print_users(const struct json *status);
void holdings_print_gpus(const struct json *status);
/* The runs that hold something, and those in the queue, first the next. */
void holdings_print_running(const struct json *runs);
void holdings_print_queue(const struct json *runs, const struct json *status);
