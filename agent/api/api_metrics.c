/* SPDX-License-Identifier: MIT */
/*
 * api_metrics - GET /metrics in OpenMetrics text; what each one means is in docs/metrics.md
 *
 * Numbers of the whole daemon, for anybody who may connect: no metric and no label says whose a run
 * is or what it is.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "api/api_internal.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

#define CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* ---- the format: github.com/prometheus/OpenMetrics, specification 1.0 ---- */

/* Before the samples of one metric. unit NULL: it has none; else the name ends in it. */
static void family(
	struct strbuf *out, const char *name, const char *type, const char *unit, const char *help)
{
	strbuf_addf(out, "# TYPE %s %s\n", name, type);
	if (unit)
		strbuf_addf(out, "# UNIT %s %s\n", name, unit);
	strbuf_addf(out, "# HELP %s %s\n", name, help);
}

/* Texts of ours, and of the driver: escaped all the same. */
static void label(struct strbuf *out, const char *name, const char *value)
{
	strbuf_addf(out, "%c%s=\"", out->data[out->size - 1] == '"' ? ',' : '{', name);
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			strbuf_adds(out, "\\n");
		else if (*c == '\\' || *c == '"')
			strbuf_addf(out, "\\%c", *c);
		else
			strbuf_addc(out, *c);
	}
	strbuf_addc(out, '"');
}

static void value(struct strbuf *out, int64_t number)
{
	strbuf_addf(out, "%s %" PRId64 "\n", out->data[out->size - 1] == '"' ? "}" : "", number);
}

static void seconds(struct strbuf *out, int64_t us)
{
	strbuf_addf(out, " %" PRId64 ".%06" PRId64 "\n", us / USEC_PER_SEC, us % USEC_PER_SEC);
}

static void gauge(
	struct strbuf *out, const char *name, const char *unit, const char *help, int64_t number)
{
	family(out, name, "gauge", unit, help);
	strbuf_adds(out, name);
	value(out, number);
}

static void counter(struct strbuf *out, const char *name, const char *help, uint64_t number)
{
	family(out, name, "counter", NULL, help);
	strbuf_addf(out, "%s_total", name);
	value(out, (int64_t)number);
}

/* ---- the daemon ---- */

static void add_build(struct strbuf *out)
{
	family(out, "amlagent_build", "info", NULL, "The version of this daemon.");
	strbuf_adds(out, "amlagent_build_info");
	label(out, "version", AMLAGENT_VERSION);
	value(out, 1);
}

static int64_t resident_bytes(void)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	long long pages = 0;

	if (file_read(AT_FDCWD, "/proc/self/statm", 256, &text) == 0)
		sscanf(text.data, "%*d %lld", &pages);
	return pages * sysconf(_SC_PAGESIZE);
}

