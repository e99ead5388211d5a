/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libraft driven: one event in, its update carried out, then whatever follows from that (apply, the first entry of a term, promotion). */
#include "entry.h"
#include "limits.h"
#include "message.h"
#include "raft_private.h"

G_STATIC_ASSERT(VV_RAFT_MEMBERS_MAX == VV_NODES_MAX);

void vvr_fail(VvRaft *raft, int error)
{
    if (raft->error == 0)
        raft->error = error;
}

static int from_libraft(int rv)
{
    switch (rv) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return -ENOMEM;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
        return -EAGAIN;
    case RAFT_CANTCHANGE:
    case RAFT_BUSY:
        return -EBUSY;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return -ENOENT;
    case RAFT_MALFORMED:
    case RAFT_CORRUPT:
    case RAFT_SHUTDOWN: /* a committed entry contradicts the leader's */
        return -EUCLEAN;
    default:
        return -EIO;
    }
}

VvRaft *vv_raft_new(const VvRaftConfig *config, const VvRaftOps *ops, void *user)
{
    VvRaft *raft = g_new0(VvRaft, 1);
    char address[VVR_ADDRESS_BYTES];

    raft->config = *config;
    if (raft->config.chunk_bytes == 0)
        raft->config.chunk_bytes = VV_SYNC_CHUNK_BYTES;
    raft->ops = *ops;
    raft->user = user;
    raft->next_ticket = 1;
    raft->writes = g_array_new(FALSE, FALSE, sizeof(VvRaftWrite));
    raft->confs = g_array_new(FALSE, FALSE, sizeof(VvRaftConf));
    vvr_address(config->id, address);
    g_assert(raft_init(&raft->raft, NULL, NULL, config->id, address) == 0);
    raft_seed(&raft->raft, config->seed);
    raft_set_pre_vote(&raft->raft, true);
    if (config->inflight_max > 0)
        raft_set_max_inflight_entries(&raft->raft, config->inflight_max);
    return raft;
}

static void forget_confs(VvRaft *raft)
{
    for (guint i = 0; i < raft->confs->len; i++)
        g_bytes_unref(g_array_index(raft->confs, VvRaftConf, i).bytes);
    g_array_set_size(raft->confs, 0);
}

void vv_raft_free(VvRaft *raft)
{
    if (!raft)
        return;
    raft_close(&raft->raft, NULL);
    forget_confs(raft);
    g_array_free(raft->confs, TRUE);
    g_array_free(raft->writes, TRUE);
    g_clear_pointer(&raft->fetch.conf, g_bytes_unref);
    g_free(raft);
}

void vvr_remember_conf(VvRaft *raft, uint64_t index, const uint8_t *data, size_t length)
{
    VvRaftConf conf = { .index = index, .bytes = g_bytes_new(data, length) };

    g_array_append_val(raft->confs, conf);
}

GBytes *vvr_conf_at(const VvRaft *raft, uint64_t index, uint64_t *ret_index)
{
    for (guint i = raft->confs->len; i-- > 0;) {
        const VvRaftConf *conf = &g_array_index(raft->confs, VvRaftConf, i);

        if (conf->index <= index) {
            *ret_index = conf->index;
            return conf->bytes;
        }
    }
    return NULL;
}

/* ---- one step */

/* Tell the log; what is replaced by this write does not become durable any more as what it was (L3). */
static void append(VvRaft *raft, const struct raft_update *update)
{
    unsigned count = update->entries.n;
    g_autofree VvRaftEntry *entries = g_new(VvRaftEntry, count);
    VvRaftWrite write = { .ticket = raft->next_ticket++, .last = update->entries.index + count - 1 };
    int rv;

    for (unsigned i = 0; i < count; i++) {
        const struct raft_entry *entry = &update->entries.batch[i];

        entries[i] = (VvRaftEntry) { .index = update->entries.index + i, .term = entry->term, .type = (VvRaftEntryType) entry->type,
            .data = entry->buf.base, .data_bytes = entry->buf.len };
    }
    for (guint i = 0; i < raft->writes->len; i++) {
        VvRaftWrite *before = &g_array_index(raft->writes, VvRaftWrite, i);

        before->last = MIN(before->last, update->entries.index - 1);
    }
    g_array_append_val(raft->writes, write);
    rv = raft->ops.append(raft->user, entries, count, write.ticket);
    if (rv != 0)
        vvr_fail(raft, rv);
}

