/* SPDX-License-Identifier: MIT */
/* resources - CPUs, memory and GPUs in words; see resources.h */
#include "cli/resources.h"

#include "cli/table.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/strbuf.h"

static void add(struct strbuf *to, const char *text)
{
	strbuf_addf(to, "%s%s", to->size ? ", " : "", text);
}

static void add_count(struct strbuf *to, int64_t count, const char *what)
{
	_cleanup_(freep) char *text =
		mem_printf("%lld %s%s", (long long)count, what, count == 1 ? "" : "s");

	if (count > 0)
		add(to, text);
}

int64_t resources_gpus(const struct json *resources)
{
	const struct json *gpus = json_get(resources, "gpus");

	return json_is_array(gpus) ? (int64_t)json_size(gpus) : json_int(gpus);
}

char *resources_text(const struct json *resources)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int64_t bytes = json_int(json_get(resources, "memory_bytes"));

	add_count(&text, json_int(json_get(resources, "cpus")), "CPU");
	if (bytes > 0) {
		_cleanup_(freep) char *size = size_text(bytes);
		_cleanup_(freep) char *memory = mem_printf("%s memory", size);

		add(&text, memory);
	}
	add_count(&text, resources_gpus(resources), "GPU");
	return strbuf_steal(&text);
}
