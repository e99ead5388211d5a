/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A toy of the data layer over the real cluster library: two LUNs of a few blocks, snapshots of both, one disk.
 *
 * Each write carries a stamp of its own; places on the disk hold stamps. A write goes in place where it may, else to a free place that
 * is pending until a map entry names it. The disk is served by node 1 (it refuses ended sessions, loses what was not synced when its
 * machine dies, and has an incarnation), or shared (nobody refuses; redirect only; segments of ended sessions rest until fenced).
 *
 * The oracle knows for each write which others were acknowledged when it was issued, and from that what no reader may see:
 *   I6 an acknowledgement without a live session that holds W, as committed
 *   STALE, I4 a read that is older than what was acknowledged before it began, or of another block
 *   I1, SNAP a snapshot that reads differently twice, or lacks what was acknowledged before it was asked for
 *   LATEST a node hears that all is committed up to an index, and more was when it asked
 *   I7 a snapshot that holds a write without one that had been acknowledged before that was issued */
#ifndef VV_SIM_DATA_H
#define VV_SIM_DATA_H

#include "cluster.h"
#include "sim.h"

#define DATA_LUNS 2u
#define DATA_BLOCKS 2u
#define DATA_PLACES 64u
#define DATA_SEGMENT 4u /* places in one */
#define DATA_SNAPSHOTS 3u
#define DATA_WRITES 60u
#define DATA_IOS 4u /* of one node at once */
#define DATA_NONE 255u
#define DATA_SERVER 1u /* node that serves the disk, if it is not shared */

typedef struct {
    uint64_t id;    /* index of its entry, or of its slot (reused_ids); 0: none */
    uint64_t index; /* of its entry */
    bool removed;
    uint8_t places[DATA_LUNS][DATA_BLOCKS];
} DataSnapshot;

/* What entries make: the same on every node. */
typedef struct {
    uint8_t places[DATA_LUNS][DATA_BLOCKS];
    DataSnapshot snapshots[DATA_SNAPSHOTS];
    bool reused_ids; /* of snapshots that are gone, as names are */
} DataMap;

typedef enum { IO_NONE, IO_HELD, IO_SENT, IO_BACK } DataIoState;

typedef struct {
    DataIoState state;
    bool write;
    uint8_t lun, block, place;
    bool redirect;
    uint64_t snapshot; /* read of one; 0: of the LUN */
    unsigned stamp;    /* written, or read */
    VvIoToken token;
    uint64_t id;
    uint64_t incarnation;
    bool refused;
    uint64_t effective; /* of the read's beginning */
} DataIo;

typedef struct {
    uint64_t job;
    VvSettleStep step;
    VvRange ranges[DATA_LUNS];
    unsigned count;
    bool reads;
    uint64_t sync; /* id of the sync that it waits for, 0: none asked */
} DataJob;

typedef struct {
    SimNode *node;
    VvCluster *cluster;
    DataMap map;
    uint8_t pending[DATA_LUNS][DATA_BLOCKS];
    uint64_t pending_seq[DATA_LUNS][DATA_BLOCKS]; /* of the map entry on its way, 0: none */
    uint64_t named[DATA_PLACES]; /* by the map entry of this seq, which is on its way: not free, whatever replaced it since */
    uint64_t written, synced; /* writes that came back; how many of them a sync covers that came back */
    uint64_t sync_covers;     /* ... the one under way will */
    uint64_t incarnation; /* of the disk, as known */
    uint64_t last_session;
    DataIo ios[DATA_IOS];
    GArray *jobs; /* DataJob */
    uint64_t sync, sync_done, sync_sent_ms;
    bool flushing[DATA_LUNS];
    uint64_t flush_covers[DATA_LUNS], flush_sync[DATA_LUNS];
    uint64_t segment_seq;
    uint64_t latest, latest_least; /* what is committed by now: number of the question under way, 0: none; and what the answer must reach */
    unsigned events;
    GPtrArray *requests; /* of the server: those that wait */
} DataNode;

