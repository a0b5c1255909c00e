/* SPDX-License-Identifier: MIT */
/*
 * ignore - which paths of a tree the rules of its .gitignore files leave out; see ignore.h
 *
 * A line becomes a rule: a literal that the name must begin with, then steps, each of which takes
 * one byte or is a wildcard of some reach. Most rules of real files ("build/", "/dist", "*.pyc")
 * are a literal and no steps, so that matching them is one memcmp.
 */
#include "capture/ignore.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/mem.h"

enum step_kind {
	STEP_BYTE, /* this byte */
	STEP_ANY,  /* ?: a byte, not '/' */
	STEP_SET,  /* [...]: a byte of the set */
	STEP_STAR, /* *: bytes other than '/' */
	STEP_DIRS, /* star star slash: nothing, or anything up to and with a '/' */
	STEP_DEEP, /* star star backslash slash: anything up to and with a '/' */
	STEP_REST, /* star star at the end: anything */
	STEP_END,  /* never stored: behind the last step */
};

struct step {
	uint8_t kind;
	uint8_t byte;
	uint32_t set; /* index into ignore_rules.sets */
};

struct byte_set {
	uint64_t bits[4];
};

/* Positions, not pointers: the arrays move while they grow. */
struct rule {
	bool negated;
	bool dirs_only;
	bool any_depth; /* match the last component, not the path from the rules' directory */
	bool suffix;    /* the literal is what the name ends with; no steps */
	uint32_t literal;
	uint32_t literal_size;
	uint32_t step;
	uint32_t step_count;
};

struct ignore_rules {
	struct rule *rules; /* in the order of the file */
	char *literals;
	struct step *steps;
	struct byte_set *sets;
	size_t rule_count, rule_room;
	size_t literal_size, literal_room;
	size_t step_count, step_room;
	size_t set_count, set_room;
};

/* The part of a pattern that is still to be read. */
struct cursor {
	const char *p;
	const char *end;
};

static bool cursor_sees(const struct cursor *at, const char *text)
{
	size_t size = strlen(text);

	return (size_t)(at->end - at->p) >= size && !memcmp(at->p, text, size);
}

/* Take one byte, or the one behind a backslash; false when there is none. */
static bool cursor_take(struct cursor *at, unsigned char *ret)
{
	if (cursor_sees(at, "\\"))
		at->p++;
	if (at->p == at->end)
		return false;
	*ret = (unsigned char)*at->p++;
	return true;
}

static void set_add(struct byte_set *set, unsigned first, unsigned last)
{
	for (unsigned byte = first; byte <= last; byte++)
		set->bits[byte / 64] |= UINT64_C(1) << byte % 64;
}

static bool set_has(const struct byte_set *set, unsigned char byte)
{
	return set->bits[byte / 64] >> byte % 64 & 1;
}

/*
 * git's own classes, as pairs of first and last byte: ASCII whatever the locale, and its "space"
 * lacks the vertical tab and the form feed.
 */
static const struct {
	const char *name;
	const char *ranges;
} classes[] = {
	{ "alnum", "09AZaz" },
	{ "alpha", "AZaz" },
	{ "blank", "\t\t  " },
	{ "cntrl", "\x01\x1f\x7f\x7f" },
	{ "digit", "09" },
	{ "graph", "!~" },
	{ "lower", "az" },
	{ "print", " ~" },
	{ "punct", "!/:@[`{~" },
	{ "space", "\t\n\r\r  " },
	{ "upper", "AZ" },
	{ "xdigit", "09AFaf" },
};

static bool set_add_class(struct byte_set *set, const char *name, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if (strlen(classes[i].name) != size || memcmp(classes[i].name, name, size))
			continue;
		for (const char *r = classes[i].ranges; *r; r += 2)
			set_add(set, (unsigned char)r[0], (unsigned char)r[1]);
		return true;
	}
	return false;
}

/*
 * Read "[:name:]". Without its ":]" the '[' stands for itself and nothing is read.
 * 1 when read, 0 when not there, -EINVAL when the whole pattern is malformed.
 */
