/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reservations: object -> number of the client's connection. */
#include "reserve.h"

#include "util.h"

struct VvReservations {
    pthread_mutex_t lock; /* guards holders */
    GHashTable *holders;  /* char * -> uint64_t *, both owned */
};

VvReservations *vv_reservations_new(void)
{
    VvReservations *reservations = g_new0(VvReservations, 1);

    pthread_mutex_init(&reservations->lock, NULL);
    reservations->holders = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return reservations;
}

void vv_reservations_free(VvReservations *reservations)
{
    if (!reservations)
        return;
    g_hash_table_unref(reservations->holders);
    pthread_mutex_destroy(&reservations->lock);
    g_free(reservations);
}

bool vv_reservations_take(VvReservations *reservations, const char *object, uint64_t client)
{
    VV_LOCKED(&reservations->lock);

    if (g_hash_table_contains(reservations->holders, object))
        return false;
    g_hash_table_insert(reservations->holders, g_strdup(object), g_memdup2(&client, sizeof(client)));
    return true;
}

void vv_reservations_drop(VvReservations *reservations, const char *object)
{
    VV_LOCKED(&reservations->lock);

    g_hash_table_remove(reservations->holders, object);
}

static gboolean is_held_by(gpointer object, gpointer holder, gpointer client)
{
    (void) object;
    return *(uint64_t *) holder == *(uint64_t *) client;
}

void vv_reservations_release(VvReservations *reservations, uint64_t client)
{
    VV_LOCKED(&reservations->lock);

    g_hash_table_foreach_remove(reservations->holders, is_held_by, &client);
}