static void begin_install(VvRaft *raft, struct raft_update *update)
{
    gsize length;
    const uint8_t *conf = g_bytes_get_data(raft->fetch.conf, &length);
    int rv;

    raft_configuration_close(&update->snapshot.metadata.configuration);
    raft->fetch.installing = true;
    g_array_set_size(raft->writes, 0);
    rv = raft->ops.sync_install(raft->user, raft->fetch.index, raft->fetch.index_term, raft->fetch.conf_index, conf, length);
    if (rv != 0)
        vvr_fail(raft, rv);
}

int vvr_step(VvRaft *raft, struct raft_event *event)
{
    struct raft_update update = { 0 };
    const struct raft_entry *given = event->type == RAFT_SUBMIT    ? event->submit.entries
                                     : event->type == RAFT_RECEIVE ? event->receive.message->append_entries.entries
                                                                   : NULL;
    void *batch = NULL;
    int rv;

    event->time = raft->now_ms;
    rv = raft_step(&raft->raft, event, &update);
    if (rv != 0)
        return from_libraft(rv);
    if (update.flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) {
        rv = raft->ops.store_vote(raft->user, raft_current_term(&raft->raft), raft_voted_for(&raft->raft));
        if (rv != 0)
            vvr_fail(raft, rv);
    }
    if (raft->error == 0 && (update.flags & RAFT_UPDATE_ENTRIES)) {
        append(raft, &update);
        batch = update.entries.batch[0].batch;
        if (VV_RAFT_COPIES && update.entries.batch != given)
            raft_free(update.entries.batch);
    }
    for (unsigned i = 0; raft->error == 0 && (update.flags & RAFT_UPDATE_MESSAGES) && i < update.messages.n; i++)
        vvr_send(raft, &update.messages.batch[i]);
    raft_free(batch);
    if (raft->error == 0 && (update.flags & RAFT_UPDATE_SNAPSHOT))
        begin_install(raft, &update);
    raft->commit = MAX(raft->commit, raft_commit_index(&raft->raft));
    return 0;
}

/* An error of libraft that is not the caller's ends this instance. */
void vvr_step_or_fail(VvRaft *raft, struct raft_event *event)
{
    int rv = vvr_step(raft, event);

    if (rv != 0)
        vvr_fail(raft, rv);
}

/* ---- what follows from a step */

static void settle_conf(VvRaft *raft, const VvRaftEntry *entry)
{
    struct raft_event event = { .type = RAFT_CONFIGURATION };
    g_autoptr(GBytes) bytes = g_bytes_new(entry->data, entry->data_bytes);

    vvr_remember_conf(raft, entry->index, entry->data, entry->data_bytes);
    if (raft->raft.configuration_uncommitted_index != entry->index)
        return;
    event.configuration.index = entry->index;
    if (vvr_conf_decode(bytes, &event.configuration.conf) != 0) {
        vvr_fail(raft, -EUCLEAN);
        return;
    }
    vvr_step_or_fail(raft, &event);
    if (VV_RAFT_COPIES)
        raft_configuration_close(&event.configuration.conf);
}

/* True: something was applied. */
static bool apply(VvRaft *raft)
{
    uint64_t before = raft->applied;

    while (raft->error == 0 && !raft->fetch.installing && raft->applied < MIN(raft->commit, raft->raft.last_stored)) {
        VvRaftEntry entry;
        int rv = raft->ops.read(raft->user, raft->applied + 1, &entry);

        if (rv != 0) {
            vvr_fail(raft, rv);
            break;
        }
        if (!raft->ops.apply(raft->user, &entry))
            break;
        raft->applied++;
        if (entry.type == VV_RAFT_CHANGE && (rv = raft->ops.read(raft->user, raft->applied, &entry)) == 0)
            settle_conf(raft, &entry);
    }
    return raft->applied != before;
}

int vvr_submit(VvRaft *raft, VvRaftEntryType type, const uint8_t *data, size_t data_bytes)
{
    struct raft_event event = { .type = RAFT_SUBMIT };
    struct raft_entry entry = { .term = raft_current_term(&raft->raft), .type = (enum raft_entry_type) type };
    int rv;

    entry.batch = raft_malloc(MAX(data_bytes, 1));
    g_assert(entry.batch);
    if (data_bytes > 0)
        memcpy(entry.batch, data, data_bytes);
    entry.buf.base = entry.batch;
    entry.buf.len = data_bytes;
    event.submit.entries = &entry;
    event.submit.n = 1;
    rv = vvr_step(raft, &event);
    if (rv != 0)
        raft_free(entry.batch);
    return rv;
}

