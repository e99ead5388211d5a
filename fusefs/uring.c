/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE over io_uring: see uring.h for how it works.
 *
 *     a slot's area, as an entry      [0, 288)                        the kernel's header, both ways
 *     (in front of its data page)     [.., 4096)                      request header and arguments are moved up to the data, so
 *                                                                     that a request looks as if it came from read(2)
 *                                     [4096, 4096 + 1 MiB)            payload: data of a WRITE, names; the answer's data
 *
 *     kernel's header    offset  bytes
 *     in or out header   0       128     struct fuse_in_header or fuse_out_header
 *     arguments          128     128     of the operation; none in an answer
 *     flags              256     8       0
 *     commit id          264     8       to be repeated in the answer
 *     payload bytes      272     4
 *     padding            276     12
 *
 * U5  Where a server's thread runs. Requests that come one at a time are served fastest on the CPU that they come from: nobody has
 *     to wake another CPU. Where many come together, client and server had better run at the same time, so the scheduler may
 *     move the thread. A queue belongs to a CPU, so the server knows which it is; how many requests come in a round tells the
 *     rest. */
#include "uring.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define ENABLE_PATH "/sys/module/fuse/parameters/enable_uring"
#define POSSIBLE_PATH "/sys/devices/system/cpu/possible"
#define ENTRIES_WANTED 32u /* in all: 1 MiB each once it was used */
#define ENTRIES_MAX 16u    /* per queue: no gain beyond (docs/fuse.md) */
#define ENTRIES_MIN 2u
#define PLACE_REQUESTS 64u /* between two looks at where to run: under a millisecond when it matters */
#define TOGETHER_MIN 3u    /* requests in a round, on average: from here on not bound; */
#define SINGLE_MAX_PERCENT 150u /* up to here bound again */
#define REGISTER_TRIES_MAX 1000u /* 1 ms each: the kernel has not finished with INIT */

/* The kernel's interface since 6.14; <linux/fuse.h> of older systems has none of it. */
#define OFFER_FLAG2 (1u << 9) /* FUSE_OVER_IO_URING, bit 41 of both words of flags */
#define COMMAND_REGISTER 1u
#define COMMAND_COMMIT_AND_FETCH 2u
#define HEADER_PART_BYTES 128u

typedef struct {
    _Alignas(8) uint8_t in_out[HEADER_PART_BYTES];
    uint8_t op_in[HEADER_PART_BYTES];
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_bytes;
    uint32_t padding;
    uint64_t reserved;
} VvUringHeader;
_Static_assert(sizeof(VvUringHeader) == 288, "the kernel's layout");

typedef struct {
    uint64_t flags;
    uint64_t commit_id;
    uint16_t queue;
    uint8_t padding[6];
} VvUringCommand;
_Static_assert(sizeof(VvUringCommand) == 24, "the kernel's layout");

struct VvUringEntry {
    VvCommand command;
    VvTask task; /* brings an answer to the server's thread */
    VvServer *server;
    VvSlot *slot;            /* owned */
    struct iovec buffers[2]; /* header, payload: as registered */
    uint16_t queue;
    bool registered;
    unsigned tries;
};

struct VvUringPlace {
    cpu_set_t anywhere, near;
    bool bound;
    unsigned requests; /* since the last look */
    uint64_t rounds;   /* the worker's, then */
};

/* ---- what can be had */

bool vv_uring_is_possible(const char **ret_why)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(ENABLE_PATH, &text, NULL, NULL))
        *ret_why = "the kernel has no FUSE over io_uring (Linux 6.14 and newer have it)";
    else if (text[0] != 'Y' && text[0] != '1')
        *ret_why = "it is switched off in the kernel (`echo Y > " ENABLE_PATH "` allows it)";
    else if (vv_uring_queue_count() == 0)
        *ret_why = "the number of possible CPUs cannot be read from " POSSIBLE_PATH;
    else
        return true;
    return false;
}

/* "0-3" or "0" or "0-3,8-11": queues are numbered up to the last. */
unsigned vv_uring_queue_count(void)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(POSSIBLE_PATH, &text, NULL, NULL))
        return 0;
    g_strchomp(text);
    const char *last = text + strlen(text);
    while (last > text && g_ascii_isdigit(last[-1]))
        last--;
    guint64 number;
    if (!g_ascii_string_to_unsigned(last, 10, 0, UINT16_MAX - 1, &number, NULL))
        return 0;
    return (unsigned) number + 1;
}