typedef struct {
    bool shared;
    unsigned values[DATA_PLACES], stable[DATA_PLACES];
    uint64_t incarnation;
    uint64_t connection; /* raised when the server dies and when it is back */
    uint64_t next_io;
    unsigned old_ios[SIM_NODES_MAX + 1]; /* of a shared disk: under way, by node */
    struct { /* what histories decide and walks leave to chance */
        bool on;
        uint64_t landing_us[SIM_NODES_MAX + 1]; /* of a node's reads and writes; 0: soon */
        bool held[SIM_NODES_MAX + 1];           /* a node's requests are still on their way to the server */
        unsigned segment[SIM_NODES_MAX + 1];    /* 1 + the one that a node claims; 0: any */
    } script;
    GPtrArray *garbage;                  /* arguments of events, freed with the walk */
    GArray *serving;                     /* VvHolder: I/O under way at the server */

    VvClusterState *truth; /* as committed */
    DataMap map;
    unsigned writes;
    uint8_t lun[DATA_WRITES + 1], block[DATA_WRITES + 1];
    uint64_t writer[DATA_WRITES + 1];
    uint64_t before[DATA_WRITES + 1]; /* bits of stamps that were acknowledged when it was issued */
    uint64_t acked, flushed, effective, seen;
    uint64_t request_effective; /* when the last snapshot was asked for */
    uint64_t requests, asked_snapshots;
    uint64_t shown_ids[DATA_SNAPSHOTS];
    struct {
        unsigned value[DATA_LUNS][DATA_BLOCKS]; /* as first read; UINT_MAX: not yet */
        uint64_t effective, before;
    } shown[DATA_SNAPSHOTS];
    uint64_t done_writes, done_reads, done_snapshots, done_purges, done_snapshot_reads;
} Data;

extern const SimApp data_app;

void data_init(Sim *sim, Data *data, bool shared);
void data_clear(Data *data);
DataNode *data_node(SimNode *node);

/* ---- data_io.c: the path of one request */
void data_write(SimNode *node, unsigned lun, unsigned block);
void data_read(SimNode *node, unsigned lun, unsigned block);
void data_read_snapshot(SimNode *node, uint64_t pick, unsigned lun, unsigned block);
void data_flush(SimNode *node, unsigned lun);
void data_retry(DataNode *d);
void data_work(DataNode *d);
void data_sync(DataNode *d);
bool data_old_io(DataNode *d);
bool data_uses(DataNode *d, uint64_t snapshot);
const DataSnapshot *data_snapshot(const DataMap *map, uint64_t id);

/* ---- data_disk.c: the disk */
enum { DISK_READ, DISK_WRITE, DISK_SYNC };
#define DATA_MESSAGE_DISK 0x0300u
#define DATA_MESSAGE_DONE 0x0301u
void data_submit(DataNode *d, uint64_t id, unsigned operation, VvIoToken token, uint8_t place, unsigned stamp);
void data_disk_message(DataNode *d, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);
void data_serve(DataNode *d);           /* what waited for an entry */
void data_connection_lost(Sim *sim);    /* data_io.c: requests that were sent to a served disk begin again */
void data_disk_crash(Sim *sim);         /* the server's machine lost power */
bool data_may_apply(DataNode *d, const VvEntry *entry);
void data_session_ended(DataNode *d);   /* at the server */
void data_done(DataNode *d, uint64_t id, uint64_t incarnation, bool refused, unsigned value); /* data_io.c */

/* ---- data_oracle.c */
unsigned data_issue(Sim *sim, uint64_t node, unsigned lun, unsigned block);
void data_acknowledge(Sim *sim, uint64_t node, const DataIo *io);
void data_lose(Data *data, uint64_t node); /* 0: everybody's */
void data_check_landing(Sim *sim, unsigned stamp, unsigned place, VvHolder writer, uint64_t served);
void data_check_read(Sim *sim, uint64_t node, const DataIo *io);
void data_check_snapshot(Sim *sim, uint64_t node, const DataIo *io);
void data_committed(Sim *sim, const SimEntry *entry);
bool data_map_admit(const DataMap *map, const VvEntry *entry);
void data_map_apply(DataMap *map, uint64_t index, const VvEntry *entry, VvVerdict verdict);

#endif
