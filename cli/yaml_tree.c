/* SPDX-License-Identifier: MIT */
/* yaml_tree - a YAML or JSON text as a tree of nodes that know their line; see yaml_tree.h */
#include "cli/yaml_tree.h"

#include <string.h>
#include <yaml.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/strbuf.h"

#define JSON_ESCAPE_SIZE 6 /* \uXXXX */

struct anchor {
	char *name;
	struct yaml_node *node;
};

struct reader {
	yaml_parser_t parser;
	const char *name;
	struct yaml_tree tree;
	struct anchor *anchors;
	size_t anchor_count;
	size_t anchor_room;
	struct error *err;
};

static void node_free(struct yaml_node *node)
{
	free(node->text);
	free(node->children);
	free(node);
}

void yaml_tree_release(struct yaml_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		node_free(tree->nodes[i]);
	free(tree->nodes);
	*tree = (struct yaml_tree){ 0 };
}

static void reader_release(struct reader *reader)
{
	yaml_parser_delete(&reader->parser);
	yaml_tree_release(&reader->tree);
	for (size_t i = 0; i < reader->anchor_count; i++)
		free(reader->anchors[i].name);
	free(reader->anchors);
}

static int fault(struct reader *reader, const yaml_mark_t *mark, const char *what)
{
	return error_set(reader->err, -EINVAL, reader->name, "%s:%zu:%zu: %s", reader->name,
		mark->line + 1, mark->column + 1, what);
}

static int next_event(struct reader *reader, yaml_event_t *ret)
{
	const yaml_parser_t *parser = &reader->parser;

	if (yaml_parser_parse(&reader->parser, ret))
		return 0;
	if (parser->error == YAML_MEMORY_ERROR)
		abort();
	/* The reader's own errors (bytes that are not UTF-8) have no mark of their problem. */
	return fault(reader,
		parser->error == YAML_READER_ERROR ? &parser->mark : &parser->problem_mark,
		parser->problem ? parser->problem : "not YAML");
}

static struct yaml_node *new_node(struct reader *reader, const yaml_event_t *event)
{
	struct yaml_node *node = NEW(struct yaml_node);

	node->line = event->start_mark.line + 1;
	node->column = event->start_mark.column + 1;
	GROW(reader->tree.nodes, reader->tree.count, reader->tree.room);
	reader->tree.nodes[reader->tree.count++] = node;
	return node;
}

static void add_child(struct yaml_node *node, struct yaml_node *child)
{
	GROW(node->children, node->count, node->room);
	node->children[node->count++] = child;
}

/* After the node is whole, so that an alias cannot lead back into it. */
static void name_anchor(struct reader *reader, const char *name, struct yaml_node *node)
{
	if (!name)
		return;
	GROW(reader->anchors, reader->anchor_count, reader->anchor_room);
	reader->anchors[reader->anchor_count++] = (struct anchor){ mem_strdup(name), node };
}

static int find_alias(struct reader *reader, const yaml_event_t *event, struct yaml_node **ret)
{
	const char *name = (const char *)event->data.alias.anchor;

	/* Names may be given anew: the last one counts. */
	for (size_t i = reader->anchor_count; i-- > 0;)
		if (!strcmp(reader->anchors[i].name, name)) {
			*ret = reader->anchors[i].node;
			return 0;
		}
	return fault(reader, &event->start_mark, "an alias of an anchor that is not there (yet)");
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct yaml_node **ret)
{
	const char *text = (const char *)event->data.scalar.value;
	struct yaml_node *node;

	if (strlen(text) != event->data.scalar.length)
		return fault(reader, &event->start_mark, "a NUL character in a text");
	node = new_node(reader, event);
	node->kind = YAML_TREE_SCALAR;
	node->text = mem_strdup(text);
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	name_anchor(reader, (const char *)event->data.scalar.anchor, node);
	*ret = node;
	return 0;
}

/* The key that was added last: a scalar that is not there already. */
static int check_key(struct reader *reader, const struct yaml_node *mapping)
{
	const struct yaml_node *key = mapping->children[mapping->count - 1];
	yaml_mark_t mark = { 0, key->line - 1, key->column - 1 };

	if (key->kind != YAML_TREE_SCALAR)
		return fault(reader, &mark, "a key must be a text");
	for (size_t i = 0; i + 1 < mapping->count; i += 2)
		if (!strcmp(mapping->children[i]->text, key->text)) {
			_cleanup_(freep) char *what =
				mem_printf("the key \"%.100s\" is there twice (first in line %zu)",
					key->text, mapping->children[i]->line);

			return fault(reader, &mark, what);
		}
	return 0;
}

static int read_node(
	struct reader *reader, yaml_event_t *event, unsigned depth, struct yaml_node **ret);

/* Items up to the end event. */
static int read_children(struct reader *reader, struct yaml_node *node, unsigned depth)
{
	for (;;) {
		_cleanup_(yaml_event_delete) yaml_event_t event = { 0 };
		struct yaml_node *child = NULL;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
			return 0;
		r = read_node(reader, &event, depth + 1, &child);
		if (r < 0)
			return r;
		add_child(node, child);
		if (node->kind == YAML_TREE_MAPPING && node->count % 2) {
			r = check_key(reader, node);
			if (r < 0)
				return r;
		}
	}
}