/* Named as Prometheus' own libraries name them. */
static void add_process(struct strbuf *out, const struct api_options *options)
{
	struct rusage usage;

	family(out, "process_start_time_seconds", "gauge", "seconds",
		"When the daemon started, in seconds since 1970.");
	strbuf_adds(out, "process_start_time_seconds");
	seconds(out, options->started_us);
	gauge(out, "process_resident_memory_bytes", "bytes", "Memory of the daemon itself.",
		resident_bytes());
	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return;
	family(out, "process_cpu_seconds", "counter", "seconds",
		"Processor time of the daemon itself.");
	strbuf_adds(out, "process_cpu_seconds_total");
	seconds(out, (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * USEC_PER_SEC +
			     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* ---- runs ---- */

static void add_runs(struct strbuf *out, const struct api_options *options)
{
	int64_t counts[RUN_STATE_COUNT] = { 0 };

	if (history_count_states(options->history, NULL, counts) < 0)
		return;
	family(out, "amlagent_runs", "gauge", NULL, "Runs in the history, by state.");
	for (unsigned i = RUN_NOT_STARTED + 1; i < RUN_STATE_COUNT; i++) {
		strbuf_adds(out, "amlagent_runs");
		label(out, "state", run_state_name((enum run_state)i));
		value(out, counts[i]);
	}
}

static void add_queue(struct strbuf *out, const struct run_counts *counts)
{
	gauge(out, "amlagent_run_slots", NULL, "Runs that may run at once.", counts->max_running);
	gauge(out, "amlagent_run_slots_used", NULL, "Runs that hold a slot.", counts->running);
	gauge(out, "amlagent_queue_length", NULL, "Runs that wait in the queue.", counts->queued);
	family(out, "amlagent_queue_wait_seconds", "summary", "seconds",
		"How long runs waited in the queue that had their turn since the daemon's start.");
	strbuf_adds(out, "amlagent_queue_wait_seconds_count");
	value(out, counts->started);
	strbuf_adds(out, "amlagent_queue_wait_seconds_sum");
	seconds(out, counts->waited_us);
}

static void add_ends(struct strbuf *out, const struct run_counts *counts)
{
	family(out, "amlagent_runs_ended", "counter", NULL,
		"Runs that ended since the daemon's start, by status and the error's code.");
	for (unsigned i = 0; i < RUN_CAUSE_COUNT; i++) {
		const char *code = run_cause_name((enum run_cause)i);

		strbuf_adds(out, "amlagent_runs_ended_total");
		label(out, "status", run_state_name(run_cause_state((enum run_cause)i)));
		label(out, "code", code ? code : "");
		value(out, counts->ended[i]);
	}
}

static void add_gpus(struct strbuf *out, const struct run_holdings *holdings)
{
	static const char *const names[] = {
		[GPU_FREE] = "free", [GPU_HELD] = "held", [GPU_ASIDE] = "aside"
	};
	int64_t counts[ARRAY_SIZE(names)] = { 0 };

	for (size_t i = 0; i < holdings->gpu_count; i++)
		counts[holdings->gpus[i].use]++;
	family(out, "amlagent_gpus", "gauge", NULL,
		"GPUs: free, held by runs, set aside because somebody else uses them.");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		strbuf_adds(out, "amlagent_gpus");
		label(out, "state", names[i]);
		value(out, counts[i]);
	}
}

static void add_holdings(struct strbuf *out, const struct run_holdings *holdings)
{
	gauge(out, "amlagent_cpus", NULL, "Processors that the queue gives out.", holdings->cpus);
	gauge(out, "amlagent_cpus_used", NULL, "Processors that runs hold.", holdings->cpus_used);
	gauge(out, "amlagent_memory_bytes", "bytes", "Memory that the queue gives out.",
		holdings->memory_bytes);
	gauge(out, "amlagent_memory_used_bytes", "bytes", "Memory that runs asked for and hold.",
		holdings->memory_used);
	add_gpus(out, holdings);
	gauge(out, "amlagent_active_users", NULL, "Users who have runs that run or wait.",
		(int64_t)holdings->user_count);
	gauge(out, "amlagent_draining", NULL, "1 while nothing more is started.",
		holdings->draining_since_us != 0);
}

static void add_slots(struct strbuf *out, struct run_manager *runs)
{
	struct run_holdings holdings;
	struct run_counts counts;

	run_manager_count(runs, &counts);
	add_queue(out, &counts);
	add_ends(out, &counts);
	run_manager_holdings(runs, &holdings);
	add_holdings(out, &holdings);
	run_holdings_release(&holdings);
}

/* What SQLite keeps beside the database counts too. */
static void add_history(struct strbuf *out, const struct api_options *options)
{
	static const char *const names[] = { "history.db", "history.db-wal", "history.db-shm" };
	int64_t bytes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = path_join(options->state_dir, names[i]);
		struct stat st;

		if (stat(path, &st) == 0)
			bytes += st.st_size;
	}
	gauge(out, "amlagent_history_bytes", "bytes", "Size of the database of runs.", bytes);
}

/* ---- the socket ---- */

static void add_http(struct strbuf *out, const struct http_request *request)
{
	struct http_statistics http;
	char class[] = "0xx";

	http_server_statistics(http_request_server(request), &http);
	family(out, "amlagent_http_requests", "counter", NULL,
		"Answers, by the class of their status.");
	for (unsigned i = 1; i < ARRAY_SIZE(http.requests); i++) {
		class[0] = (char)('0' + i);
		strbuf_adds(out, "amlagent_http_requests_total");
		label(out, "class", class);
		value(out, (int64_t)http.requests[i]);
	}
	gauge(out, "amlagent_http_connections", NULL, "Connections that are open.",
		(int64_t)http.connections);
	gauge(out, "amlagent_http_connections_limit", NULL, "Connections that may be open.",
		(int64_t)http.max_connections);
	counter(out, "amlagent_http_connections_accepted", "Connections that were taken.",
		http.accepted);
	counter(out, "amlagent_http_connections_refused",
		"Connections refused: a user's limit, or no descriptors.", http.refused);
	counter(out, "amlagent_http_requests_limited",
		"Requests refused: too many a second of one user.", http.limited);
	counter(out, "amlagent_http_requests_timed_out", "Requests that came too slowly.",
		http.timed_out);
	counter(out, "amlagent_http_requests_broken", "Requests whose client left too early.",
		http.broken);
}

void metrics_read(struct call *call)
{
	const struct api_options *options = &call->api->options;
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	add_build(&out);
	add_process(&out, options);
	add_runs(&out, options);
	add_slots(&out, options->runs);
	add_history(&out, options);
	add_http(&out, call->request);
	strbuf_adds(&out, "# EOF\n");
	call->answered = true;
	http_reply(call->request, 200, CONTENT_TYPE, out.data, out.size, NULL);
}