unsigned vv_uring_entries_per_queue(unsigned queue_count)
{
    return CLAMP(ENTRIES_WANTED / queue_count, ENTRIES_MIN, ENTRIES_MAX);
}

bool vv_uring_is_offered(const void *request, size_t length_bytes)
{
    const struct fuse_in_header *header = request;
    const struct fuse_init_in *in = (const void *) (header + 1);
    return length_bytes >= sizeof *header + sizeof *in && in->flags & FUSE_INIT_EXT && in->flags2 & OFFER_FLAG2;
}

void vv_uring_accept(struct fuse_init_out *out)
{
    out->flags |= FUSE_INIT_EXT;
    out->flags2 |= OFFER_FLAG2;
}

/* ---- entries: the server's thread */

static VvUringHeader *header_of(const VvSlot *slot)
{
    return (VvUringHeader *) (void *) (slot->data - 4096);
}

static void send_command(VvUringEntry *entry, uint32_t op, uint64_t commit_id)
{
    VvUringCommand bytes = { .commit_id = commit_id, .queue = entry->queue };
    entry->command.op = op;
    memcpy(entry->command.bytes, &bytes, sizeof bytes);
    vv_worker_command(entry->server->worker, &entry->command);
}

static void register_entry(VvUringEntry *entry)
{
    entry->command.address = entry->buffers;
    entry->command.length = G_N_ELEMENTS(entry->buffers);
    send_command(entry, COMMAND_REGISTER, 0);
}

static void commit(VvUringEntry *entry)
{
    send_command(entry, COMMAND_COMMIT_AND_FETCH, header_of(entry->slot)->commit_id);
}

/* The kernel has done with it. */
static void entry_gone(VvUringEntry *entry)
{
    VvServer *server = entry->server;
    entry->slot->entry = NULL;
    vv_slot_put(g_steal_pointer(&entry->slot));
    if (--server->entries_alive == 0)
        vv_worker_stop(server->worker);
}

/* U5 */
static void look_at_place(VvServer *server)
{
    struct VvUringPlace *place = server->place;
    if (place == NULL || ++place->requests < PLACE_REQUESTS)
        return;
    uint64_t rounds = vv_worker_rounds(server->worker), count = rounds - place->rounds;
    bool together = place->requests >= TOGETHER_MIN * count;
    bool single = (uint64_t) place->requests * 100 <= SINGLE_MAX_PERCENT * count;
    place->requests = 0;
    place->rounds = rounds;
    if (place->bound ? !together : !single)
        return;
    place->bound = !place->bound;
    (void) pthread_setaffinity_np(pthread_self(), sizeof place->near, place->bound ? &place->near : &place->anywhere);
}

static void fetched(VvUringEntry *entry)
{
    VvSlot *slot = entry->slot;
    const VvUringHeader *header = header_of(slot);
    struct fuse_in_header in;
    memcpy(&in, header->in_out, sizeof in);
    size_t argument_bytes = in.len - sizeof in - header->payload_bytes;
    entry->registered = true;
    if (in.len < sizeof in + header->payload_bytes || argument_bytes > HEADER_PART_BYTES ||
        header->payload_bytes > VV_IO_BYTES_MAX) {
        vv_log(VV_LOG_ERROR, "the kernel's request %u makes no sense: %u bytes, %u of payload", in.opcode, in.len,
            header->payload_bytes);
        vv_uring_reply(slot, in.unique, -EIO, NULL, 0);
        return;
    }
    uint8_t *request = slot->data - argument_bytes - sizeof in;
    memcpy(request, &in, sizeof in);
    memcpy(request + sizeof in, header->op_in, argument_bytes);
    slot->request = (const void *) request;
    slot->touched_bytes = MAX(slot->touched_bytes, header->payload_bytes);
    look_at_place(entry->server);
    vv_take_slot(entry->server, slot, in.len);
}

static bool is_the_end(int result)
{
    return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED || result == -ENODEV;
}