static bool submit_noop(VvRaft *raft)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvEntry noop = { .kind = VV_ENTRY_NOOP };

    if (raft_state(&raft->raft) != RAFT_LEADER || raft->noop_term == raft_current_term(&raft->raft))
        return false;
    vv_entry_encode(bytes, &noop);
    raft->noop_term = raft_current_term(&raft->raft);
    raft->noop_index = raft_last_index(&raft->raft) + 1;
    raft->promoting = 0;
    if (vvr_submit(raft, VV_RAFT_COMMAND, bytes->data, bytes->len) != 0)
        vvr_fail(raft, -EIO);
    return true;
}

static void tell(VvRaft *raft)
{
    uint64_t term = raft_current_term(&raft->raft), leader = vv_raft_leader(raft);
    int state = (int) raft_state(&raft->raft);
    bool ready = vv_raft_ready(raft);

    if (raft->told.term == term && raft->told.leader == leader && raft->told.state == state && raft->told.ready == ready)
        return;
    raft->told.term = term;
    raft->told.leader = leader;
    raft->told.state = state;
    raft->told.ready = ready;
    raft->ops.changed(raft->user);
}

/* Of the entry at @index, which is in the log or the base's; 0: of neither. */
static uint64_t term_at(VvRaft *raft, uint64_t index)
{
    VvRaftEntry entry;

    if (index == raft->base_index)
        return raft->base_term;
    return raft->ops.read(raft->user, index, &entry) == 0 ? entry.term : 0;
}

/* libraft tells a commit with the next append, which may be a heartbeat away, and until then what is done is seen by the leader alone. So
 * who is known to have the entries gets an empty append behind them: for Raft an early heartbeat. Who lags gets appends anyway. */
static void tell_commit(VvRaft *raft)
{
    const struct raft_configuration *conf = &raft->raft.configuration;

    if (!raft->config.prompt || raft_state(&raft->raft) != RAFT_LEADER)
        return;
    for (unsigned i = 0; i < MIN(conf->n, VV_RAFT_MEMBERS_MAX); i++) {
        struct raft_message message = { .type = RAFT_APPEND_ENTRIES, .server_id = conf->servers[i].id };
        bool told = raft->told_commits[i].id == message.server_id && raft->told_commits[i].commit == raft->commit;
        raft_index match;

        if (told || message.server_id == raft->config.id || raft_match_index(&raft->raft, message.server_id, &match) != 0 ||
            match < raft->commit)
            continue;
        message.append_entries = (struct raft_append_entries){ .version = raft->append_version,
            .term = raft_current_term(&raft->raft),
            .prev_log_index = match,
            .prev_log_term = term_at(raft, match),
            .leader_commit = raft->commit };
        raft->told_commits[i].id = message.server_id;
        raft->told_commits[i].commit = raft->commit;
        if (message.append_entries.prev_log_term != 0)
            vvr_send(raft, &message);
    }
}

bool vvr_enter(VvRaft *raft, uint64_t now_ms)
{
    g_assert(!raft->busy);
    if (!raft->started || raft->error != 0)
        return false;
    raft->now_ms = MAX(raft->now_ms, now_ms);
    raft->busy = true;
    return true;
}

void vvr_leave(VvRaft *raft)
{
    bool more = true;

    while (more && raft->error == 0) {
        more = submit_noop(raft);
        more |= apply(raft);
        more |= vvr_finish_promotion(raft);
    }
    if (raft->error == 0) {
        tell_commit(raft);
        tell(raft);
    }
    raft->busy = false;
}

/* ---- events */

/* The answer to a message of an old term: it tells our term and nothing that could be taken for an acknowledgement. */
static void answer_term(VvRaft *raft, uint64_t to)
{
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES_RESULT, .server_id = to };

    message.append_entries_result.term = raft_current_term(&raft->raft);
    message.append_entries_result.rejected = UINT64_MAX;
    vvr_send(raft, &message);
}

