/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scrub's thread: reads everything when asked, and tells what anybody found damaged. For src/engine: see engine.h. */
#ifndef VV_SCRUB_H
#define VV_SCRUB_H

#include "engine.h"

typedef struct VvScrub VvScrub;
VvScrub *vv_scrub_new(VvPool *pool);
bool vv_scrub_start(VvScrub *scrub, GError **error);
void vv_scrub_stop(VvScrub *scrub); /* after the MiB under way; what is left is done at the next start */
void vv_scrub_free(VvScrub *scrub);
void vv_scrub_added(VvScrub *scrub, const VvJob *job); /* from meta's hook; of any kind */
void vv_scrub_kick(VvScrub *scrub); /* there may be work. A leaf lock. [any] */

#endif
