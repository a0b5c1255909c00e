/* SPDX-License-Identifier: MIT */
/*
 * traceback_line - what one line of a Python traceback says
 *
 * A frame points into the line that it was read from. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame {
	const char *file; /* NULL: no frame */
	size_t file_size;
	int64_t line;
	const char *function; /* to the line's end; NULL: none */
};

/* Where in the line "Traceback (most recent call last):" begins, which is its end; NULL: nowhere. */
const char *traceback_header(const char *line);

/* `  File "train.py", line 42, in step`; SyntaxError leaves out the function, faulthandler the
 * comma before it, an exception group has bars in front. False: the line is none. */
bool frame_parse(const char *text, struct frame *ret);

/* Does the file belong to the run: is it in work_dir (NULL: not known), and not in a site-packages
 * there? */
bool frame_is_own(const struct frame *frame, const char *work_dir);
/* So many bytes of the file's name say where work_dir is; 0 when it lies elsewhere. */
size_t frame_skip(const struct frame *frame, const char *work_dir);

/* "ValueError: bad", "KeyboardInterrupt", "package.module.make.<locals>.Error: why" */
bool is_exception_line(const char *line);
/* One of SyntaxError and its kin. */
bool is_syntax_error_line(const char *line);
