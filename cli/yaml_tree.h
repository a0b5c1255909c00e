/* SPDX-License-Identifier: MIT */
/*
 * yaml_tree - a YAML or JSON text as a tree of nodes that know their line
 *
 * The only file that sees libyaml. One document; mappings have scalar keys, each once; aliases
 * share the node they name (nothing is copied, so nothing explodes), and cannot reach around
 * themselves. JSON is read as what it is in YAML, a flow mapping, so that its nodes have lines too.
 *
 * Pure: any bytes (fuzzed). Bounded: YAML_TREE_DEPTH_MAX levels, YAML_TREE_NODES_MAX nodes.
 *
 * Errors: -EINVAL with "NAME:LINE:COLUMN: what is wrong".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define YAML_TREE_DEPTH_MAX 64
#define YAML_TREE_NODES_MAX 100000u

enum yaml_tree_kind { YAML_TREE_SCALAR, YAML_TREE_SEQUENCE, YAML_TREE_MAPPING };

struct yaml_node {
	enum yaml_tree_kind kind;
	char *text;  /* of a scalar */
	bool plain;  /* a scalar without quotes: null, true and numbers mean what they say */
	size_t line; /* from 1 */
	size_t column;
	struct yaml_node **children; /* items; in a mapping key, value, key, value, ... */
	size_t count;
	size_t room;
};

struct yaml_tree {
	struct yaml_node **nodes; /* all of them; owned */
	size_t count;
	size_t room;
	const struct yaml_node *root;
};

int yaml_tree_parse(
	const char *text, size_t size, const char *name, struct yaml_tree *ret, struct error *err);
void yaml_tree_release(struct yaml_tree *tree);

/* A plain ~, null or nothing. */
bool yaml_node_is_null(const struct yaml_node *node);
/* A plain true/yes/on or false/no/off, in any case; -EINVAL for others. */
int yaml_node_bool(const struct yaml_node *node, bool *ret);
