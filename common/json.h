/* SPDX-License-Identifier: MIT */
/*
 * json - JSON values, and structs read from them by table
 *
 * The only file that sees cJSON. `struct json` is opaque; a value put into another belongs to it,
 * the root is freed with json_free(). Strings handed in are made valid UTF-8 (utf8.h), strings read
 * out are, and hold no NUL: json_parse() refuses what is not UTF-8, \u0000, nesting deeper than
 * JSON_DEPTH_MAX and anything after the value, and says where.
 *
 *	static const struct json_field fields[] = {
 *		{ "script", json_read_string, offsetof(struct run_request, script), 0 },
 *		...
 *	};
 *	r = json_read(value, fields, ARRAY_SIZE(fields), &request, NULL, err);
 *
 * A key that the table does not know, one given twice and a value of another type are errors that
 * name the key by its whole path ("environment.python.interpreter_path").
 *
 * Errors: -EINVAL with err set. Out of memory ends the program (mem.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strv.h"

#define JSON_DEPTH_MAX 64

struct json;

/* text need not end with a NUL. */
int json_parse(const char *text, size_t size, struct json **ret, struct error *err);
void json_free(struct json *value);
DEFINE_CLEANUP(struct json *, json_free);
struct json *json_copy(const struct json *value);
/* malloc'ed; one line, or indented for people. */
char *json_print(const struct json *value);
char *json_print_pretty(const struct json *value);

/* Reading. The ones that return values accept NULL and other types: NULL, 0, false then. */
bool json_is_null(const struct json *value);
bool json_is_string(const struct json *value);
bool json_is_number(const struct json *value);
bool json_is_bool(const struct json *value);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
const char *json_string(const struct json *value);
double json_number(const struct json *value);
int64_t json_int(const struct json *value);
bool json_bool(const struct json *value);
/* "object", "string", ...: for messages. */
const char *json_type_name(const struct json *value);
/* NULL when absent. */
const struct json *json_get(const struct json *object, const char *key);
size_t json_size(const struct json *container);
/* Members of an object or array: for (m = json_first(v); m; m = json_next(m)) */
const struct json *json_first(const struct json *container);
const struct json *json_next(const struct json *member);
const char *json_key(const struct json *member);

/* Building. Text NULL and doubles that are not finite become null. */
struct json *json_new_object(void);
struct json *json_new_array(void);
struct json *json_new_string(const char *text);
struct json *json_new_null(void);
void json_set(struct json *object, const char *key, struct json *value); /* takes value over */
void json_set_string(struct json *object, const char *key, const char *text);
void json_set_int(struct json *object, const char *key, int64_t number);
void json_set_real(struct json *object, const char *key, double number);
void json_set_bool(struct json *object, const char *key, bool value);
void json_set_null(struct json *object, const char *key);
void json_set_strv(struct json *object, const char *key, char *const *list);
void json_set_pairs(struct json *object, const char *key, const struct pairs *pairs);
/* ISO 8601; 0 becomes null. */
void json_set_time(struct json *object, const char *key, int64_t utc_us);
void json_append(struct json *array, struct json *value); /* takes value over */

/* Reading by table. A reader gets the value, its path for messages, and where to put it. */
typedef int (*json_reader)(const struct json *value, const char *path, void *to, struct error *err);

enum json_field_flags {
	JSON_REQUIRED = 1 << 0,
	JSON_SEES_NULL = 1 << 1, /* the reader is called for null too; else null means absent */
};

struct json_field {
	const char *key;
	json_reader read;
	size_t offset;
	unsigned flags;
};

int json_read(const struct json *object, const struct json_field *fields, size_t count, void *to,
	const char *path, struct error *err);

int json_read_string(
	const struct json *value, const char *path, void *to, struct error *err); /* char * */
int json_read_int(
	const struct json *value, const char *path, void *to, struct error *err); /* int64_t */
int json_read_real(
	const struct json *value, const char *path, void *to, struct error *err); /* double */
int json_read_bool(
	const struct json *value, const char *path, void *to, struct error *err); /* bool */
/* char **: strings, and numbers as their text. */
int json_read_strv(const struct json *value, const char *path, void *to, struct error *err);
/* struct pairs: an object of strings; keys are not empty. */
int json_read_pairs(const struct json *value, const char *path, void *to, struct error *err);
/* char **: an object of strings as "NAME=VALUE"; names are checked. */
int json_read_env(const struct json *value, const char *path, void *to, struct error *err);

/* error_set(-EINVAL) with "path: must be WHAT, not a TYPE". */
int json_type_error(
	const struct json *value, const char *path, const char *what, struct error *err);
