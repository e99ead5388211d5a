/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which vvfs this is, and what it stands on. */
#include "version.h"

#include "config.h"
#include "rpc.h"

#include <event2/event.h>

JsonObject *vv_version_json(void)
{
    JsonObject *result = json_object_new();
    JsonObject *formats, *libraries;
    g_autofree char *glib = g_strdup_printf("%u.%u.%u", glib_major_version, glib_minor_version, glib_micro_version);

    vv_json_set_string(result, "version", PACKAGE_VERSION);
    vv_json_set_u64(result, "protocol", VV_PROTOCOL_VERSION);
    formats = vv_json_set_object(result, "formats");
    vv_json_set_u64(formats, "label", 1);
    vv_json_set_u64(formats, "journal", 1);
    vv_json_set_u64(formats, "map", 1);
    libraries = vv_json_set_object(result, "libraries");
    vv_json_set_string(libraries, "glib", glib);
    vv_json_set_string(libraries, "json-glib", JSON_VERSION_S);
    vv_json_set_string(libraries, "libevent", event_get_version());
    return result;
}
