/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every maximum of vvfs, in one place, with where the number comes from. */
#ifndef VV_LIMITS_H
#define VV_LIMITS_H

#include <stdint.h>

/* ---- units of the map (DESIGN section 1) */
#define VV_SECTOR_BYTES 512u
#define VV_BLOCK_SHIFT 12
#define VV_BLOCK_BYTES (1u << VV_BLOCK_SHIFT)
#define VV_REGION_SHIFT 20
#define VV_REGION_BYTES (1u << VV_REGION_SHIFT)
#define VV_REGION_BLOCKS 256u

/* A LUN's size must stay a valid positive loff_t after rounding up to a block. */
#define VV_LUN_BYTES_MAX ((uint64_t) INT64_MAX - (VV_BLOCK_BYTES - 1))

/* Segments are buddies from 1 MiB (one region) to 1 GiB (the 18 offset bits of an extent). */
#define VV_SEGMENT_SHIFT_MIN 20u
#define VV_SEGMENT_SHIFT_MAX 30u
#define VV_SEGMENTS_PER_FAMILY (1u << 20) /* 20 bits of an extent */
#define VV_SEGMENT_COPIES_MAX 4u

/* A piece of a segment's free bitmap is 1 KiB, so it tells of 8192 blocks (32 MiB). */
#define VV_PIECE_BYTES 1024u
#define VV_PIECE_BLOCKS (VV_PIECE_BYTES * 8u)

/* ---- disks */
#define VV_LABEL_BYTES (1u << 20)      /* reserved in front of every disk */
#define VV_DISK_TAIL_BYTES (64u << 10) /* reserved at its end */
#define VV_DISK_BYTES_MIN ((uint64_t) 16 << 20)
#define VV_DISKS_MAX 1024u
#define VV_FAMILY_DISKS_MAX 64u /* chosen for one LUN: the list stays a quarter of what a leaf of the store holds */
/* A disk that is reached through a connection (src/engine/remote.h). What was written since the last sync is kept, to be written again
 * after the connection was lost: as much as a second of a 250 MB/s link between two syncs that begin when half of it is used. */
#define VV_REMOTE_WAIT_MS 60000u /* then EIO: what a LUN's requests wait unless told otherwise */
#define VV_UNSYNCED_BYTES_MAX (32u << 20)
#define VV_UNSYNCED_WRITES_MAX 8192u
#define VV_LINK_IN_FLIGHT_MAX 64u  /* nbdkit works on 16 at a time; the rest hides the way there */
#define VV_LINK_REPLAYS_MAX 16u
#define VV_LINK_PIECE_BYTES_MAX (1u << 20) /* of a read or write, unless the server takes less: VV_IO_BYTES_MAX */
#define VV_LINK_TRY_MS 15000u      /* for one attempt to connect */
#define VV_LINK_PAUSE_MS 100u      /* before the next, doubled each time ... */
#define VV_LINK_PAUSE_MS_MAX 5000u /* ... up to this */
#define VV_LINK_LOOK_MS 5000u      /* between looks at the label, and beats: as ext4's protection against two mounts */
#define VV_LINK_BEATS_WAIT_MS 12000u /* two beats: who would erase a disk waits so long for them */

/* ---- journal: files are small enough that an idle pool stays small, and enough of them that a burst
 * does not wait for a checkpoint. */
#ifndef VV_JOURNAL_FILE_BYTES /* tests/crash wraps the journal often, and reads it thousands of times */
#define VV_JOURNAL_FILE_BYTES (8u << 20)
#endif
#ifndef VV_JOURNAL_FILES_MAX /* tests/fuzz/journal has two, and looks for all at each run */
#define VV_JOURNAL_FILES_MAX 16u
#endif
#define VV_JOURNAL_KEPT_BYTES (2u << 20) /* of the last file: for entries that free something, 4,000 small ones */
#ifndef VV_ENTRY_BYTES_MAX /* tests/fuzz/journal */
#define VV_ENTRY_BYTES_MAX (1u << 20) /* 1,024 regions of 256 changes of 12 bytes do not fit: the builder splits */
#endif
#define VV_ENTRY_REGIONS_MAX 1024u    /* DESIGN section 5 */
#define VV_RECLAIM_BATCH_PAGES 512u   /* page visits per reclaim op at most: each touches at most two regions' pages */
#define VV_MOVE_VISITS_MAX 1024u      /* branches and pages per move op, as a reclaim op: a region with more stays where it is */

/* ---- repacking */
#define VV_REPACK_REGIONS_MAX 8u    /* a batch: 8 MiB of new space, and what one sync and one entry make wait */
#define VV_REPACK_BREAKS_MIN 4u     /* a region with fewer is good enough: as many seeks per MiB cost a disk less than the move */
#define VV_REPACK_SCAN_REGIONS 256u /* looked at between entries: a quarter GiB of LUN, some milliseconds */
#define VV_REPACK_AMPLE_PERCENT 25u /* must be free beside what a LUN maps before it is repacked by itself */
#define VV_REPACK_ROOM_PERCENT 10u  /* of the pool must be free: the same that makes grants small */
#define VV_REPACK_BUSY_BYTES (32u << 20) /* per second while others use the pool */

