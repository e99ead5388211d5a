/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings as people type them: KEY=VALUE of `lun set`, `lun create` and `snapshot set`. Crews' threads (user names are
 * looked up). */
#ifndef VV_SETTINGS_H
#define VV_SETTINGS_H

#include "catalog.h"
#include "json.h"

#include <glib.h>
#include <stdbool.h>

/* All-or-nothing; error: usage (names the keys there are, or what the key takes), unsupported. */
bool vv_lun_settings_parse(JsonObject *settings, uint32_t *ret_mask, VvLunProps *ret_props, GError **error);
/* Every key with its value as it can be typed. */
void vv_lun_settings_format(const VvLunProps *props, JsonObject *settings);

/* "on", "off", a date (2026-12-24, here) or a time (RFC 3339). */
bool vv_keep_parse(const char *text, uint64_t *ret_until_ns, GError **error);
char *vv_keep_format(uint64_t until_ns); /* newly allocated */

#endif
