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

void vv_handles_close_all(VvHandles *handles)
{
    for (uint32_t i = 0; i < handles->chunk_count * VV_HANDLES_PER_CHUNK; i++) {
        VvFile *file = file_at(handles, i);
        if (atomic_load(&file->generation) & 1)
            vv_file_close(handles, file);
    }
}

void vv_handles_clear(VvHandles *handles)
{
    g_assert(g_hash_table_size(handles->accounts) == 0);
    g_hash_table_unref(handles->accounts);
    for (uint32_t chunk = 0; chunk < handles->chunk_count; chunk++)
        g_free(atomic_load(&handles->chunks[chunk]));
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

uint64_t vv_file_publish(VvFile *file)
{
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&file->generation, generation, memory_order_release);
    return (uint64_t) generation << 32 | file->index;
}

static void put_account(VvHandles *handles, VvAccount *account)
{
    VV_LOCKED(&handles->lock);
    if (--account->refs == 0)
        g_hash_table_remove(handles->accounts, &account->id);
}

void vv_file_close(VvHandles *handles, VvFile *file)
{
    if (file->handle) {
        vv_handle_close(file->handle);
        put_account(handles, file->account);
        atomic_fetch_sub(&handles->open_count, 1);
    }
    g_free(file->ids);
    g_free(file->text);
    uint32_t generation = atomic_load_explicit(&file->generation, memory_order_relaxed);
    file->kind = VV_HANDLE_FREE;
    file->handle = NULL;
    file->view = NULL;
    file->account = NULL;
    file->object_id = file->adopt_source = file->adopt_bytes = 0;
    file->may_write = false;
    file->ids = NULL;
    file->text = NULL;
    file->id_count = file->text_bytes = 0;
    if (generation & 1) /* it was published */
        atomic_store_explicit(&file->generation, generation + 1, memory_order_release);
    VV_LOCKED(&handles->lock);
    file->next_free = handles->first_free;
    handles->first_free = file->index;
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
