/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool's files as a medium would hold them, and as a folder for the real code to open.
 *
 *   base      what the recording began with; of each file all bytes, in memory
 *   durable   base and what was synced since: moves through the log with image_settle()
 *   folder    real files in memory (tmpfs): durable, and some of what was not synced. They are made right page by page: what a
 *             state changed, and what the recovery on it wrote, is put back before the next one.
 *
 *   I1  An event that was not synced may be on the medium or not, a write sector by sector; a sector that was written twice has
 *       one of its contents, older ones under newer ones.
 *   I2  A file's sync makes all earlier events of this file durable; a folder's sync those of the names in it.
 *   I3  What was punched out holds garbage, durably or not. */
#ifndef VV_CRASH_IMAGE_H
#define VV_CRASH_IMAGE_H

#include "log.h"

#include <glib.h>

typedef struct Image Image;

/* How much of an event that was not synced reached the medium. */
typedef enum { REACH_NONE, REACH_ALL, REACH_HEAD, REACH_TAIL, REACH_SOME } Reach;
typedef struct {
    Reach how;
    uint32_t number; /* sectors of the head or before the tail; seed of some */
} Choice;

/* Files go to @folder, an existing one below a tmpfs; the pool is @folder/pool. */
Image *image_new(const char *folder);
void image_free(Image *image);
const char *image_pool(const Image *image);

/* The pool's folder as it is becomes the base. Tells the recorder its files. */
void image_take(Image *image);
/* From and to events. */
bool image_load(Image *image, const Log *base);
void image_store(const Image *image, Log *base);
/* Durable is the base again. */
void image_rewind(Image *image);
/* Make an event durable. */
void image_settle(Image *image, const Event *event);
/* Does the folder hold exactly what is durable? Otherwise why. For recordings: after all events, did the log see everything? */
bool image_matches_folder(Image *image, char **ret_why);

/* Make the folder: durable and, of @count events in order, what their choices say. */
void image_build(Image *image, const Event *const *events, const Choice *choices, unsigned count, bool garbage_locks);
/* What a log says was written to the folder will be put back. */
void image_note_written(Image *image, const Log *log);
/* A number that tells states apart: changes if any choice that makes a difference does. */
uint64_t image_fingerprint(const Image *image, const Event *const *events, const Choice *choices, unsigned count);
/* Does the event concern the same file or, of names, folder as this sync? */
bool image_sync_covers(const Event *sync, const Event *event);

#endif
