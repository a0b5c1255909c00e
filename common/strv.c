/* SPDX-License-Identifier: MIT */
/* strv - lists of strings and of pairs; see strv.h */
#include "common/strv.h"

#include <stdarg.h>
#include <string.h>

#include "common/mem.h"

size_t strv_length(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

void strv_take(char ***list, char *text)
{
	size_t n = strv_length(*list);

	*list = mem_realloc(*list, (n + 2) * sizeof(char *));
	(*list)[n] = text;
	(*list)[n + 1] = NULL;
}

void strv_add(char ***list, const char *text)
{
	strv_take(list, mem_strdup(text));
}

void strv_addf(char ***list, const char *fmt, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	strv_take(list, text);
}

char **strv_copy(char *const *list)
{
	char **copy = NULL;

	for (size_t i = 0; list && list[i]; i++)
		strv_add(&copy, list[i]);
	return copy;
}

bool strv_contains(char *const *list, const char *text)
{
	for (size_t i = 0; list && list[i]; i++)
		if (!strcmp(list[i], text))
			return true;
	return false;
}

void strv_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static char **env_find(char *const *env, const char *name)
{
	size_t size = strlen(name);

	for (size_t i = 0; env && env[i]; i++)
		if (!strncmp(env[i], name, size) && env[i][size] == '=')
			return (char **)&env[i];
	return NULL;
}

const char *env_get(char *const *env, const char *name)
{
	char **at = env_find(env, name);

	return at ? *at + strlen(name) + 1 : NULL;
}

void env_set(char ***env, const char *name, const char *value)
{
	char **at = env_find(*env, name);

	if (at && value) {
		free(*at);
		*at = mem_printf("%s=%s", name, value);
	} else if (at) {
		free(*at);
		memmove(at, at + 1, (strv_length(at + 1) + 1) * sizeof(*at));
	} else if (value) {
		strv_addf(env, "%s=%s", name, value);
	}
}

bool env_name_valid(const char *name)
{
	return name[0] && !strchr(name, '=');
}

static struct pair *pairs_find(const struct pairs *pairs, const char *key)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (!strcmp(pairs->items[i].key, key))
			return &pairs->items[i];
	return NULL;
}

const char *pairs_get(const struct pairs *pairs, const char *key)
{
	const struct pair *pair = pairs_find(pairs, key);

	return pair ? pair->value : NULL;
}

void pairs_set(struct pairs *pairs, const char *key, const char *value)
{
	struct pair *pair = pairs_find(pairs, key);

	if (pair) {
		mem_replace(&pair->value, value);
		return;
	}
	GROW(pairs->items, pairs->count, pairs->room);
	pairs->items[pairs->count++] = (struct pair){ mem_strdup(key), mem_strdup(value) };
}

void pairs_remove(struct pairs *pairs, const char *key)
{
	struct pair *pair = pairs_find(pairs, key);

	if (!pair)
		return;
	free(pair->key);
	free(pair->value);
	pairs->count--;
	memmove(pair, pair + 1, (size_t)(pairs->items + pairs->count - pair) * sizeof(*pair));
}

void pairs_copy(const struct pairs *pairs, struct pairs *ret)
{
	*ret = (struct pairs){ 0 };
	for (size_t i = 0; i < pairs->count; i++)
		pairs_set(ret, pairs->items[i].key, pairs->items[i].value);
}

void pairs_release(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->items[i].key);
		free(pairs->items[i].value);
	}
	free(pairs->items);
	*pairs = (struct pairs){ 0 };
}
