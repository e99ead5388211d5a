/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who a certificate of a pool's authority says that somebody is: the one name in it,
 *     URI:vvfs:POOL-UUID:member:17        or        URI:vvfs:POOL-UUID:guest:17
 * Node ids are never reused, so an identity that was once evicted stays so. */
#ifndef VV_IDENTITY_H
#define VV_IDENTITY_H

#include "util.h"

#include <openssl/types.h>

#define VV_IDENTITY_TEXT_MAX 80u

typedef struct {
    VvUuid pool;
    uint64_t node; /* not 0 */
    bool guest;    /* no vote, no journal, no authority's key */
} VvIdentity;

char *vv_identity_format(const VvIdentity *identity);
/* Total; exactly what vv_identity_format() gives. */
bool vv_identity_parse(const char *text, VvIdentity *ret_identity);
/* Out of a certificate whose chain has been verified: one subject alternative name, and it is ours. Error: VV_ERROR_DENIED. */
bool vv_identity_of(const X509 *certificate, VvIdentity *ret_identity, GError **error);

#endif