static int set_parse_class(struct cursor *at, struct byte_set *set)
{
	const char *name, *close;

	if (!cursor_sees(at, "[:"))
		return 0;
	name = at->p + 2;
	close = memchr(name, ']', (size_t)(at->end - name));
	if (!close)
		return -EINVAL;
	if (close == name || close[-1] != ':')
		return 0;
	if (!set_add_class(set, name, (size_t)(close - name - 1)))
		return -EINVAL;
	at->p = close + 1;
	return 1;
}

/* Read a byte, a class or the rest of a range; *first is where a range may begin, or -1. */
static bool set_parse_member(struct cursor *at, struct byte_set *set, int *first)
{
	bool range = *first >= 0 && cursor_sees(at, "-") && at->end - at->p > 1 && at->p[1] != ']';
	unsigned char byte;
	int r;

	r = range ? 0 : set_parse_class(at, set);
	if (r) {
		*first = -1;
		return r > 0;
	}
	at->p += range;
	if (!cursor_take(at, &byte))
		return false;
	set_add(set, range ? (unsigned)*first : byte, byte);
	*first = range ? -1 : byte;
	return true;
}

/* Read a set behind its '[', with its ']'; false when it is malformed. */
static bool set_parse(struct cursor *at, struct byte_set *ret)
{
	struct byte_set set = { 0 };
	bool negated = cursor_sees(at, "!") || cursor_sees(at, "^");
	int first = -1;

	at->p += negated;
	do { /* a ']' that comes first stands for itself */
		if (!set_parse_member(at, &set, &first))
			return false;
	} while (!cursor_sees(at, "]"));
	at->p++;

	for (size_t i = 0; negated && i < ARRAY_SIZE(set.bits); i++)
		set.bits[i] = ~set.bits[i];
	set.bits['/' / 64] &= ~(UINT64_C(1) << '/' % 64);
	*ret = set;
	return true;
}

static void add_step(struct ignore_rules *rules, enum step_kind kind, unsigned char byte)
{
	GROW(rules->steps, rules->step_count, rules->step_room);
	rules->steps[rules->step_count++] = (struct step){ .kind = kind, .byte = byte };
}

static void add_literal(struct ignore_rules *rules, unsigned char byte)
{
	GROW(rules->literals, rules->literal_size, rules->literal_room);
	rules->literals[rules->literal_size++] = (char)byte;
}

static void add_set(struct ignore_rules *rules, const struct byte_set *set)
{
	add_step(rules, STEP_SET, 0);
	rules->steps[rules->step_count - 1].set = (uint32_t)rules->set_count;
	GROW(rules->sets, rules->set_count, rules->set_room);
	rules->sets[rules->set_count++] = *set;
}

/* Read a run of stars. Only two or more that are a whole component pass a '/'. */
static enum step_kind stars_parse(struct cursor *at, const char *pattern)
{
	bool opens = at->p == pattern || at->p[-1] == '/';
	const char *stars = at->p;

	while (cursor_sees(at, "*"))
		at->p++;
	if (!opens || at->p - stars < 2)
		return STEP_STAR;
	if (at->p == at->end)
		return STEP_REST;
	if (cursor_sees(at, "/")) {
		at->p++;
		return STEP_DIRS;
	}
	if (cursor_sees(at, "\\/")) {
		at->p += 2;
		return STEP_DEEP;
	}
	return STEP_STAR;
}

/* Append the literal and the steps of a pattern; false when it is malformed and matches nothing. */
static bool pattern_parse(struct ignore_rules *rules, struct cursor at)
{
	const char *pattern = at.p;
	size_t step = rules->step_count;
	unsigned char byte;
	struct byte_set set;

	while (at.p < at.end) {
		if (*at.p == '*') {
			add_step(rules, stars_parse(&at, pattern), 0);
		} else if (*at.p == '?') {
			at.p++;
			add_step(rules, STEP_ANY, 0);
		} else if (*at.p == '[') {
			at.p++;
			if (!set_parse(&at, &set))
				return false;
			add_set(rules, &set);
		} else {
			if (!cursor_take(&at, &byte))
				return false;
			if (rules->step_count == step)
				add_literal(rules, byte);
			else
				add_step(rules, STEP_BYTE, byte);
		}
	}
	return true;
}

