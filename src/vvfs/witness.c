/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See witness.h. */
#include "witness.h"

#include "error.h"
#include "node_setup.h"

bool vv_witness_is_one(const char *directory)
{
    g_auto(VvJoined) joined = { 0 };

    return vv_nodes_exist(directory) && vv_nodes_load(directory, &joined, NULL) && joined.role == VV_TOKEN_WITNESS;
}

bool vv_witness_check_role(const char *directory, const char *name, bool is_one, bool as_witness, GError **error)
{
    g_autofree char *hint = NULL;

    if (is_one == as_witness)
        return true;
    hint = is_one ? g_strdup_printf("vvfs --witness %s", directory) : g_strdup_printf("vvfs %s MOUNTPOINT", directory);
    vv_set_error(error, VV_ERROR_CONFLICT, name, hint,
        is_one ? "this node is a witness of pool %s: it votes, and has no mount" : "this node is no witness of pool %s: it is mounted", name);
    return false;
}

bool vv_witness_check(const char *directory, const char *name, bool as_witness, GError **error)
{
    return vv_witness_check_role(directory, name, vv_witness_is_one(directory), as_witness, error);
}
