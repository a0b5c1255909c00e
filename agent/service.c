/* SPDX-License-Identifier: MIT */
/* service - what the service manager is told; see service.h */
#include "service.h"

#include <stdbool.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_manager.h"

#define TROUBLE_SIZE 512
#define STATUS_US USEC_PER_SEC
/* Pings within the span after which we are taken for dead. */
#define PINGS 3
#define HANDLES 3

struct service {
	struct notify notify;
	struct run_manager *runs;
	uv_timer_t ping;
	uv_timer_t soon;  /* when a status that came too early for it may be told */
	uv_check_t check; /* after each round of the loop */
	bool own_round;   /* this one is our timers': nothing has happened */
	int open;         /* handles */
	int64_t told_us;  /* the status; boot clock */
	const char *owed; /* could not be said and has to be; NULL: nothing */
	char trouble[TROUBLE_SIZE];
	char status[TROUBLE_SIZE + 128]; /* as it was told last */
	bool complained;
};

/* False: later, perhaps. */
static bool say(struct service *service, const char *text)
{
	int r = notify_send(&service->notify, "%s", text);

	if (r < 0 && !service->complained)
		log_warning("cannot tell the service manager: %s", strerror(-r));
	service->complained = r < 0;
	return r >= 0;
}

static void tell_status(struct service *service)
{
	char text[sizeof(service->status)];
	struct run_counts counts;

	run_manager_count(service->runs, &counts);
	snprintf(text, sizeof(text), "STATUS=%lld run%s running, %lld queued%s%s",
		(long long)counts.running, counts.running == 1 ? "" : "s", (long long)counts.queued,
		service->trouble[0] ? "; " : "", service->trouble);
	service->told_us = clock_boot();
	if (!strcmp(text, service->status))
		return;
	if (say(service, text))
		strcpy(service->status, text);
}

/* Also again and again, for what could not be said. */
static void on_soon(uv_timer_t *timer)
{
	struct service *service = timer->data;

	service->own_round = true;
	if (service->owed && say(service, service->owed))
		service->owed = NULL;
	tell_status(service);
	if (service->complained)
		uv_timer_start(&service->soon, on_soon, STATUS_US / 1000, 0);
}

/* What the manager waits for. */
static void say_surely(struct service *service, const char *text)
{
	service->owed = say(service, text) ? NULL : text;
	if (service->owed)
		uv_timer_start(&service->soon, on_soon, STATUS_US / 1000, 0);
}

static void on_round(uv_check_t *check)
{
	struct service *service = check->data;

	if (clock_boot() - service->told_us >= STATUS_US)
		tell_status(service);
	else if (!service->own_round && !uv_is_active((uv_handle_t *)&service->soon))
		uv_timer_start(&service->soon, on_soon, STATUS_US / 1000, 0);
	service->own_round = false;
}

static void on_ping(uv_timer_t *timer)
{
	struct service *service = timer->data;

	service->own_round = true;
	say(service, "WATCHDOG=1");
}

struct service *service_new(uv_loop_t *loop, struct run_manager *runs, const struct notify *notify)
{
	struct service *service = NEW(struct service);
	uint64_t every_ms = (uint64_t)notify->watchdog_us / 1000 / PINGS + 1;

	service->notify = *notify;
	service->runs = runs;
	if (!notify->address_size)
		return service;
	uv_timer_init(loop, &service->ping);
	uv_timer_init(loop, &service->soon);
	uv_check_init(loop, &service->check);
	service->ping.data = service->soon.data = service->check.data = service;
	service->open = HANDLES;
	if (notify->watchdog_us)
		uv_timer_start(&service->ping, on_ping, every_ms, every_ms);
	uv_check_start(&service->check, on_round);
	return service;
}

static void on_closed(uv_handle_t *handle)
{
	struct service *service = handle->data;

	if (--service->open == 0)
		free(service);
}

void service_free(struct service *service)
{
	if (!service || !service->open) {
		free(service);
		return;
	}
	uv_close((uv_handle_t *)&service->ping, on_closed);
	uv_close((uv_handle_t *)&service->soon, on_closed);
	uv_close((uv_handle_t *)&service->check, on_closed);
}

void service_ready(struct service *service)
{
	say_surely(service, "READY=1");
	tell_status(service);
}

void service_reloading(struct service *service)
{
	(void)notify_reloading(&service->notify);
}

void service_set_trouble(struct service *service, const char *trouble)
{
	snprintf(service->trouble, sizeof(service->trouble), "%s", trouble ? trouble : "");
	tell_status(service);
}

void service_stopping(struct service *service)
{
	say_surely(service, "STOPPING=1\nSTATUS=ending; runs go on");
}