/* Turn "*" and then only bytes, the most common wildcard, into a literal at the end. */
static void rule_make_suffix(struct ignore_rules *rules, struct rule *rule)
{
	const struct step *steps;

	if (!rule->any_depth || rule->literal_size || !rule->step_count)
		return;
	steps = rules->steps + rule->step;
	if (steps[0].kind != STEP_STAR)
		return;
	for (size_t i = 1; i < rule->step_count; i++)
		if (steps[i].kind != STEP_BYTE)
			return;
	for (size_t i = 1; i < rule->step_count; i++)
		add_literal(rules, steps[i].byte);
	rule->suffix = true;
	rule->literal_size = rule->step_count - 1;
	rule->step_count = 0;
	rules->step_count = rule->step;
}

/* Take off what stands around a pattern: '!', a '/' at its ends, a leading "in any directory". */
static struct cursor rule_parse_flags(struct cursor at, struct rule *rule)
{
	rule->negated = cursor_sees(&at, "!");
	at.p += rule->negated;
	rule->dirs_only = at.end > at.p && at.end[-1] == '/';
	at.end -= rule->dirs_only;

	rule->any_depth = !memchr(at.p, '/', (size_t)(at.end - at.p));
	at.p += cursor_sees(&at, "/");
	if (cursor_sees(&at, "**/") && !memchr(at.p + 3, '/', (size_t)(at.end - at.p - 3))) {
		rule->any_depth = true;
		at.p += 3;
	}
	return at;
}

/* Add the rule of a line that is cut to what counts. One that can match nothing is left out. */
static void rules_add(struct ignore_rules *rules, struct cursor at)
{
	size_t set = rules->set_count;
	struct rule rule = {
		.literal = (uint32_t)rules->literal_size,
		.step = (uint32_t)rules->step_count,
	};

	at = rule_parse_flags(at, &rule);
	if (at.p == at.end || !pattern_parse(rules, at)) {
		rules->literal_size = rule.literal;
		rules->step_count = rule.step;
		rules->set_count = set;
		return;
	}
	rule.literal_size = (uint32_t)(rules->literal_size - rule.literal);
	rule.step_count = (uint32_t)(rules->step_count - rule.step);
	rule_make_suffix(rules, &rule);
	GROW(rules->rules, rules->rule_count, rules->rule_room);
	rules->rules[rules->rule_count++] = rule;
}

/* Where the spaces at the end of a line begin; one behind a backslash is not such a space. */
static const char *trim_spaces(const char *line, const char *end)
{
	const char *cut = line;

	for (const char *p = line; p < end; p++) {
		if (*p == ' ')
			continue;
		if (*p == '\\' && p + 1 < end)
			p++;
		cut = p + 1;
	}
	return cut;
}

/* Add the rule of a line without its '\n'. git keeps lines as strings, hence the NUL. */
static void rules_add_line(struct ignore_rules *rules, const char *line, const char *end)
{
	const char *nul;

	if (line == end || *line == '#')
		return;
	if (end[-1] == '\r')
		end--;
	nul = memchr(line, '\0', (size_t)(end - line));
	if (nul)
		end = nul;
	rules_add(rules, (struct cursor){ line, trim_spaces(line, end) });
}

struct ignore_rules *ignore_rules_parse(const char *text, size_t size)
{
	struct ignore_rules *rules = NEW(struct ignore_rules);
	struct cursor at;

	if (!size || size > IGNORE_RULES_SIZE_MAX)
		return rules;
	at = (struct cursor){ text, text + size };
	if (cursor_sees(&at, "\xef\xbb\xbf"))
		at.p += 3;
	while (at.p < at.end) {
		const char *end = memchr(at.p, '\n', (size_t)(at.end - at.p));

		if (!end)
			end = at.end;
		rules_add_line(rules, at.p, end);
		at.p = end < at.end ? end + 1 : end;
	}
	return rules;
}

