/* SPDX-License-Identifier: MIT */
/*
 * interrupt - what Ctrl-C does while amlctl is at work
 *
 * Three behaviours: the default (the program ends); interrupt_say_and_leave() while a log streams
 * (say that the run goes on, end with 0); interrupt_catch() while files are made (blocking calls
 * return -EINTR, the caller removes what is half made). All for SIGINT, SIGTERM and SIGHUP; one
 * that was ignored when amlctl started (nohup, `&` in a script) stays so.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>

/* Text for stderr; a copy is kept. */
void interrupt_say_and_leave(const char *text);
void interrupt_default(void);
/* The first signal is noted, a second one ends the program. */
void interrupt_catch(void);
bool interrupt_caught(void);
/* poll() of one that no caught signal slips by, however short before it came: -EINTR then, and for
 * any other; else as poll(), or a negative errno. */
int interrupt_poll(struct pollfd *wait, int ms);
