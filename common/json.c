/* SPDX-License-Identifier: MIT */
/* json - JSON values, and structs read from them by table; see json.h */
#include "common/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/utf8.h"

static cJSON *unwrap(const struct json *value)
{
	return (cJSON *)(uintptr_t)value;
}

static struct json *wrap(cJSON *value)
{
	if (!value)
		abort(); /* cJSON fails for want of memory only */
	return (struct json *)value;
}

/* What cJSON would take and we do not: too deep for a recursive parser, \u0000, bytes not UTF-8. */
static int check_text(const char *text, size_t size, struct error *err)
{
	bool in_string = false;
	size_t depth = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (in_string && c == '\\') {
			if (size - i > 5 && !memcmp(text + i, "\\u0000", 6))
				return error_set(err, -EINVAL, NULL,
					"not usable JSON: \\u0000 in a string at byte %zu", i);
			i++;
		} else if (c == '"') {
			in_string = !in_string;
		} else if (!in_string && (c == '[' || c == '{')) {
			if (++depth > JSON_DEPTH_MAX)
				return error_set(err, -EINVAL, NULL,
					"not usable JSON: nested deeper than %d at byte %zu",
					JSON_DEPTH_MAX, i);
		} else if (!in_string && (c == ']' || c == '}') && depth) {
			depth--;
		}
	}
	if (!utf8_valid(text, size))
		return error_set(err, -EINVAL, NULL, "not usable JSON: it is not UTF-8");
	return 0;
}

int json_parse(const char *text, size_t size, struct json **ret, struct error *err)
{
	_cleanup_(freep) char *copy = NULL;
	const char *end = NULL;
	cJSON *value;
	int r = check_text(text, size, err);

	if (r < 0)
		return r;
	copy = mem_strndup(text, size);
	if (strlen(copy) != size)
		return error_set(err, -EINVAL, NULL, "not JSON: a NUL byte at %zu", strlen(copy));
	value = cJSON_ParseWithLengthOpts(copy, size + 1, &end, 1);
	if (!value)
		return error_set(err, -EINVAL, NULL,
			size ? "not JSON: error at byte %zu" : "not JSON: empty",
			end ? (size_t)(end - copy) : 0);
	*ret = wrap(value);
	return 0;
}

void json_free(struct json *value)
{
	cJSON_Delete(unwrap(value));
}

struct json *json_copy(const struct json *value)
{
	return wrap(cJSON_Duplicate(unwrap(value), 1));
}

char *json_print(const struct json *value)
{
	char *text = cJSON_PrintUnformatted(unwrap(value));

	if (!text)
		abort();
	return text;
}

char *json_print_pretty(const struct json *value)
{
	char *text = cJSON_Print(unwrap(value));

	if (!text)
		abort();
	return text;
}

bool json_is_null(const struct json *value)
{
	return !value || cJSON_IsNull(unwrap(value));
}

bool json_is_string(const struct json *value)
{
	return cJSON_IsString(unwrap(value));
}

bool json_is_number(const struct json *value)
{
	return cJSON_IsNumber(unwrap(value));
}

bool json_is_bool(const struct json *value)
{
	return cJSON_IsBool(unwrap(value));
}

bool json_is_object(const struct json *value)
{
	return cJSON_IsObject(unwrap(value));
}

bool json_is_array(const struct json *value)
{
	return cJSON_IsArray(unwrap(value));
}

const char *json_string(const struct json *value)
{
	return json_is_string(value) ? unwrap(value)->valuestring : NULL;
}

double json_number(const struct json *value)
{
	return json_is_number(value) ? unwrap(value)->valuedouble : 0;
}

int64_t json_int(const struct json *value)
{
	double number = json_number(value);

	/* The comparison is written so that NaN fails it. */
	return fabs(number) < 9.2e18 ? (int64_t)number : 0;
}

bool json_bool(const struct json *value)
{
	return cJSON_IsTrue(unwrap(value));
}

const char *json_type_name(const struct json *value)
{
	if (json_is_string(value))
		return "string";
	if (json_is_number(value))
		return "number";
	if (json_is_bool(value))
		return "boolean";
	if (json_is_object(value))
		return "object";
	return json_is_array(value) ? "array" : "null";
}

const struct json *json_get(const struct json *object, const char *key)
{
	return (const struct json *)cJSON_GetObjectItemCaseSensitive(unwrap(object), key);
}

