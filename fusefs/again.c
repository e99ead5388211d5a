/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Was it done before? See again.h. */
#include "again.h"

#include <inttypes.h>

void vv_again_begin(const VvFuse *fuse, VvAgain *ret_again)
{
    *ret_again = (VvAgain){ 0 };
    if (fuse->takeover.connection_id == 0 || !fuse->takeover.connection.can_resend)
        return;
    g_snprintf(ret_again->id, sizeof ret_again->id, VV_MOUNT_REQUEST_PREFIX "%016" PRIx64 "-%" PRIu64,
        fuse->takeover.connection_id, vv_request_unique);
    ret_again->request.id = ret_again->id;
}

bool vv_again_is_done(VvFuse *fuse, const VvAgain *again)
{
    if (!vv_request_again || again->request.id == NULL)
        return false;
    g_autofree char *result = vv_meta_request_result(fuse->meta, again->id);
    return result != NULL;
}

void vv_again_clear(VvAgain *again)
{
    g_clear_pointer(&again->request.ret_previous, g_free);
}
