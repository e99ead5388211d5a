/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a leader is asked: entries, and who belongs to the cluster. One change at a time; the next only when it is committed. */
#include "limits.h"
#include "raft_private.h"

static int submit_conf(VvRaft *raft, const struct raft_configuration *conf)
{
    struct raft_buffer buffer;
    int rv;

    g_assert(raft_configuration_encode(conf, &buffer) == 0);
    rv = vvr_submit(raft, VV_RAFT_CHANGE, buffer.base, buffer.len);
    raft_free(buffer.base);
    return rv;
}

/* The configuration with @id in @role, or without it if @role < 0. */
static int change_conf(VvRaft *raft, uint64_t id, int role)
{
    struct raft_configuration conf;
    char address[VVR_ADDRESS_BYTES];
    int rv;

    raft_configuration_init(&conf);
    for (unsigned i = 0; i < raft->raft.configuration.n; i++) {
        const struct raft_server *server = &raft->raft.configuration.servers[i];

        if (server->id == id && role < 0)
            continue;
        g_assert(raft_configuration_add(&conf, server->id, server->address, server->id == id ? role : server->role) == 0);
        if (server->id == id)
            role = -1;
    }
    if (role >= 0) {
        vvr_address(id, address);
        g_assert(raft_configuration_add(&conf, id, address, role) == 0);
    }
    rv = conf.n > VV_RAFT_MEMBERS_MAX ? -ENOSPC : submit_conf(raft, &conf);
    raft_configuration_close(&conf);
    return rv;
}

bool vvr_finish_promotion(VvRaft *raft)
{
    uint64_t id = raft->promoting;
    int status;

    if (id == 0 || !vv_raft_ready(raft) || vv_raft_change_pending(raft))
        return false;
    if (raft_catch_up(&raft->raft, id, &status) != 0 || status == RAFT_CATCH_UP_ABORTED || status == RAFT_CATCH_UP_NONE) {
        raft->promoting = 0;
        return false;
    }
    if (status != RAFT_CATCH_UP_FINISHED)
        return false;
    raft->promoting = 0;
    return change_conf(raft, id, RAFT_VOTER) == 0;
}

/* ---- as leader */

int vv_raft_propose(VvRaft *raft, uint64_t now_ms, const uint8_t *data, size_t data_bytes, uint64_t *ret_index)
{
    uint64_t index;
    int rv;

    if (!vv_raft_ready(raft) || raft_transferee(&raft->raft) != 0 || !vvr_enter(raft, now_ms))
        return -EAGAIN;
    g_assert(data_bytes <= VV_ENTRY_BYTES_MAX);
    index = raft_last_index(&raft->raft) + 1;
    rv = vvr_submit(raft, VV_RAFT_COMMAND, data, data_bytes);
    if (rv == 0)
        *ret_index = index;
    vvr_leave(raft);
    return rv;
}

static const struct raft_server *find_member(const VvRaft *raft, uint64_t id)
{
    for (unsigned i = 0; i < raft->raft.configuration.n; i++)
        if (raft->raft.configuration.servers[i].id == id)
            return &raft->raft.configuration.servers[i];
    return NULL;
}

static int may_change(const VvRaft *raft)
{
    if (raft->error != 0 || !vv_raft_ready(raft) || raft_transferee(&raft->raft) != 0)
        return -EAGAIN;
    return vv_raft_change_pending(raft) || raft->promoting != 0 ? -EBUSY : 0;
}

int vv_raft_add(VvRaft *raft, uint64_t now_ms, uint64_t id)
{
    int rv = may_change(raft);

    if (rv != 0)
        return rv;
    if (id == 0)
        return -EINVAL;
    if (find_member(raft, id))
        return -EEXIST;
    vvr_enter(raft, now_ms);
    rv = change_conf(raft, id, RAFT_STANDBY);
    vvr_leave(raft);
    return rv;
}

int vv_raft_promote(VvRaft *raft, uint64_t now_ms, uint64_t id)
{
    struct raft_event event = { .type = RAFT_CATCH_UP, .catch_up.server_id = id };
    const struct raft_server *member = find_member(raft, id);
    unsigned voters = 0;
    int rv = may_change(raft);

    if (rv != 0)
        return rv;
    if (!member)
        return -ENOENT;
    if (member->role == RAFT_VOTER)
        return -EEXIST;
    for (unsigned i = 0; i < raft->raft.configuration.n; i++)
        voters += raft->raft.configuration.servers[i].role == RAFT_VOTER;
    if (voters >= VV_VOTERS_MAX)
        return -ENOSPC;
    vvr_enter(raft, now_ms);
    raft->promoting = id;
    vvr_step_or_fail(raft, &event);
    vvr_leave(raft);
    return 0;
}

bool vv_raft_follows(const VvRaft *raft, uint64_t id)
{
    raft_index match;

    return vv_raft_ready(raft) && find_member(raft, id) && raft_match_index(&raft->raft, id, &match) == 0 &&
           match >= vv_raft_commit(raft);
}

/* @role < 0: removed */
static int take_vote(VvRaft *raft, uint64_t now_ms, uint64_t id, int role)
{
    const struct raft_server *member = find_member(raft, id);
    int rv = may_change(raft);

    if (rv == -EBUSY && !vv_raft_change_pending(raft)) {
        raft->promoting = 0;
        rv = 0;
    }
    if (rv != 0)
        return rv;
    if (!member)
        return -ENOENT;
    if (id == raft->config.id)
        return -EINVAL;
    if (role >= 0 && member->role == role)
        return -EEXIST;
    vvr_enter(raft, now_ms);
    rv = change_conf(raft, id, role);
    vvr_leave(raft);
    return rv;
}

int vv_raft_demote(VvRaft *raft, uint64_t now_ms, uint64_t id)
{
    return take_vote(raft, now_ms, id, RAFT_STANDBY);
}

int vv_raft_remove(VvRaft *raft, uint64_t now_ms, uint64_t id)
{
    return take_vote(raft, now_ms, id, -1);
}

int vv_raft_transfer(VvRaft *raft, uint64_t now_ms, uint64_t id)
{
    struct raft_event event = { .type = RAFT_TRANSFER, .transfer.server_id = id };
    const struct raft_server *member = find_member(raft, id);
    int rv = may_change(raft);

    if (rv != 0)
        return rv;
    if (!member || member->role != RAFT_VOTER || id == raft->config.id)
        return -ENOENT;
    vvr_enter(raft, now_ms);
    rv = vvr_step(raft, &event);
    vvr_leave(raft);
    return rv;
}