size_t json_size(const struct json *container)
{
	return (size_t)cJSON_GetArraySize(unwrap(container));
}

const struct json *json_first(const struct json *container)
{
	return container ? (const struct json *)unwrap(container)->child : NULL;
}

const struct json *json_next(const struct json *member)
{
	return (const struct json *)unwrap(member)->next;
}

const char *json_key(const struct json *member)
{
	return unwrap(member)->string;
}

struct json *json_new_object(void)
{
	return wrap(cJSON_CreateObject());
}

struct json *json_new_array(void)
{
	return wrap(cJSON_CreateArray());
}

struct json *json_new_null(void)
{
	return wrap(cJSON_CreateNull());
}

struct json *json_new_string(const char *text)
{
	_cleanup_(freep) char *clean = NULL;

	if (!text)
		return json_new_null();
	if (utf8_valid(text, strlen(text)))
		return wrap(cJSON_CreateString(text));
	clean = utf8_sanitize(text, strlen(text));
	return wrap(cJSON_CreateString(clean));
}

void json_set(struct json *object, const char *key, struct json *value)
{
	_cleanup_(freep) char *clean = NULL;

	if (!utf8_valid(key, strlen(key)))
		clean = utf8_sanitize(key, strlen(key));
	if (!cJSON_AddItemToObject(unwrap(object), clean ? clean : key, unwrap(value)))
		abort();
}

void json_set_string(struct json *object, const char *key, const char *text)
{
	json_set(object, key, json_new_string(text));
}

void json_set_int(struct json *object, const char *key, int64_t number)
{
	json_set(object, key, wrap(cJSON_CreateNumber((double)number)));
}

void json_set_real(struct json *object, const char *key, double number)
{
	json_set(
		object, key, isfinite(number) ? wrap(cJSON_CreateNumber(number)) : json_new_null());
}

void json_set_bool(struct json *object, const char *key, bool value)
{
	json_set(object, key, wrap(cJSON_CreateBool(value)));
}

void json_set_null(struct json *object, const char *key)
{
	json_set(object, key, json_new_null());
}

void json_set_strv(struct json *object, const char *key, char *const *list)
{
	struct json *array = json_new_array();

	for (size_t i = 0; list && list[i]; i++)
		json_append(array, json_new_string(list[i]));
	json_set(object, key, array);
}

void json_set_pairs(struct json *object, const char *key, const struct pairs *pairs)
{
	struct json *map = json_new_object();

	for (size_t i = 0; i < pairs->count; i++)
		json_set_string(map, pairs->items[i].key, pairs->items[i].value);
	json_set(object, key, map);
}

void json_set_time(struct json *object, const char *key, int64_t utc_us)
{
	char text[CLOCK_TEXT_SIZE];

	if (!utc_us) {
		json_set_null(object, key);
		return;
	}
	clock_format(utc_us, text);
	json_set_string(object, key, text);
}

void json_append(struct json *array, struct json *value)
{
	if (!cJSON_AddItemToArray(unwrap(array), unwrap(value)))
		abort();
}

int json_type_error(const struct json *value, const char *path, const char *what, struct error *err)
{
	return error_set(err, -EINVAL, path, "%s: must be %s, not %s", path, what,
		json_is_null(value) ? "null" : json_type_name(value));
}

static char *member_path(const char *path, const char *key)
{
	return path ? mem_printf("%s.%s", path, key) : mem_strdup(key);
}

static int read_member(const struct json *member, const struct json_field *field, void *to,
	const char *path, struct error *err)
{
	_cleanup_(freep) char *full = member_path(path, json_key(member));

	if (json_is_null(member) && !(field->flags & JSON_SEES_NULL)) {
		if (field->flags & JSON_REQUIRED)
			return error_set(err, -EINVAL, full, "%s: is required, not null", full);
		return 0;
	}
	return field->read(member, full, (char *)to + field->offset, err);
}

static const struct json_field *find_field(
	const struct json_field *fields, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(fields[i].key, key))
			return &fields[i];
	return NULL;
}

static int refuse_unknown(const char *path, const char *key, struct error *err)
{
	_cleanup_(freep) char *full = member_path(path, key[0] ? key : "\"\"");

	return error_set(err, -EINVAL, full, "%s: unknown key", full);
}

static int check_required(const struct json_field *fields, size_t count, uint64_t seen,
	const char *path, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_(freep) char *full = member_path(path, fields[i].key);

		if ((fields[i].flags & JSON_REQUIRED) && !(seen & UINT64_C(1) << i))
			return error_set(err, -EINVAL, full, "%s: is required", full);
	}
	return 0;
}

