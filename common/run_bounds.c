/* SPDX-License-Identifier: MIT */
/* run_bounds - how much a run may carry; see run_request.h */
#include "common/run_request.h"

#include <string.h>

/* Keys and values of an object; what is no string is for its reader to refuse. */
static size_t bytes_of(const struct json *object)
{
	size_t bytes = 0;

	for (const struct json *m = json_first(object); m; m = json_next(m))
		bytes += strlen(json_key(m)) + (json_is_string(m) ? strlen(json_string(m)) : 0);
	return bytes;
}

static int check_bytes(const struct json *object, const char *path, size_t most, struct error *err)
{
	size_t bytes = bytes_of(object);

	if (bytes <= most)
		return 0;
	return error_set(err, -EINVAL, path,
		"%s: %zu bytes of keys and values are too many (%zu at most)", path, bytes, most);
}

int run_request_check_tags(const struct json *value, const char *path, struct error *err)
{
	if (!json_is_object(value))
		return json_type_error(value, path, "an object", err);
	if (json_size(value) > RUN_TAGS_MAX)
		return error_set(err, -EINVAL, path, "%s: %zu are too many (%d at most)", path,
			json_size(value), RUN_TAGS_MAX);
	return check_bytes(value, path, RUN_TAGS_BYTES_MAX, err);
}

int run_request_check_variables(const struct json *value, const char *path, struct error *err)
{
	if (!json_is_object(value))
		return json_type_error(value, path, "an object", err);
	return check_bytes(value, path, RUN_VARIABLES_BYTES_MAX, err);
}

int run_request_read_text(const struct json *value, const char *path, void *to, struct error *err)
{
	if (json_is_string(value) && strlen(json_string(value)) > RUN_TEXT_MAX)
		return error_set(
			err, -EINVAL, path, "%s: longer than %d bytes", path, RUN_TEXT_MAX);
	return json_read_string(value, path, to, err);
}

bool run_tags_fit(int64_t count, int64_t bytes)
{
	return count <= RUN_TAGS_MAX && bytes <= RUN_TAGS_BYTES_MAX;
}
