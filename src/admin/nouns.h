/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rows of the table run, one .c file per noun. @ret_exit is 0 when they are called. */
#ifndef VV_ADMIN_NOUNS_H
#define VV_ADMIN_NOUNS_H

#include "call.h"
#include "command.h"
#include "output.h"

/* pool.c */
bool vv_run_pool_create(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_list(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_status(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_settings(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_check(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_scrub(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_pool_destroy(VvInvocation *inv, int *ret_exit, GError **error);

/* disk.c */
bool vv_run_disk_remove(VvInvocation *inv, int *ret_exit, GError **error);

/* lun.c; attach and detach serve snapshots too */
bool vv_run_lun_resize(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_lun_rename(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_lun_repack(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_remove(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_attach(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_detach(VvInvocation *inv, int *ret_exit, GError **error);

/* snapshot.c */
bool vv_run_snapshot_create(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_remove(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_rename(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_set(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_restore(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_refresh(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_snapshot_prune(VvInvocation *inv, int *ret_exit, GError **error);

/* node.c */
bool vv_run_node_list(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_node_invite(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_node_join(VvInvocation *inv, int *ret_exit, GError **error);

/* share.c */
bool vv_run_share_show(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_lun_clone(VvInvocation *inv, int *ret_exit, GError **error);

/* lease.c */
bool vv_run_lease_list(VvInvocation *inv, int *ret_exit, GError **error);

/* job.c */
bool vv_run_job_wait(VvInvocation *inv, int *ret_exit, GError **error);

/* watch.c */
bool vv_run_stats(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_top(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_events(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_doctor(VvInvocation *inv, int *ret_exit, GError **error);
bool vv_run_version(VvInvocation *inv, int *ret_exit, GError **error);

#endif
