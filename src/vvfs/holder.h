/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The holder: a small process that keeps a mount alive while processes that serve it come and go.
 *
 *     the holder has                                       it never has
 *     /dev/fuse, root and all clones                       a disk, the pool, its locks: who serves must be able to take them
 *     memfds: state, open files, pending records, events   threads, pools, a heap worth the name
 *     hold.sock in the pool directory (`vvfs --upgrade`)
 *     the running program's file, open: what it starts again is what ran before, even if the file was replaced
 *
 *     state      leaves by                                               to
 *     first      the serving process is ready                            holding
 *                it ends before                                          end, with its exit code
 *     holding    it ends in order (umount, SIGTERM)                      end, with its exit code
 *                it dies                                                 pause
 *                an upgrade is asked for, and the new binary agrees      leaving
 *     leaving    it has left (or died)                                   starting, with the new binary
 *     pause      the time is over                                        starting
 *                deaths in a row: VV_RESTART_TRIES_MAX; no RESEND        end, VV_EXIT_FAILED: the mount is dead
 *     starting   ready                                                   holding
 *                it ends                                                 pause; of an upgrade: with the old binary again
 *
 * A witness (`vvfs --witness`) has no mount, so nothing to hold: the same process starts it anew when it dies, and exchanges its binary. Who
 * succeeds is known by restarts and upgrades then, and not by the mount; it needs no RESEND.
 *
 * A serving process is always a new program (fork and exec), never a copy of the holder: so it may be another binary, and whatever
 * corrupted its predecessor's memory is gone. */
#ifndef VV_HOLDER_H
#define VV_HOLDER_H

#include "options.h"

/* Hold @directory's mount until it has ended; returns the program's exit code. @options->mountpoint is absolute; @words: what of
 * the command line is passed on to who serves. @ready_fd: gets one byte, the exit code, when it serves; -1: none. */
int vv_holder_run(const VvOptions *options, const char *directory, int ready_fd);

#endif