static void command_done(VvCommand *command, int result)
{
    VvUringEntry *entry = (VvUringEntry *) (void *) ((uint8_t *) command - G_STRUCT_OFFSET(VvUringEntry, command));
    if (result == 0) {
        fetched(entry);
        return;
    }
    if (result == -EAGAIN && !entry->registered && entry->tries++ < REGISTER_TRIES_MAX) {
        g_usleep(1000); /* at the start only: nothing is served yet */
        register_entry(entry);
        return;
    }
    if (!is_the_end(result)) {
        vv_log(VV_LOG_ERROR, "FUSE over io_uring, queue %u: %s; the mount ends", entry->queue, g_strerror(-result));
        vv_fuse_force(entry->server->fuse);
    }
    entry_gone(entry);
}

static void answer_task(VvTask *task)
{
    commit((VvUringEntry *) (void *) ((uint8_t *) task - G_STRUCT_OFFSET(VvUringEntry, task)));
}

void vv_uring_reply(VvSlot *slot, uint64_t unique, int error, const struct iovec *iov, int count)
{
    VvUringEntry *entry = slot->entry;
    VvUringHeader *header = header_of(slot);
    size_t length_bytes = 0;
    for (int i = 0; i < count; i++) {
        g_assert(length_bytes + iov[i].iov_len <= VV_IO_BYTES_MAX);
        if (iov[i].iov_base != slot->data + length_bytes)
            memmove(slot->data + length_bytes, iov[i].iov_base, iov[i].iov_len);
        length_bytes += iov[i].iov_len;
    }
    struct fuse_out_header out = {
        .len = (uint32_t) (sizeof out + length_bytes),
        .error = error,
        .unique = unique,
    };
    memcpy(header->in_out, &out, sizeof out);
    header->payload_bytes = (uint32_t) length_bytes;
    slot->touched_bytes = MAX(slot->touched_bytes, (uint32_t) length_bytes);
    slot->request = NULL;
    if (vv_worker_current() == entry->server->worker) {
        commit(entry);
    } else { /* U2 */
        entry->task.run = answer_task;
        vv_worker_post(entry->server->worker, &entry->task);
    }
}

/* ---- start and end */

static void start_task(VvTask *task)
{
    VvServer *server = (VvServer *) (void *) ((uint8_t *) task - G_STRUCT_OFFSET(VvServer, start_task));
    for (unsigned i = 0; i < server->entry_count; i++)
        register_entry(&server->entries[i]);
}

void vv_uring_start(VvServer *server, unsigned queue_count, unsigned server_count)
{
    unsigned per_queue = vv_uring_entries_per_queue(queue_count);
    unsigned queues = (queue_count - server->index + server_count - 1) / server_count;
    server->entries = g_new0(VvUringEntry, (size_t) queues * per_queue);
    for (unsigned queue = server->index; queue < queue_count; queue += server_count)
        for (unsigned i = 0; i < per_queue; i++) {
            VvUringEntry *entry = &server->entries[server->entry_count++];
            entry->server = server;
            entry->queue = (uint16_t) queue;
            entry->slot = vv_slot_get(&server->slots);
            g_assert(entry->slot != NULL); /* address space only */
            entry->slot->entry = entry;
            entry->buffers[0] = (struct iovec){ header_of(entry->slot), sizeof(VvUringHeader) };
            entry->buffers[1] = (struct iovec){ entry->slot->data, VV_IO_BYTES_MAX };
            entry->command.fd = server->nonblocking_fd;
            entry->command.done = command_done;
        }
    server->entries_alive = server->entry_count;
    server->start_task.run = start_task;
    vv_worker_post(server->worker, &server->start_task);
}

void vv_uring_place(VvServer *server, unsigned queue_count, unsigned server_count)
{
    struct VvUringPlace *place;
    if (queue_count != server_count)
        return;
    place = g_new0(struct VvUringPlace, 1);
    CPU_SET(server->index, &place->near);
    place->bound = true;
    if (pthread_getaffinity_np(pthread_self(), sizeof place->anywhere, &place->anywhere) == 0 &&
        pthread_setaffinity_np(pthread_self(), sizeof place->near, &place->near) == 0) {
        server->place = place;
        return;
    }
    vv_log(VV_LOG_DEBUG, "worker %u is not bound to its CPU", server->index);
    g_free(place);
}

void vv_uring_clear(VvServer *server)
{
    g_assert(server->entries_alive == 0);
    g_clear_pointer(&server->entries, g_free);
    g_clear_pointer(&server->place, g_free);
    server->entry_count = 0;
}
