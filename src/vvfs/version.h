/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VV_VERSION_H
#define VV_VERSION_H

#include "json.h"

/* version.get's result. Any thread. */
JsonObject *vv_version_json(void);

#endif