static int read_node(
	struct reader *reader, yaml_event_t *event, unsigned depth, struct yaml_node **ret)
{
	struct yaml_node *node;
	int r;

	if (depth > YAML_TREE_DEPTH_MAX)
		return fault(reader, &event->start_mark, "nested too deep");
	if (reader->tree.count >= YAML_TREE_NODES_MAX)
		return fault(reader, &event->start_mark, "too many values");
	if (event->type == YAML_ALIAS_EVENT)
		return find_alias(reader, event, ret);
	if (event->type == YAML_SCALAR_EVENT)
		return read_scalar(reader, event, ret);
	node = new_node(reader, event);
	node->kind =
		event->type == YAML_MAPPING_START_EVENT ? YAML_TREE_MAPPING : YAML_TREE_SEQUENCE;
	r = read_children(reader, node, depth);
	if (r < 0)
		return r;
	name_anchor(reader,
		(const char *)(node->kind == YAML_TREE_MAPPING ? event->data.mapping_start.anchor
							       : event->data.sequence_start.anchor),
		node);
	*ret = node;
	return 0;
}

/* Events between documents: stream start, document start and end. */
static bool is_between(yaml_event_type_t type)
{
	return type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
	       type == YAML_DOCUMENT_END_EVENT;
}

static int read_document(struct reader *reader)
{
	struct yaml_node *root = NULL;

	for (;;) {
		_cleanup_(yaml_event_delete) yaml_event_t event = { 0 };
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_STREAM_END_EVENT)
			break;
		if (is_between(event.type))
			continue;
		if (root)
			return fault(
				reader, &event.start_mark, "a second document; only one is read");
		r = read_node(reader, &event, 1, &root);
		if (r < 0)
			return r;
	}
	reader->tree.root = root;
	return 0;
}

/* The four digits of a \uXXXX at text; -1 when it is none. */
static long json_escape(const char *text, size_t size)
{
	char digits[5] = "";
	char *end;
	long number;

	if (size < JSON_ESCAPE_SIZE || text[0] != '\\' || text[1] != 'u')
		return -1;
	memcpy(digits, text + 2, 4);
	number = strtol(digits, &end, 16);
	return end == digits + 4 && digits[0] != ' ' && digits[0] != '-' && digits[0] != '+'
		       ? number
		       : -1;
}

/* JSON writes what is above U+FFFF as two escapes, which YAML does not know: make one of them. */
static void join_surrogates(const char *text, size_t size, struct strbuf *ret)
{
	for (size_t i = 0; i < size; i++) {
		long high = json_escape(text + i, size - i);
		long low = high < 0xd800 || high > 0xdbff || size - i < JSON_ESCAPE_SIZE * 2
				   ? -1
				   : json_escape(text + i + JSON_ESCAPE_SIZE,
					     size - i - JSON_ESCAPE_SIZE);

		if (low >= 0xdc00 && low <= 0xdfff) {
			strbuf_addf(ret, "\\U%08lx",
				0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
			i += JSON_ESCAPE_SIZE * 2 - 1;
		} else if (text[i] == '\\' && i + 1 < size) {
			strbuf_add(ret, text + i++, 2);
		} else {
			strbuf_addc(ret, text[i]);
		}
	}
}

static bool looks_like_json(const char *text, size_t size)
{
	size_t at = 0;

	while (at < size && strchr(" \t\r\n", text[at]) && text[at])
		at++;
	return at < size && text[at] == '{';
}

int yaml_tree_parse(
	const char *text, size_t size, const char *name, struct yaml_tree *ret, struct error *err)
{
	_cleanup_(reader_release) struct reader reader = { .name = name, .err = err };
	_cleanup_(strbuf_release) struct strbuf joined = STRBUF_INIT;
	int r;

	if (!yaml_parser_initialize(&reader.parser))
		abort();
	if (looks_like_json(text, size)) {
		join_surrogates(text, size, &joined);
		text = joined.data;
		size = joined.size;
	}
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
	r = read_document(&reader);
	if (r < 0)
		return r;
	*ret = reader.tree;
	reader.tree = (struct yaml_tree){ 0 };
	return 0;
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		if (!strcasecmp(text, words[i]))
			return true;
	return false;
}

bool yaml_node_is_null(const struct yaml_node *node)
{
	static const char *const words[] = { "", "~", "null", NULL };

	return node->kind == YAML_TREE_SCALAR && node->plain && is_one_of(node->text, words);
}

int yaml_node_bool(const struct yaml_node *node, bool *ret)
{
	static const char *const yes[] = { "true", "yes", "on", NULL };
	static const char *const no[] = { "false", "no", "off", NULL };
	bool plain = node->kind == YAML_TREE_SCALAR && node->plain;

	if (!plain || (!is_one_of(node->text, yes) && !is_one_of(node->text, no)))
		return -EINVAL;
	*ret = is_one_of(node->text, yes);
	return 0;
}