/* ---- memory */
#define VV_OVERLAY_BYTES_MAX (10u << 20) /* a generation larger than this asks for a checkpoint, and fills no more during one */
#define VV_PAGE_CACHE_BYTES (12u << 20)
#define VV_SUM_CACHE_BYTES (4u << 20)    /* checksums of 3,700 MiB of places */
#define VV_SUMMARY_BYTES_MAX (8u << 20)  /* of all branches: 2 to 4 bytes a page, so 2 to 4 million pages below clones of clones */
#define VV_SUMMARY_PAGES_MAX (16u << 10) /* of one: with no page of the index in memory some 250 reads, while entries wait */
#define VV_MAP_AT_ONCE_BYTES (256u << 20) /* of data.mdb: so much is compared with its checksums in 0.2 s before the pool opens; of a larger one, branches */
#define VV_MAP_CHECK_BYTES (64u << 20)    /* a second of the rest, in the background: less than any disk gives */
/* What the I/O path allocates (src/base/slab.h): address space for more than twice all of pending, overlay, caches and requests, as the
 * bitmaps of space in use have no other limit than the pool's size; beyond it malloc serves. And what is always free, and locked: records
 * of 4,000 writes, or one entry of VV_ENTRY_REGIONS_MAX pages while it is applied. */
#define VV_SLAB_BYTES_MAX (256u << 20)
#define VV_SLAB_RESERVE_BYTES (4u << 20)
#define VV_SLAB_WATCHERS_MAX 64u /* pools that one process has open: a daemon one, a test some */
#define VV_PENDING_BYTES_MAX (32u << 20) /* DESIGN section 5: starts background journalling */
/* Memory of what is pending: at it, writes that change the map wait for the journal (pending.h). A LUN has room for 20,000 blocks at
 * random places, more than twice what starts journalling, or for 600 MiB in sequence: only who outruns the journal meets it. It
 * is not all there is, so that one that cannot be journalled (its disk fails) leaves the others something. */
#define VV_PENDING_MEMORY_MAX (12u << 20)
#define VV_PENDING_MEMORY_PER_LUN (8u << 20)
#define VV_PENDING_SECONDS_MAX 5u
/* What a successor of this process adopts: a slot of 64 bytes for each record that VV_PENDING_MEMORY_MAX admits, for each LUN with
 * pending, what the disks' syncs said, and room. It is a memfd: what was never used takes no memory. */
#define VV_PENDING_FILE_BYTES (32u << 20)
#define VV_RESERVE_FILE_BYTES (32u << 20) /* room for the map, half of it kept for removal and checkpoints; more as it grows: meta/room.c */
#define VV_HOST_FREE_BYTES_MIN (2u * VV_RESERVE_FILE_BYTES) /* less in a file system below is worth a warning: journal and map need room */
#define VV_SNAPSHOT_HOST_BYTES VV_RESERVE_FILE_BYTES /* must be left there for a snapshot: else the room could not be filled up */
#define VV_SNAPSHOT_ROOM_BYTES (16u << 20) /* must be left for its LUN; or 1/64 of a small pool, so that not all writes fail at once */

/* ---- I/O */
#define VV_IO_BYTES_MAX (1u << 20)             /* FUSE max_write; longer work is cut by the caller */
#define VV_IO_RUNS_MAX (VV_REGION_BLOCKS + 1u) /* 1 MiB at an odd offset touches 257 blocks */
#define VV_WORKERS_MAX 4u
#define VV_RING_ENTRIES 512u
#define VV_FUSE_BACKGROUND_MAX 4096u /* DESIGN section 7: the default lets one waiting LUN stop all */
/* What requests of the mount hold (fusefs/quota.c), of the 128 MiB that the daemon may have beside 13 of code and stacks: those that
 * go on by themselves (24 of 1 MiB keep any disk busy), all that wait, those of LUNs that wait for long, and of one such LUN. */
#define VV_RUNNING_BYTES_MAX (24u << 20)
#define VV_PARKED_BYTES_MAX (24u << 20)
#define VV_HELD_BYTES_MAX (20u << 20) /* less than the line above: some is left to those that wait for moments */
#define VV_HELD_BYTES_PER_LUN (16u << 20)
#define VV_LUN_TIMEOUT_SECONDS 60u /* default of `lun set timeout=` */
#define VV_FREEZE_SECONDS_MAX 10u

/* ---- a serving process that dies (src/vvfs/holder.h). A death counts towards giving up if it came before the process had served
 * for VV_RESTART_STEADY_MS: what a request brings about that kills it again. Eight tries with their pauses take about 6 s. */
#define VV_RESTART_TRIES_MAX 8u
#define VV_RESTART_STEADY_MS 1000u
#define VV_RESTART_PAUSE_MS 50u /* before the second in a row, doubled each time */
#define VV_RESTART_PAUSE_MS_MAX 2000u
#define VV_LEAVE_SECONDS_MAX 60u /* an upgrade: what does not end by then is killed, and sent again by the kernel */

