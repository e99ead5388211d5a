/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of open files: see handles.h. */
#include "handles.h"

#include "util.h"

#define NO_INDEX UINT32_MAX

void vv_handles_init(VvHandles *handles)
{
    pthread_mutex_init(&handles->lock, NULL);
    handles->first_free = NO_INDEX;
    handles->accounts = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
}

static VvFile *file_at(VvHandles *handles, uint32_t index)
{
    uint32_t chunk = index / VV_HANDLES_PER_CHUNK;
    VvFile *files =
        chunk < VV_HANDLE_CHUNKS_MAX ? atomic_load_explicit(&handles->chunks[chunk], memory_order_acquire) : NULL;
    return files ? &files[index % VV_HANDLES_PER_CHUNK] : NULL;
}

void vv_handles_clear(VvHandles *handles)
{
    g_assert(g_hash_table_size(handles->accounts) == 0);
    g_hash_table_unref(handles->accounts);
    for (uint32_t chunk = 0; chunk < handles->chunk_count; chunk++)
        g_free(atomic_load(&handles->chunks[chunk]));
    vv_opens_unmap(&handles->opens);
    pthread_mutex_destroy(&handles->lock);
}

static bool grow_locked(VvHandles *handles)
{
    if (handles->chunk_count == VV_HANDLE_CHUNKS_MAX)
        return false;
    VvFile *files = g_new0(VvFile, VV_HANDLES_PER_CHUNK);
    uint32_t base = handles->chunk_count * VV_HANDLES_PER_CHUNK;
    for (uint32_t i = VV_HANDLES_PER_CHUNK; i-- > 0;) {
        files[i].index = base + i;
        files[i].next_free = handles->first_free;
        handles->first_free = base + i;
    }
    atomic_store_explicit(&handles->chunks[handles->chunk_count], files, memory_order_release);
    handles->chunk_count++;
    return true;
}

VvFile *vv_file_new(VvHandles *handles, VvHandleKind kind)
{
    VV_LOCKED(&handles->lock);
    if (handles->first_free == NO_INDEX && !grow_locked(handles))
        return NULL;
    VvFile *file = file_at(handles, handles->first_free);
    handles->first_free = file->next_free;
    file->kind = kind;
    return file;
}

/* P1, P2 */
static void record_open(VvHandles *handles, const VvFile *file, const VvOpened *opened, uint32_t generation)
{
    VvOpenRecord *record = &handles->opens.records[file->index];
    record->kind = (uint8_t) file->kind;
    record->write = file->may_write;
    record->pid = (uint32_t) opened->pid;
    record->text_bytes = (uint32_t) file->text_bytes;
    record->node = opened->node;
    record->unique = opened->unique;
    uint32_t used = atomic_load(handles->opens.used);
    while (used <= file->index && !atomic_compare_exchange_weak(handles->opens.used, &used, file->index + 1))
        ;
    atomic_store_explicit(&record->generation, generation, memory_order_release);
}

uint64_t vv_file_publish(VvHandles *handles, VvFile *file, const VvOpened *opened)
{
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_relaxed) + 1;
    if (handles->opens.map)
        record_open(handles, file, opened, generation);
    atomic_store_explicit(&file->generation, generation, memory_order_release);
    return (uint64_t) generation << 32 | file->index;
}

VvFile *vv_file_opened_by(VvHandles *handles, uint64_t unique, uint64_t *ret_fh)
{
    if (handles->opens.uniques == NULL)
        return NULL;
    uint32_t index = GPOINTER_TO_UINT(g_hash_table_lookup(handles->opens.uniques, &unique));
    VvFile *file = index ? file_at(handles, index - 1) : NULL;
    if (file == NULL || handles->opens.records[file->index].unique != unique)
        return NULL;
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_acquire);
    if (!(generation & 1))
        return NULL;
    *ret_fh = (uint64_t) generation << 32 | file->index;
    return file;
}

/* ---- what a predecessor left */

static void restore(VvFile *file, const VvOpenRecord *record)
{
    uint32_t generation = atomic_load(&record->generation);
    atomic_store(&file->generation, generation);
    if (!(generation & 1))
        return;
    bool known = record->kind == VV_HANDLE_OBJECT || record->kind == VV_HANDLE_DIRECTORY ||
                 record->kind == VV_HANDLE_TEXT;
    file->kind = known && record->kind != VV_HANDLE_OBJECT ? (VvHandleKind) record->kind : VV_HANDLE_LOST;
    file->may_write = record->write;
    file->remade = true;
}