/* In pieces that libraft handles right (raft_filter.c, 4). It wants one batch a message and frees it: each piece gets a copy. */
static void receive_append(VvRaft *raft, struct raft_message *message)
{
    struct raft_append_entries given = message->append_entries, whole = given;
    unsigned done = 0;

    vvr_cut_base(raft, &whole);
    do {
        unsigned count = vvr_piece(&whole, done);
        struct raft_event event = { .type = RAFT_RECEIVE, .receive.message = message };
        size_t bytes = 0, used = 0;
        uint8_t *batch;

        for (unsigned i = done; i < done + count; i++)
            bytes += whole.entries[i].buf.len;
        batch = count > 0 ? raft_malloc(bytes + 1) : NULL;
        for (unsigned i = done; i < done + count; i++) {
            memcpy(batch + used, whole.entries[i].buf.base, whole.entries[i].buf.len);
            whole.entries[i].buf.base = batch + used;
            used += whole.entries[i].buf.len;
        }
        message->append_entries = whole;
        message->append_entries.prev_log_index = whole.prev_log_index + done;
        message->append_entries.prev_log_term = done > 0 ? whole.entries[done - 1].term : whole.prev_log_term;
        message->append_entries.entries = count > 0 ? whole.entries + done : NULL;
        message->append_entries.n_entries = count;
        for (unsigned i = done; i < done + count; i++)
            whole.entries[i].batch = batch;
        vvr_step_or_fail(raft, &event);
        done += count;
    } while (raft->error == 0 && done < whole.n_entries);
    message->append_entries = given;
}

static void receive(VvRaft *raft, uint64_t from, struct raft_message *message)
{
    struct raft_event event = { .type = RAFT_RECEIVE, .receive.message = message };
    char address[VVR_ADDRESS_BYTES];

    vvr_address(from, address);
    message->server_id = from;
    message->server_address = address;
    if (message->type == RAFT_REQUEST_VOTE)
        message->request_vote.candidate_id = from;
    switch (vvr_filter(raft, from, message)) {
    case VVR_PASS:
        if (message->type == RAFT_APPEND_ENTRIES)
            receive_append(raft, message);
        else
            vvr_step_or_fail(raft, &event);
        break;
    case VVR_ANSWER_TERM:
        answer_term(raft, from);
        break;
    case VVR_DROP:
        break;
    }
}

bool vv_raft_receive(VvRaft *raft, uint64_t now_ms, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    struct raft_message message;
    void *batch;
    bool good = true;

    if (!vvr_enter(raft, now_ms))
        return true;
    if (from == 0 || from == raft->config.id) {
        good = false;
    } else if (kind >= VV_MESSAGE_SYNC_OFFER) {
        good = vvr_sync_receive(raft, from, kind, body, body_bytes);
    } else if ((good = vvr_decode(kind, body, body_bytes, &message))) {
        bool is_append = message.type == RAFT_APPEND_ENTRIES;

        batch = is_append && message.append_entries.n_entries > 0 ? message.append_entries.entries[0].batch : NULL;
        receive(raft, from, &message);
        raft_free(batch);
        if (is_append)
            g_free(message.append_entries.entries);
    }
    vvr_leave(raft);
    return good;
}

void vv_raft_tick(VvRaft *raft, uint64_t now_ms)
{
    struct raft_event event = { .type = RAFT_TIMEOUT };

    if (!vvr_enter(raft, now_ms))
        return;
    if (raft->now_ms >= raft_timeout(&raft->raft))
        vvr_step_or_fail(raft, &event);
    vvr_leave(raft);
}

uint64_t vv_raft_deadline(VvRaft *raft)
{
    return raft->started && raft->error == 0 ? raft_timeout(&raft->raft) : UINT64_MAX;
}

void vv_raft_stored(VvRaft *raft, uint64_t now_ms, uint64_t ticket)
{
    struct raft_event event = { .type = RAFT_PERSISTED_ENTRIES };
    uint64_t last = 0;
    guint done = 0;

    if (!vvr_enter(raft, now_ms))
        return;
    while (done < raft->writes->len && g_array_index(raft->writes, VvRaftWrite, done).ticket <= ticket)
        last = g_array_index(raft->writes, VvRaftWrite, done++).last;
    if (done > 0)
        g_array_remove_range(raft->writes, 0, done);
    if (!raft->fetch.installing && last > raft->raft.last_stored) {
        event.persisted_entries.index = last;
        vvr_step_or_fail(raft, &event);
    }
    vvr_leave(raft);
}

