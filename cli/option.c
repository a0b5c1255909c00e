/* SPDX-License-Identifier: MIT */
/* option - command line options, declared once; see option.h */
#include "cli/option.h"

#include <getopt.h>
#include <stdint.h>
#include <string.h>

#include "common/mem.h"
#include "common/quantity.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define OPTIONS_MAX 48
#define HELP_COLUMN 31
#define HELP_WIDTH 80
#define NAME_MAX_COMPARED 31

int option_flag(const char *text, const char *name, void *to, struct error *err)
{
	(void)text;
	(void)name;
	(void)err;
	*(bool *)to = true;
	return 0;
}

int option_flag_off(const char *text, const char *name, void *to, struct error *err)
{
	(void)text;
	(void)name;
	(void)err;
	*(bool *)to = false;
	return 0;
}

int option_text(const char *text, const char *name, void *to, struct error *err)
{
	(void)name;
	(void)err;
	*(const char **)to = text;
	return 0;
}

int option_list(const char *text, const char *name, void *to, struct error *err)
{
	(void)name;
	(void)err;
	strv_add(to, text);
	return 0;
}

int option_pair(const char *text, const char *name, void *to, struct error *err)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text)
		return error_set(err, -EINVAL, name, "--%s: \"%s\" must be KEY=VALUE", name, text);
	return option_list(text, name, to, err);
}

int option_count(const char *text, const char *name, void *to, struct error *err)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || *end || end == text || number < 1)
		return error_set(err, -EINVAL, name, "--%s: \"%s\" must be a whole number from 1",
			name, text);
	*(int64_t *)to = number;
	return 0;
}

int option_number(const char *text, const char *name, void *to, struct error *err)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || *end || end == text)
		return error_set(
			err, -EINVAL, name, "--%s: \"%s\" must be a whole number", name, text);
	*(int64_t *)to = number;
	return 0;
}

int option_size(const char *text, const char *name, void *to, struct error *err)
{
	if (size_parse(text, to) < 0)
		return error_set(err, -EINVAL, name,
			"--%s: \"%s\" is no size; write 512M, 8G, or bytes", name, text);
	return 0;
}

int option_duration(const char *text, const char *name, void *to, struct error *err)
{
	if (duration_parse(text, to) < 0)
		return error_set(err, -EINVAL, name,
			"--%s: \"%s\" is no duration; write seconds, or 90m, 2h, 7d", name, text);
	return 0;
}

int option_json(const char *text, const char *name, void *to, struct error *err)
{
	bool json = !strcmp(text, "json");

	if (!json && strcmp(text, "table"))
		return error_set(
			err, -EINVAL, name, "--%s: \"%s\" must be json or table", name, text);
	*(bool *)to = json;
	return 0;
}

int option_not_yet(const char *text, const char *name, void *to, struct error *err)
{
	(void)text;
	(void)to;
	return error_set(err, -EINVAL, name, "--%s is not in this version of amlctl", name);
}

/* The tables in getopt_long's form. */
struct getopt_form {
	const struct option_spec *specs[OPTIONS_MAX];
	void *bases[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 2];
	char letters[OPTIONS_MAX * 2 + 8];
	size_t count;
};

static void add_letter(struct getopt_form *form, const struct option_spec *spec)
{
	size_t size = strlen(form->letters);

	if (!spec->letter)
		return;
	form->letters[size++] = spec->letter;
	if (spec->value)
		form->letters[size] = ':';
}

static void build_form(
	struct getopt_form *form, bool stop, const struct option_set *sets, size_t count)
{
	*form = (struct getopt_form){ 0 };
	/* "+": stop at operands; ":": tell a missing value from an unknown option. */
	strcpy(form->letters, stop ? "+:h" : ":h");
	for (size_t s = 0; s < count; s++) {
		for (size_t i = 0; i < sets[s].count && form->count < OPTIONS_MAX; i++) {
			const struct option_spec *spec = &sets[s].specs[i];

			form->specs[form->count] = spec;
			form->bases[form->count] = sets[s].to;
			form->longs[form->count] = (struct option){ spec->name,
				spec->value ? required_argument : no_argument, NULL,
				256 + (int)form->count };
			add_letter(form, spec);
			form->count++;
		}
	}
	form->longs[form->count] = (struct option){ "help", no_argument, NULL, 'h' };
}

static const struct option_spec *find_spec(const struct getopt_form *form, int code, size_t *ret_at)
{
	for (size_t i = 0; i < form->count; i++)
		if (code == 256 + (int)i || (code < 256 && code == form->specs[i]->letter)) {
			*ret_at = i;
			return form->specs[i];
		}
	return NULL;
}

