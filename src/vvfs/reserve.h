/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects that a client is attaching: nobody else attaches them until its connection closes. Any thread. */
#ifndef VV_RESERVE_H
#define VV_RESERVE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VvReservations VvReservations;

VvReservations *vv_reservations_new(void);
void vv_reservations_free(VvReservations *reservations);
/* False: another client, or this one, holds @object. */
bool vv_reservations_take(VvReservations *reservations, const char *object, uint64_t client);
/* Of one object. */
void vv_reservations_drop(VvReservations *reservations, const char *object);
/* Of all that @client holds. */
void vv_reservations_release(VvReservations *reservations, uint64_t client);

#endif