void vv_raft_installed(VvRaft *raft, uint64_t now_ms)
{
    struct raft_event event = { .type = RAFT_PERSISTED_SNAPSHOT };
    struct raft_snapshot_metadata *metadata = &event.persisted_snapshot.metadata;
    VvRaftFetch *fetch = &raft->fetch;
    gsize length;
    const uint8_t *conf;

    if (!vvr_enter(raft, now_ms))
        return;
    g_assert(fetch->installing);
    metadata->index = fetch->index;
    metadata->term = fetch->index_term;
    metadata->configuration_index = fetch->conf_index;
    g_assert(vvr_conf_decode(fetch->conf, &metadata->configuration) == 0);
    event.persisted_snapshot.last = true;
    vvr_step_or_fail(raft, &event);
    if (VV_RAFT_COPIES)
        raft_configuration_close(&metadata->configuration);
    forget_confs(raft);
    conf = g_bytes_get_data(fetch->conf, &length);
    vvr_remember_conf(raft, fetch->conf_index, conf, length);
    raft->applied = raft->base_index = fetch->index;
    raft->base_term = fetch->index_term;
    raft->commit = MAX(raft->commit, fetch->index);
    g_bytes_unref(fetch->conf);
    *fetch = (VvRaftFetch) { 0 };
    vvr_leave(raft);
}

void vv_raft_poll(VvRaft *raft, uint64_t now_ms)
{
    if (vvr_enter(raft, now_ms))
        vvr_leave(raft);
}

void vv_raft_compact(VvRaft *raft, uint64_t now_ms, uint64_t index)
{
    struct raft_event event = { .type = RAFT_SNAPSHOT };
    struct raft_snapshot_metadata *metadata = &event.snapshot.metadata;
    VvRaftEntry entry;
    uint64_t conf_index = 0;
    GBytes *conf;

    if (!vvr_enter(raft, now_ms))
        return;
    g_assert(index <= raft->applied);
    conf = vvr_conf_at(raft, index, &conf_index);
    if (!raft->fetch.installing && index > raft->base_index && index >= VV_RAFT_BASE_MIN && conf && raft->ops.read(raft->user, index, &entry) == 0) {
        metadata->index = index;
        metadata->term = entry.term;
        metadata->configuration_index = conf_index;
        g_assert(vvr_conf_decode(conf, &metadata->configuration) == 0);
        event.snapshot.trailing = raft->config.trailing;
        raft->base_index = index;
        raft->base_term = entry.term;
        vvr_step_or_fail(raft, &event);
        if (VV_RAFT_COPIES)
            raft_configuration_close(&metadata->configuration);
        while (raft->confs->len > 1 && g_array_index(raft->confs, VvRaftConf, 1).index <= index) {
            g_bytes_unref(g_array_index(raft->confs, VvRaftConf, 0).bytes);
            g_array_remove_index(raft->confs, 0);
        }
        if (index > raft->config.trailing)
            raft->ops.compact(raft->user, index - raft->config.trailing);
    }
    vvr_leave(raft);
}

void vv_raft_set_trailing(VvRaft *raft, unsigned trailing)
{
    raft->config.trailing = trailing;
}

/* ---- as it is */

uint64_t vv_raft_promoting(const VvRaft *raft)
{
    return raft->promoting;
}

bool vv_raft_is_leader(const VvRaft *raft)
{
    return raft->started && raft->error == 0 && raft->raft.state == RAFT_LEADER;
}

bool vv_raft_ready(const VvRaft *raft)
{
    return vv_raft_is_leader(raft) && raft->noop_term == raft_current_term(&raft->raft) && raft->applied >= raft->noop_index;
}

uint64_t vv_raft_leader(VvRaft *raft)
{
    raft_id id = 0;
    const char *address;

    if (raft->started && raft->error == 0)
        raft_leader(&raft->raft, &id, &address);
    return id;
}

uint64_t vv_raft_term(const VvRaft *raft)
{
    return raft_current_term(&raft->raft);
}

uint64_t vv_raft_commit(const VvRaft *raft)
{
    return raft->commit;
}

uint64_t vv_raft_applied(const VvRaft *raft)
{
    return raft->applied;
}

uint64_t vv_raft_last(VvRaft *raft)
{
    return raft_last_index(&raft->raft);
}

bool vv_raft_member(const VvRaft *raft, unsigned index, uint64_t *ret_id, VvRaftRole *ret_role)
{
    if (index >= raft->raft.configuration.n)
        return false;
    *ret_id = raft->raft.configuration.servers[index].id;
    *ret_role = raft->raft.configuration.servers[index].role == RAFT_VOTER ? VV_RAFT_VOTER : VV_RAFT_STANDBY;
    return true;
}

bool vv_raft_change_pending(const VvRaft *raft)
{
    return raft->raft.configuration_uncommitted_index != 0;
}

int vv_raft_error(const VvRaft *raft)
{
    return raft->error;
}