void ignore_rules_free(struct ignore_rules *rules)
{
	if (!rules)
		return;
	free(rules->rules);
	free(rules->literals);
	free(rules->steps);
	free(rules->sets);
	free(rules);
}

/* Does a step that takes one byte take this one? */
static bool step_takes(const struct ignore_rules *rules, const struct step *step, char byte)
{
	switch (step->kind) {
	case STEP_BYTE:
		return step->byte == (unsigned char)byte;
	case STEP_ANY:
		return byte != '/';
	default:
		return set_has(&rules->sets[step->set], (unsigned char)byte);
	}
}

/* A wildcard that was passed: the steps behind it, and where they were last tried. */
struct retry {
	const struct step *step; /* NULL when no wildcard was passed */
	const char *at;
};

/* Let the wildcard take one byte more. */
static bool retry_star(struct retry *star, const char *end)
{
	if (!star->step || star->at == end || *star->at == '/')
		return false;
	star->at++;
	return true;
}

/* Let the wildcard take one directory more. */
static bool retry_dirs(struct retry *dirs, const char *end)
{
	const char *slash = dirs->step ? memchr(dirs->at, '/', (size_t)(end - dirs->at)) : NULL;

	if (!slash)
		return false;
	dirs->at = slash + 1;
	return true;
}

/*
 * Does the rest of a name, from p on, match the steps of the rule?
 *
 * Only the last wildcard of each reach is ever tried again, so no pattern takes exponential time.
 * That is enough: what stands between two stars of one component is best placed as early as it
 * fits, and a star never passes a '/', so that where a component ends does not depend on it.
 */
static bool steps_match(
	const struct ignore_rules *rules, const struct rule *rule, const char *p, const char *end)
{
	const struct step *step = rules->steps + rule->step, *last = step + rule->step_count;
	struct retry star = { 0 }, dirs = { 0 };

	for (;;) {
		switch (step < last ? (enum step_kind)step->kind : STEP_END) {
		case STEP_END:
			if (p == end)
				return true;
			break;
		case STEP_REST:
			return true;
		case STEP_STAR:
			star = (struct retry){ ++step, p };
			continue;
		case STEP_DIRS:
		case STEP_DEEP:
			star = (struct retry){ 0 };
			dirs = (struct retry){ step + 1, p };
			if (step->kind == STEP_DEEP)
				break;
			step++;
			continue;
		default:
			if (p == end || !step_takes(rules, step, *p))
				break;
			step++;
			p++;
			continue;
		}
		if (retry_star(&star, end)) {
			step = star.step;
			p = star.at;
		} else if (retry_dirs(&dirs, end)) {
			star = (struct retry){ 0 };
			step = dirs.step;
			p = dirs.at;
		} else {
			return false;
		}
	}
}

static bool same_bytes(const char *name, const struct ignore_rules *rules, const struct rule *rule)
{
	return !rule->literal_size ||
	       !memcmp(name, rules->literals + rule->literal, rule->literal_size);
}

static bool rule_matches(const struct ignore_rules *rules, const struct rule *rule,
	const char *name, const char *end)
{
	size_t size = (size_t)(end - name);

	if (size < rule->literal_size)
		return false;
	if (rule->suffix)
		return same_bytes(end - rule->literal_size, rules, rule);
	if (!same_bytes(name, rules, rule))
		return false;
	if (!rule->step_count)
		return size == rule->literal_size;
	return steps_match(rules, rule, name + rule->literal_size, end);
}

bool ignore_match(const struct ignore_level *level, const char *path, size_t path_len, bool is_dir)
{
	const char *end = path + path_len;
	const char *slash = memrchr(path, '/', path_len);
	const char *name = slash ? slash + 1 : path;

	for (; level; level = level->parent) {
		const struct ignore_rules *rules = level->rules;

		assert(level->base_len <= path_len);
		for (size_t i = rules ? rules->rule_count : 0; i-- > 0;) {
			const struct rule *rule = &rules->rules[i];

			if (rule->dirs_only && !is_dir)
				continue;
			if (rule_matches(rules, rule,
				    rule->any_depth ? name : path + level->base_len, end))
				return !rule->negated;
		}
	}
	return false;
}
