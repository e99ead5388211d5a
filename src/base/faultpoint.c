/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "faultpoint.h"

void (*_Atomic vv_die_hook)(VvDiePoint point);
