/* SPDX-License-Identifier: MIT */
/* test - cmocka with the headers it wants first */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