/* ---- catalog */
#define VV_NAME_BYTES_MAX 128u
#define VV_NOTE_BYTES_MAX 1024u
#define VV_PATH_BYTES_MAX 4096u
#define VV_OBJECTS_PER_COMMAND 4096u /* LUNs or snapshots named by one transaction */
#define VV_REMOVALS_PER_COMMAND 40000u /* with what a LUN takes along: ops of 23 bytes that must fit one entry */
#define VV_SETTINGS_PER_COMMAND 40000u /* what a pattern may match: ops of 24 bytes, and a note each, that must fit one entry */
#define VV_LUNS_MAX 100000u
#define VV_SNAPSHOTS_MAX 1000000u

/* ---- cluster */
#define VV_NODES_MAX 64u /* of a pool, witnesses and standbys included; DESIGN section 9 means 16 */
#define VV_VOTERS_MAX 7u /* DESIGN section 6: more make every commit slower and none safer */
#define VV_ENTRY_BODY_BYTES_MAX (VV_ENTRY_BYTES_MAX - (64u << 10)) /* what is left for 4,096 LUNs and all holders */
#define VV_CLUSTER_MESSAGE_BYTES_MAX (VV_ENTRY_BYTES_MAX + (64u << 10)) /* one entry and its header: more entries take more messages */
#define VV_RAFT_NUMBER_MAX ((uint64_t) 1 << 62) /* index or term that a peer may name: no sum with it wraps; 10^9 a second need 146 years */
#define VV_SYNC_CHUNK_BYTES (256u << 10) /* of a state on its way: some ms of a 1 Gbit/s link, so nobody waits long behind one */
#define VV_SYNC_STATE_BYTES_MAX ((uint64_t) 1 << 40)
#define VV_QUIESCES_MAX 64u /* open at once; those of one set of LUNs wait for each other */
#define VV_LEASES_MAX 65536u /* ranges held by all nodes: 64 nodes x 1,000; a request beyond waits until neighbours melt */
#define VV_LEASE_WANTS_MAX 4096u /* requests that wait at the coordinator; those beyond are asked again by their nodes */
#define VV_REMOVALS_WAITING_MAX 40000u /* as many as one command may remove */
#define VV_UNFENCED_MAX 1024u /* ended sessions of nodes that did not come back: after so many, none is opened until some are fenced */
#define VV_NODE_BODY_BYTES_MAX 4096u /* name, addresses, key of a node */
#define VV_SEGMENTS_OWNED_MAX (1u << 20) /* 1 PiB of segments of 1 GiB */
#define VV_CLUSTER_REQUESTS_KEPT 1024u /* results of requests, in the replicated state */
#define VV_CLUSTER_REQUESTS_PER_CLIENT 64u /* ... so that one client cannot push out the others' */
#define VV_MEMBER_BYTES_MAX 1536u /* of a node's or an invite's record, in the map: two of the longest name, 8 addresses; stays on its leaf */
#define VV_MEMBER_ADDRESSES_MAX 8u
#define VV_MEMBER_ADDRESS_BYTES_MAX 64u
#define VV_MEMBER_SOFTWARE_BYTES_MAX 32u
#define VV_INVITES_MAX 256u /* open or used at a time: what a site makes in a day, and few enough to look through */
#define VV_INVITE_SECONDS_MAX (30u * 86400u) /* an invitation that nobody used for a month is a leak */
#define VV_INVITE_KEPT_SECONDS 86400u /* after it has expired, so that who comes late, or asks again, is told why */
#define VV_INVITE_SECONDS 3600u /* unless --ttl says otherwise */
#define VV_NODE_RECORDS_MAX 4096u /* of all that ever joined; those that left are kept, so that their ids stay refused */
#define VV_PROPOSALS_MAX 256u /* of one node that are not applied yet: a flush waits beyond */

/* ---- administration */
#define VV_DAMAGES_MAX 1024u /* damaged blocks remembered: more are counted */
#define VV_RPC_LINE_BYTES_MAX (4u << 20)
#define VV_RPC_CLIENTS_MAX 256u
#define VV_EVENTS_KEPT 4096u
#define VV_TROUBLE_QUIET_SECONDS 600u /* of a disk: then a failure is told anew */
#define VV_TROUBLE_SHOWN_SECONDS 3600u /* by doctor, after the last */
#define VV_ENDED_JOBS_MAX 256u /* remembered for a day: a screen or two of the largest removal */
#define VV_REQUEST_IDS_KEPT 16384u
#define VV_MOUNT_REQUEST_IDS_KEPT 512u /* of creations, removals and renames through the mount: 128 are under way at most (fusefs/operations.h) */
#define VV_REQUEST_IDS_LEAST 1024u /* kept whatever their times are: a clock that jumps must not make a repeat a second request */
#define VV_REQUEST_ID_SECONDS 86400u /* CLI.md: an --id answers for 24 h */

#endif