int json_read(const struct json *object, const struct json_field *fields, size_t count, void *to,
	const char *path, struct error *err)
{
	uint64_t seen = 0;

	if (!json_is_object(object))
		return json_type_error(object, path ? path : "request", "an object", err);
	for (const struct json *m = json_first(object); m; m = json_next(m)) {
		const struct json_field *field = find_field(fields, count, json_key(m));
		int r;

		if (!field)
			return refuse_unknown(path, json_key(m), err);
		if (seen & UINT64_C(1) << (field - fields))
			return error_set(err, -EINVAL, json_key(m), "%s: given twice", json_key(m));
		seen |= UINT64_C(1) << (field - fields);
		r = read_member(m, field, to, path, err);
		if (r < 0)
			return r;
	}
	return check_required(fields, count, seen, path, err);
}

int json_read_string(const struct json *value, const char *path, void *to, struct error *err)
{
	if (!json_is_string(value))
		return json_type_error(value, path, "a string", err);
	mem_replace(to, json_string(value));
	return 0;
}

int json_read_int(const struct json *value, const char *path, void *to, struct error *err)
{
	double number = json_number(value);

	if (!json_is_number(value))
		return json_type_error(value, path, "a whole number", err);
	/* Above 2^53 a double no longer tells neighbours apart. */
	if (!(fabs(number) <= 9007199254740992.0) || number != floor(number))
		return error_set(err, -EINVAL, path, "%s: must be a whole number", path);
	*(int64_t *)to = (int64_t)number;
	return 0;
}

int json_read_real(const struct json *value, const char *path, void *to, struct error *err)
{
	if (!json_is_number(value))
		return json_type_error(value, path, "a number", err);
	*(double *)to = json_number(value);
	return 0;
}

int json_read_bool(const struct json *value, const char *path, void *to, struct error *err)
{
	if (!json_is_bool(value))
		return json_type_error(value, path, "true or false", err);
	*(bool *)to = json_bool(value);
	return 0;
}

int json_read_strv(const struct json *value, const char *path, void *to, struct error *err)
{
	_cleanup_(strv_freep) char **list = NULL;
	size_t n = 0;

	if (!json_is_array(value))
		return json_type_error(value, path, "a list", err);
	list = mem_alloc((json_size(value) + 1) * sizeof(*list));
	for (const struct json *m = json_first(value); m; m = json_next(m), n++) {
		_cleanup_(freep) char *full = NULL;

		if (json_is_string(m)) {
			list[n] = mem_strdup(json_string(m));
		} else if (json_is_number(m)) {
			list[n] = json_print(m);
		} else {
			full = mem_printf("%s[%zu]", path, n);
			return json_type_error(m, full, "a string or a number", err);
		}
	}
	strv_free(*(char ***)to);
	*(char ***)to = TAKE(list);
	return 0;
}

int json_read_pairs(const struct json *value, const char *path, void *to, struct error *err)
{
	if (!json_is_object(value))
		return json_type_error(value, path, "an object", err);
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		_cleanup_(freep) char *full =
			json_is_string(m) ? NULL : member_path(path, json_key(m));

		if (!json_key(m)[0])
			return error_set(err, -EINVAL, path, "%s: a key is empty", path);
		if (!json_is_string(m))
			return json_type_error(m, full, "a string", err);
		pairs_set(to, json_key(m), json_string(m));
	}
	return 0;
}

int json_read_env(const struct json *value, const char *path, void *to, struct error *err)
{
	_cleanup_(strv_freep) char **env = NULL;
	size_t n = 0;

	if (!json_is_object(value))
		return json_type_error(value, path, "an object", err);
	env = mem_alloc((json_size(value) + 1) * sizeof(*env));
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		_cleanup_(freep) char *full =
			json_is_string(m) ? NULL : member_path(path, json_key(m));

		if (!json_is_string(m))
			return json_type_error(m, full, "a string", err);
		if (!env_name_valid(json_key(m)))
			return error_set(err, -EINVAL, path,
				"%s: \"%s\" is no name for an environment variable", path,
				json_key(m));
		env[n++] = mem_printf("%s=%s", json_key(m), json_string(m));
	}
	strv_free(*(char ***)to);
	*(char ***)to = TAKE(env);
	return 0;
}
