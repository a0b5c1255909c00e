/* SPDX-License-Identifier: MIT */
/* reload - SIGHUP: the configuration is read again; see reload.h */
#include "reload.h"

#include <signal.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "runs/work.h"

struct reload {
	struct reload_options options;
	uv_signal_t signal;
	bool reading, again, freed, closed;
	struct work work;
	/* The work thread's while `reading`. */
	struct settings settings;
	struct error err;
	int result;
};

static void free_when_unused(struct reload *reload)
{
	if (reload->closed && !reload->reading)
		free(reload);
}

static void read_file(struct work *work)
{
	struct reload *reload = container_of(work, struct reload, work);

	reload->result = settings_load(
		reload->options.path, reload->options.must_exist, &reload->settings, &reload->err);
}

static void begin(struct reload *reload);

static void file_was_read(struct work *work)
{
	struct reload *reload = container_of(work, struct reload, work);
	const struct reload_options *options = &reload->options;

	reload->reading = false;
	if (reload->freed) {
		free_when_unused(reload);
	} else if (reload->again) {
		begin(reload);
	} else {
		error_default(&reload->err, reload->result, "cannot read the configuration");
		options->done(
			options->data, reload->result < 0 ? NULL : &reload->settings, &reload->err);
	}
}

static void begin(struct reload *reload)
{
	reload->reading = true;
	reload->again = false;
	reload->err = (struct error)ERROR_INIT;
	work_queue(reload->options.loop, &reload->work, read_file, file_was_read);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct reload *reload = signal->data;

	(void)number;
	if (reload->reading) {
		reload->again = true;
		return;
	}
	reload->options.began(reload->options.data);
	begin(reload);
}

static void on_closed(uv_handle_t *handle)
{
	struct reload *reload = handle->data;

	reload->closed = true;
	free_when_unused(reload);
}

int reload_new(const struct reload_options *options, struct reload **ret)
{
	struct reload *reload = NEW(struct reload);
	int r = uv_signal_init(options->loop, &reload->signal);

	if (r < 0) {
		free(reload);
		return r;
	}
	reload->options = *options;
	reload->signal.data = reload;
	r = uv_signal_start(&reload->signal, on_signal, SIGHUP);
	uv_unref((uv_handle_t *)&reload->signal);
	if (r < 0) {
		reload_free(reload);
		return r;
	}
	*ret = reload;
	return 0;
}

void reload_free(struct reload *reload)
{
	if (!reload)
		return;
	reload->freed = true;
	uv_close((uv_handle_t *)&reload->signal, on_closed);
}