static int unknown_long(const struct getopt_form *form, const char *given, struct error *err)
{
	_cleanup_(freep) char *name = mem_strndup(given + 2, strcspn(given + 2, "="));
	const char *names[OPTIONS_MAX + 2] = { NULL };
	const char *nearest;
	size_t known = 0;
	size_t shortened = 0;

	for (size_t i = 0; i <= form->count; i++) {
		if (i == form->count || form->specs[i]->help)
			names[known++] = form->longs[i].name;
		if (!strncmp(form->longs[i].name, name, strlen(name)))
			shortened++;
		if (!strcmp(form->longs[i].name, name))
			return error_set(err, -EINVAL, NULL, "--%s takes no value", name);
	}
	if (shortened > 1)
		return error_set(
			err, -EINVAL, NULL, "--%s could be several options; write it out", name);
	nearest = nearest_name(name, names);
	return error_set(err, -EINVAL, NULL,
		nearest ? "unknown option --%s; did you mean --%s?" : "unknown option --%s", name,
		nearest);
}

static int refuse(const struct getopt_form *form, char **argv, int code, struct error *err)
{
	const char *given = argv[optind - 1];
	size_t at;
	const struct option_spec *spec;

	if (code == ':') {
		spec = find_spec(form, optopt, &at);
		return error_set(err, -EINVAL, NULL, "option --%s needs a value%s%s",
			spec ? spec->name : "", spec ? ": " : "", spec ? spec->value : "");
	}
	if (optopt == 0 || optopt >= 256)
		return unknown_long(form, given, err);
	return error_set(err, -EINVAL, NULL, "unknown option -%c", optopt);
}

int options_parse(char **argv, bool stop, const struct option_set *sets, size_t count,
	char ***ret_operands, bool *ret_help, struct error *err)
{
	struct getopt_form form;
	int argc = (int)strv_length(argv);

	build_form(&form, stop, sets, count);
	*ret_help = false;
	opterr = 0;
	optind = 0; /* glibc: begin anew */
	for (;;) {
		int code = getopt_long(argc, argv, form.letters, form.longs, NULL);
		const struct option_spec *spec;
		size_t at = 0;
		int r;

		if (code < 0)
			break;
		if (code == 'h') {
			*ret_help = true;
			return 0;
		}
		spec = code == '?' || code == ':' ? NULL : find_spec(&form, code, &at);
		if (!spec)
			return refuse(&form, argv, code, err);
		r = spec->set(optarg, spec->name, (char *)form.bases[at] + spec->offset, err);
		if (r < 0)
			return r;
	}
	*ret_operands = argv + optind;
	return 0;
}

void options_release(const struct option_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		char ***list = (char ***)((char *)set->to + set->specs[i].offset);

		if (set->specs[i].set != option_list && set->specs[i].set != option_pair)
			continue;
		strv_free(*list);
		*list = NULL;
	}
}

/* The help of an option, from HELP_COLUMN on, broken between words. */
static void print_wrapped(FILE *to, const char *text, size_t column)
{
	while (*text) {
		size_t size = strcspn(text, " ");

		if (column > HELP_COLUMN && column + 1 + size > HELP_WIDTH) {
			fprintf(to, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			fputc(' ', to);
			column++;
		}
		fwrite(text, 1, size, to);
		column += size;
		text += size;
		text += strspn(text, " ");
	}
	fputc('\n', to);
}

void options_print(FILE *to, const struct option_spec *specs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_(strbuf_release) struct strbuf head = STRBUF_INIT;

		if (!specs[i].help)
			continue;
		if (specs[i].letter)
			strbuf_addf(&head, "  -%c, --%s", specs[i].letter, specs[i].name);
		else
			strbuf_addf(&head, "      --%s", specs[i].name);
		if (specs[i].value)
			strbuf_addf(&head, " %s", specs[i].value);
		if (head.size + 2 > HELP_COLUMN)
			fprintf(to, "%s\n%*s", head.data, HELP_COLUMN, "");
		else
			fprintf(to, "%-*s", HELP_COLUMN, head.data);
		print_wrapped(to, specs[i].help, HELP_COLUMN);
	}
}

/* How many letters must be changed, put in or left out (Levenshtein's distance). */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_COMPARED + 1];
	size_t size = strlen(b);

	if (size > NAME_MAX_COMPARED || strlen(a) > NAME_MAX_COMPARED)
		return SIZE_MAX;
	for (size_t j = 0; j <= size; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= size; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[size];
}

const char *nearest_name(const char *text, const char *const *names)
{
	const char *best = NULL;
	size_t best_distance = strlen(text) < 4 ? 2 : 3; /* must be less than this */

	for (size_t i = 0; names[i]; i++) {
		size_t d = distance(text, names[i]);

		if (d < best_distance && d < strlen(names[i])) {
			best = names[i];
			best_distance = d;
		}
	}
	return best;
}
