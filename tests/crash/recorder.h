/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records every write, sync and change of a name below one folder, by this process: recorder.c defines the C library's functions
 * that make them, so what libvvengine, libvvmeta and liblmdb.so call is this program's, whoever calls. (An LD_PRELOAD library would
 * catch the same and could be forgotten; the operation tables would miss labels, names and LMDB.) Writes through a mapping are not
 * seen: LMDB is opened without WRITEMAP, and image_matches_folder() compares what the log says with the real files.
 *
 * All of these calls are in one order: each is made and logged under one mutex. */
#ifndef VV_CRASH_RECORDER_H
#define VV_CRASH_RECORDER_H

#include "log.h"

#include <sys/types.h>

/* Once, before anything else; what it knows is shared with child processes. @root: absolute, no symbolic links. */
void recorder_init(const char *root);
/* Log from now on. @with_data: also what is written, not only where. */
void recorder_start(Log *log, bool with_data);
void recorder_stop(void);
/* End this process amid everything, with what was done so far in the log and nothing else. */
void recorder_die(void) __attribute__((noreturn));
/* The workload's own events, in the same order. */
Event *recorder_note(EventKind kind, uint32_t file, const void *data, size_t data_bytes);

/* Files have small numbers. Forget all of them; tell one. */
void recorder_forget_files(void);
void recorder_know_file(ino_t inode, uint32_t file);
/* New files get numbers from @next on. */
void recorder_next_file(uint32_t next);

#endif