bool vv_handles_keep_in(VvHandles *handles, int fd, GError **error)
{
    if (!vv_opens_map(&handles->opens, fd, error))
        return false;
    uint32_t used = atomic_load(handles->opens.used);
    handles->opens.uniques = g_hash_table_new(g_int64_hash, g_int64_equal);
    VV_LOCKED(&handles->lock);
    while (handles->chunk_count * VV_HANDLES_PER_CHUNK < used)
        grow_locked(handles);
    handles->first_free = NO_INDEX;
    for (uint32_t i = handles->chunk_count * VV_HANDLES_PER_CHUNK; i-- > 0;) {
        VvFile *file = file_at(handles, i);
        VvOpenRecord *record = &handles->opens.records[i];
        if (i < used)
            restore(file, record);
        if (atomic_load(&file->generation) & 1) {
            g_hash_table_insert(handles->opens.uniques, &record->unique, GUINT_TO_POINTER(i + 1));
        } else {
            file->next_free = handles->first_free;
            handles->first_free = i;
        }
    }
    return true;
}

void vv_handles_each_file(
    VvHandles *handles, void (*each)(void *user, VvFile *file, const VvOpenRecord *record, bool open), void *user)
{
    uint32_t used = handles->opens.map ? atomic_load(handles->opens.used) : 0;
    for (uint32_t i = 0; i < used; i++) {
        VvFile *file = file_at(handles, i);
        each(user, file, &handles->opens.records[i], atomic_load(&file->generation) & 1);
    }
}

static void put_account(VvHandles *handles, VvAccount *account)
{
    VV_LOCKED(&handles->lock);
    if (--account->refs == 0)
        g_hash_table_remove(handles->accounts, &account->id);
}

static void close_file(VvHandles *handles, VvFile *file, bool leave)
{
    if (file->handle) {
        if (leave)
            vv_handle_leave(file->handle);
        else
            vv_handle_close(file->handle);
        put_account(handles, file->account);
        atomic_fetch_sub(&handles->open_count, 1);
    }
    g_free(file->ids);
    g_free(file->text);
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_relaxed);
    if ((generation & 1) && handles->opens.map)
        atomic_store_explicit(&handles->opens.records[file->index].generation, generation + 1, memory_order_release);
    file->kind = VV_HANDLE_FREE;
    file->handle = NULL;
    file->view = NULL;
    file->account = NULL;
    file->object_id = file->adopt_source = file->adopt_bytes = 0;
    file->may_write = file->remade = false;
    file->ids = NULL;
    file->text = NULL;
    file->id_count = file->text_bytes = 0;
    if (generation & 1) /* it was published */
        atomic_store_explicit(&file->generation, generation + 1, memory_order_release);
    VV_LOCKED(&handles->lock);
    file->next_free = handles->first_free;
    handles->first_free = file->index;
}

void vv_file_close(VvHandles *handles, VvFile *file)
{
    close_file(handles, file, false);
}

void vv_handles_close_all(VvHandles *handles, bool leave)
{
    if (leave)
        vv_opens_unmap(&handles->opens);
    for (uint32_t i = 0; i < handles->chunk_count * VV_HANDLES_PER_CHUNK; i++) {
        VvFile *file = file_at(handles, i);
        if (atomic_load(&file->generation) & 1)
            close_file(handles, file, leave);
    }
}

VvFile *vv_file_get(VvHandles *handles, uint64_t fh)
{
    VvFile *file = file_at(handles, (uint32_t) fh);
    if (file == NULL)
        return NULL;
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_acquire);
    return (generation & 1) && generation == (uint32_t) (fh >> 32) ? file : NULL;
}

void vv_file_set_object(VvHandles *handles, VvFile *file, VvHandle *handle)
{
    file->handle = handle;
    file->view = vv_handle_view(handle);
    file->object_id = vv_view_id(file->view);
    file->may_write = vv_handle_may_write(handle);
    atomic_fetch_add(&handles->open_count, 1);
    VV_LOCKED(&handles->lock);
    VvAccount *account = g_hash_table_lookup(handles->accounts, &file->object_id);
    if (account == NULL) {
        account = g_new0(VvAccount, 1);
        account->id = file->object_id;
        g_hash_table_insert(handles->accounts, &account->id, account);
    }
    account->refs++;
    file->account = account;
}

bool vv_handles_is_open(VvHandles *handles, uint64_t object_id)
{
    VV_LOCKED(&handles->lock);
    return g_hash_table_contains(handles->accounts, &object_id);
}

void vv_handles_each_account(VvHandles *handles, void (*each)(void *user, VvAccount *account), void *user)
{
    VV_LOCKED(&handles->lock);
    GHashTableIter iter;
    gpointer account;
    g_hash_table_iter_init(&iter, handles->accounts);
    while (g_hash_table_iter_next(&iter, NULL, &account))
        each(user, account);
}
