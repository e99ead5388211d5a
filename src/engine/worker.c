/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker's loop: one request source, one io_uring, one mailbox.
 *
 *   what wakes it        when it sleeps in
 *   a request            the blocking read of the source (nothing in flight) or the ring (a poll of the source)
 *   a disk completion    the ring
 *   a posted task        the ring (a read of the mailbox's eventfd)
 *
 * W1  The blocking read is entered only with nothing in flight, no hold and an empty mailbox: only a request can be
 *     next.
 * W2  At most IN_RING_MAX disk I/Os are in the ring, the rest wait in a queue. So there is always an SQE for the
 *     loop's own needs, and completions never exceed the completion queue.
 * W3  Completions are copied out of the ring before any is acted on: acting submits, and submitting may reap.
 * W4  The poster that finds the mailbox empty writes the eventfd; the owner empties the mailbox after it was woken and
 *     before it sleeps. Tasks that the owner posts need no write: it looks before it sleeps.
 * W5  Inline I/Os wait in a queue while requests are taken and while others complete. So the stack does not grow with the
 *     number of I/Os, and what was taken together is answered together: the client wakes up once for all of it. No more than
 *     INLINE_BATCH_BYTES wait: with all that a client has under way in one batch, it and the worker would run in turn.
 * W7  While the source is shut (take said -EBUSY) it is neither read nor polled; every round asks take again, and what brings
 *     the round is what take waits for: a completion or a task.
 * W8  Of several workers of one source those that are busy do not poll it while another one sleeps in its blocking read: a lone
 *     request would wake both. Who comes out of that read polls, or reads again, so the source is never without.
 * W9  Where requests had to be waited for, who has nothing under way rests while another one sleeps in the blocking read (roster.h), until
 *     somebody has ENOUGH under way and takes one more, may not take what there is, blocks, or ends. Two that take lone requests in turn are a fifth slower.
 * W10 I/O on a remote medium is handed to its thread; its end comes through the mailbox, and a hold is taken meanwhile.
 * W6  When run returns nothing of this worker is left in the kernel: the poll and the eventfd read are cancelled and
 *     their completions seen. */
#include "worker.h"

#include "disk_private.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#define RING_OWN_MAX 8u /* eventfd read, poll, and their cancellations, with room */
#define IN_RING_MAX (VV_RING_ENTRIES - RING_OWN_MAX)
#define COMMAND_OFFSET 48u /* of a command's bytes in its entry, which has 128 */
#define COMPLETIONS_MAX 256u /* copied out at once: docs/fuse.md */
#define TAKES_MAX 32u        /* requests taken per wake-up: no gain beyond (docs/fuse.md) */
#define INLINE_BATCH_BYTES (16u << 10)
#define ENOUGH 1u            /* requests under way before another worker is woken: W9 */
#define PROBES_EMPTY_MAX 4u  /* a look for further requests is left out at most 15 times */

/* user_data of the loop's own requests; anything else is a VvDiskIo, or with this bit a VvCommand. */
enum { TAG_NONE = 0, TAG_SOURCE = 1, TAG_MAILBOX = 2, TAG_COMMAND_BIT = 4 };

typedef struct {
    VvDiskIo *first;
    VvDiskIo **last;
} VvDiskIoQueue;

struct VvWorker {
    unsigned index;
    pthread_t thread; /* that runs it */
    bool ran;

    /* the source: borrowed */
    int blocking_fd, nonblocking_fd;
    VvWorkerTake take;
    void *take_user;
    bool source_ended;
    bool source_ready; /* the non-blocking descriptor may have more */
    bool source_shut;  /* it may not be read in this round */
    bool poll_armed;
    VvRoster *roster;      /* W8, W9. Borrowed; NULL: no others */
    bool reading;      /* it is counted in roster->readers */
    bool waited;       /* since its last read of the source it has slept for something under way */

    /* the ring */
    struct io_uring ring;
    unsigned in_ring;      /* disk I/Os given to it, W2 */
    VvDiskIoQueue waiting; /* for room in it */
    unsigned holds;
    uint64_t rounds; /* times that the ring was entered */
    bool wide;
    unsigned commands;              /* with their drivers, or waiting for room */
    VvCommand *first_command, **last_command; /* waiting for room */

    /* inline I/O, W5 */
    bool queue_inline;
    VvDiskIoQueue inline_queue;
    uint64_t inline_bytes; /* in it */
    unsigned probes_empty; /* how often in a row the blocking read brought the only request there was */
    unsigned probes_left_out;

    /* the mailbox: any thread */
    _Atomic(VvTask *) mailbox; /* newest first */
    _Atomic unsigned posters;  /* threads inside post or stop */
    atomic_bool stopping;
    int event_fd;
    bool event_armed;
    uint64_t event_value; /* the ring reads into it */
};

static __thread VvWorker *current_worker;

VvWorker *vv_worker_current(void)
{
    return current_worker;
}

unsigned vv_worker_index(const VvWorker *worker)
{
    return worker->index;
}

uint64_t vv_worker_rounds(const VvWorker *worker)
{
    return worker->rounds;
}

/* ---- queues of I/Os */

static void queue_init(VvDiskIoQueue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_push(VvDiskIoQueue *queue, VvDiskIo *io)
{
    io->next = NULL;
    *queue->last = io;
    queue->last = &io->next;
}

static VvDiskIo *queue_pop(VvDiskIoQueue *queue)
{
    VvDiskIo *io = queue->first;
    if (io) {
        queue->first = io->next;
        if (queue->first == NULL)
            queue->last = &queue->first;
        io->next = NULL;
    }
    return io;
}

/* ---- making one */

/* liburing before 2.4 does not export its own. */
static int enable_ring(struct io_uring *ring)
{
    return (int) syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* The newest way of running completions that the kernel takes: on this thread, when it asks (6.1); else at its next
 * system call (5.19); else by interrupting it. Made disabled, because the first to enable it is its only user. */
static int init_ring(struct io_uring *ring, bool wide)
{
    static const unsigned ways[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int rc = -EINVAL;
    for (size_t i = 0; i < G_N_ELEMENTS(ways) && rc == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = ways[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | (wide ? IORING_SETUP_SQE128 : 0),
            .cq_entries = 2 * VV_RING_ENTRIES,
        };
        rc = io_uring_queue_init_params(VV_RING_ENTRIES, ring, &params);
    }
    return rc;
}

VvWorker *vv_worker_new(unsigned index, bool wide, GError **error)
{
    VvWorker *worker = g_new0(VvWorker, 1);
    worker->index = index;
    worker->wide = wide;
    worker->last_command = &worker->first_command;
    worker->blocking_fd = worker->nonblocking_fd = -1;
    queue_init(&worker->waiting);
    queue_init(&worker->inline_queue);
    worker->event_fd = eventfd(0, EFD_CLOEXEC); /* blocking: the ring would answer EAGAIN where it should wait */
    if (worker->event_fd < 0) {
        vv_set_error_errno(error, errno, NULL, "no eventfd for worker %u", index);
        g_free(worker);
        return NULL;
    }
    int rc = init_ring(&worker->ring, wide);
    if (rc < 0) {
        const char *hint =
            rc == -EPERM || rc == -ENOSYS ? "`sysctl kernel.io_uring_disabled=0`, or let the container use it" : NULL;
        vv_set_error(error, hint ? VV_ERROR_UNSUPPORTED : VV_ERROR_INTERNAL, NULL, hint,
            "no io_uring for worker %u: %s", index, g_strerror(-rc));
        close(worker->event_fd);
        g_free(worker);
        return NULL;
    }
    return worker;
}

void vv_worker_free(VvWorker *worker)
{
    if (worker == NULL)
        return;
    g_assert(worker->in_ring == 0 && worker->holds == 0 && worker->waiting.first == NULL && worker->commands == 0);
    g_assert(atomic_load(&worker->mailbox) == NULL);
    g_assert(current_worker != worker);
    while (atomic_load_explicit(&worker->posters, memory_order_acquire) > 0)
        sched_yield();
    if (worker->roster)
        vv_roster_leave(worker->roster);
    io_uring_queue_exit(&worker->ring);
    close(worker->event_fd);
    g_free(worker);
}

void vv_worker_set_source(VvWorker *worker, int blocking_fd, int nonblocking_fd, VvWorkerTake take, void *user)
{
    g_assert(!worker->ran);
    worker->blocking_fd = blocking_fd;
    worker->nonblocking_fd = nonblocking_fd;
    worker->take = take;
    worker->take_user = user;
}

void vv_worker_share_source(VvWorker *worker, VvRoster *roster)
{
    g_assert(!worker->ran && worker->index < VV_ROSTER_MAX);
    worker->roster = roster;
    roster->event_fds[worker->index] = worker->event_fd;
}

/* ---- mailbox */

/* The task may have run, and the worker ended, before its poster has written the eventfd: vv_worker_free waits for posters. */
static void kick(VvWorker *worker)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(worker->event_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    g_assert(n == sizeof one);
}

void vv_worker_post(VvWorker *worker, VvTask *task)
{
    VvTask *head;
    atomic_fetch_add_explicit(&worker->posters, 1, memory_order_relaxed);
    head = atomic_load_explicit(&worker->mailbox, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(
        &worker->mailbox, &head, task, memory_order_release, memory_order_relaxed));
    if (head == NULL && current_worker != worker) /* W4 */
        kick(worker);
    atomic_fetch_sub_explicit(&worker->posters, 1, memory_order_release);
}

void vv_worker_stop(VvWorker *worker)
{
    atomic_fetch_add_explicit(&worker->posters, 1, memory_order_relaxed);
    atomic_store_explicit(&worker->stopping, true, memory_order_release);
    kick(worker);
    atomic_fetch_sub_explicit(&worker->posters, 1, memory_order_release);
}

static bool mailbox_is_empty(VvWorker *worker)
{
    return atomic_load_explicit(&worker->mailbox, memory_order_relaxed) == NULL;
}

/* Run what is there now; what these tasks post waits for the next round. */
static void run_tasks(VvWorker *worker)
{
    if (mailbox_is_empty(worker))
        return;
    VvTask *newest = atomic_exchange_explicit(&worker->mailbox, NULL, memory_order_acquire);
    VvTask *oldest = NULL;
    while (newest) {
        VvTask *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        VvTask *task = oldest;
        oldest = task->next; /* running may free the task, or post it again */
        task->next = NULL;
        task->run(task);
    }
}

void vv_worker_hold(VvWorker *worker)
{
    g_assert(current_worker == worker);
    worker->holds++;
}

void vv_worker_unhold(VvWorker *worker)
{
    g_assert(current_worker == worker && worker->holds > 0);
    worker->holds--;
}

static bool is_busy(const VvWorker *worker)
{
    return worker->in_ring > 0 || worker->waiting.first || worker->holds > 0;
}

/* ---- disk I/O */

static struct io_uring_sqe *get_sqe(VvWorker *worker)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&worker->ring);
    if (sqe == NULL) { /* the kernel was short of memory and left some behind */
        (void) io_uring_submit(&worker->ring);
        sqe = io_uring_get_sqe(&worker->ring);
    }
    return sqe;
}

/* False: no room, W2. */
static bool give_to_ring(VvWorker *worker, VvDiskIo *io)
{
    struct io_uring_sqe *sqe = worker->in_ring < IN_RING_MAX ? get_sqe(worker) : NULL;
    if (sqe == NULL)
        return false;
    uint8_t *data = (uint8_t *) io->data + io->progress_bytes;
    unsigned length_bytes = io->length_bytes - io->progress_bytes;
    uint64_t offset = io->offset + io->progress_bytes;
    if (io->write)
        io_uring_prep_write(sqe, io->disk->fd, data, length_bytes, offset);
    else
        io_uring_prep_read(sqe, io->disk->fd, data, length_bytes, offset);
    io_uring_sqe_set_data(sqe, io);
    worker->in_ring++;
    return true;
}

static void submit_to_ring(VvWorker *worker, VvDiskIo *io)
{
    if (worker->waiting.first == NULL && give_to_ring(worker, io))
        return;
    queue_push(&worker->waiting, io);
}

/* False: no room. */
static bool send_command(VvWorker *worker, VvCommand *command)
{
    struct io_uring_sqe *sqe = get_sqe(worker);
    if (sqe == NULL)
        return false;
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, command->fd, command->address, command->length, 0);
    sqe->cmd_op = command->op;
    memcpy((uint8_t *) sqe + COMMAND_OFFSET, command->bytes, VV_COMMAND_BYTES);
    io_uring_sqe_set_data64(sqe, (uint64_t) (uintptr_t) command | TAG_COMMAND_BIT);
    return true;
}

void vv_worker_command(VvWorker *worker, VvCommand *command)
{
    g_assert(current_worker == worker && worker->wide && worker->take == NULL);
    worker->commands++;
    if (worker->first_command == NULL && send_command(worker, command))
        return;
    command->next = NULL;
    *worker->last_command = command;
    worker->last_command = &command->next;
}

static void command_done(VvWorker *worker, uint64_t tag, int res)
{
    VvCommand *command = (VvCommand *) (uintptr_t) (tag & ~(uint64_t) TAG_COMMAND_BIT); /* NOLINT */
    worker->commands--;
    command->done(command, res);
}

static void submit_waiting(VvWorker *worker)
{
    while (worker->first_command && send_command(worker, worker->first_command)) {
        worker->first_command = worker->first_command->next;
        if (worker->first_command == NULL)
            worker->last_command = &worker->first_command;
    }
    while (worker->waiting.first && give_to_ring(worker, worker->waiting.first))
        (void) queue_pop(&worker->waiting);
}

/* All that wait, and what their completions submit. */
static void do_inline(VvWorker *worker)
{
    VvDiskIo *io;
    worker->queue_inline = true;
    while (worker->inline_queue.first) {
        VvDiskIoQueue over;
        queue_init(&over);
        worker->inline_bytes = 0;
        while ((io = queue_pop(&worker->inline_queue))) {
            io->result = io->write ? vv_disk_write(io->disk, io->data, io->length_bytes, io->offset)
                                   : vv_disk_read(io->disk, io->data, io->length_bytes, io->offset);
            queue_push(&over, io);
        }
        while ((io = queue_pop(&over)))
            io->done(io);
    }
    worker->queue_inline = false;
}

/* ---- remote media: W10 */

static void end_io(VvDiskIo *io)
{
    vv_disk_count(io->disk, io->write, io->length_bytes, io->result);
    if (io->result != 0)
        vv_trouble_note(io->disk, io->write ? VV_TROUBLE_WRITE : VV_TROUBLE_READ, io->offset + io->progress_bytes, io->result);
    vv_disk_end(io->disk);
    io->done(io);
}

static void remote_over(VvTask *task)
{
    VvDiskIo *io = (VvDiskIo *) (void *) ((char *) task - offsetof(VvDiskIo, over));
    vv_worker_unhold(io->worker);
    end_io(io);
}

static void remote_done_cb(VvRemoteRequest *request, int result)
{
    VvDiskIo *io = request->user;
    io->result = result;
    vv_worker_post(io->worker, &io->over);
}

static void submit_remote(VvWorker *worker, VvDiskIo *io)
{
    VvRemote *remote = io->disk->remote;
    vv_disk_begin(io->disk);
    vv_worker_hold(worker);
    io->worker = worker;
    io->over = (VvTask){ .run = remote_over };
    io->request = (VvRemoteRequest){ .kind = io->write ? VV_REMOTE_WRITE : VV_REMOTE_READ,
        .data = io->data,
        .offset = io->offset,
        .length_bytes = io->length_bytes,
        .done = remote_done_cb,
        .user = io };
    remote->ops->submit(remote, &io->request);
}

void vv_worker_submit(VvWorker *worker, VvDiskIo *io)
{
    g_assert(current_worker == worker);
    g_assert(io->length_bytes > 0 && (io->length_bytes | io->offset | (uintptr_t) io->data) % VV_BLOCK_BYTES == 0);
    io->result = 0;
    io->progress_bytes = 0;
    if (io->disk->remote && io->disk->ops == &vv_disk_remote_ops) {
        submit_remote(worker, io);
        return;
    }
    if (!vv_disk_is_inline(io->disk)) {
        vv_disk_begin(io->disk);
        submit_to_ring(worker, io);
        return;
    }
    queue_push(&worker->inline_queue, io);
    worker->inline_bytes += io->length_bytes;
    if (!worker->queue_inline) /* W5 */
        do_inline(worker);
}

/* What the ring said of @io. True: it is over, and io->result is set. */
static bool advance(VvDiskIo *io, int res)
{
    if (res == -EINTR || res == -EAGAIN)
        return false;
    if (res <= 0) {
        io->result = res < 0 ? vv_disk_errno(res) : -EIO; /* nothing more: the medium ends here */
        return true;
    }
    uint32_t done_bytes = io->progress_bytes + (uint32_t) res;
    if (done_bytes >= io->length_bytes) {
        io->progress_bytes = io->length_bytes;
        return true;
    }
    if (vv_disk_is_direct(io->disk)) /* the rest must start at a block again */
        done_bytes -= done_bytes % VV_BLOCK_BYTES;
    if (done_bytes == io->progress_bytes) {
        io->result = -EIO;
        return true;
    }
    io->progress_bytes = done_bytes;
    return false;
}

static void complete(VvWorker *worker, VvDiskIo *io, int res)
{
    worker->in_ring--;
    if (!advance(io, res)) {
        submit_to_ring(worker, io);
        return;
    }
    end_io(io);
}

/* ---- the loop */

static void arm_mailbox(VvWorker *worker)
{
    struct io_uring_sqe *sqe = worker->event_armed ? NULL : get_sqe(worker);
    if (sqe) {
        io_uring_prep_read(sqe, worker->event_fd, &worker->event_value, sizeof worker->event_value, 0);
        io_uring_sqe_set_data64(sqe, TAG_MAILBOX);
        worker->event_armed = true;
    }
}

static void arm_source(VvWorker *worker)
{
    struct io_uring_sqe *sqe = worker->poll_armed ? NULL : get_sqe(worker);
    if (sqe) {
        io_uring_prep_poll_add(sqe, worker->nonblocking_fd, POLLIN);
        io_uring_sqe_set_data64(sqe, TAG_SOURCE);
        worker->poll_armed = true;
    }
}

/* Give the ring what is prepared; with @wait, sleep until something completes. */
static void enter_ring(VvWorker *worker, bool wait)
{
    worker->rounds++;
    int rc = wait ? io_uring_submit_and_wait(&worker->ring, 1) : io_uring_submit_and_get_events(&worker->ring);
    /* EAGAIN: no memory for a request now; EBUSY: completions must be reaped first. Both: reap, and come again. */
    g_assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
}

static void reap(VvWorker *worker)
{
    struct {
        uint64_t tag;
        int res;
    } seen[COMPLETIONS_MAX];
    struct io_uring_cqe *cqes[COMPLETIONS_MAX];
    unsigned count;
    do {
        count = io_uring_peek_batch_cqe(&worker->ring, cqes, COMPLETIONS_MAX);
        for (unsigned i = 0; i < count; i++) {
            seen[i].tag = cqes[i]->user_data;
            seen[i].res = cqes[i]->res;
        }
        io_uring_cq_advance(&worker->ring, count); /* W3 */
        for (unsigned i = 0; i < count; i++) {
            switch (seen[i].tag) {
            case TAG_NONE:
                break;
            case TAG_SOURCE:
                worker->poll_armed = false;
                worker->source_ready = true;
                break;
            case TAG_MAILBOX:
                worker->event_armed = false;
                break;
            default:
                if (seen[i].tag & TAG_COMMAND_BIT)
                    command_done(worker, seen[i].tag, seen[i].res);
                else
                    complete(worker, (VvDiskIo *) (uintptr_t) seen[i].tag, seen[i].res); /* NOLINT */
            }
        }
        submit_waiting(worker);
    } while (count == COMPLETIONS_MAX);
}

static void read_ends(VvWorker *worker)
{
    if (worker->reading)
        vv_roster_read_ends(worker->roster);
    worker->reading = false;
}

/* W9 */
static void wake_another(VvWorker *worker)
{
    if (worker->roster && vv_roster_rests(worker->roster))
        vv_roster_wake(worker->roster);
}

void vv_worker_will_block(VvWorker *worker)
{
    g_assert(current_worker == worker);
    read_ends(worker); /* before we look who rests: C1 */
    wake_another(worker);
}

/* False: there was none. */
static bool take_one(VvWorker *worker, int fd)
{
    bool enough = worker->in_ring + worker->holds >= ENOUGH;
    worker->queue_inline = true;
    int rc = worker->take(worker->take_user, fd);
    if (worker->inline_bytes >= INLINE_BATCH_BYTES) /* W5 */
        do_inline(worker);
    if (rc == -EBUSY || rc == -ENODEV)
        vv_worker_will_block(worker);
    else if (enough && rc == 1)
        wake_another(worker);
    if (rc == 1)
        return true;
    g_assert(rc == 0 || rc == -EBUSY || rc == -ENODEV);
    if (rc == -ENODEV)
        worker->source_ended = true;
    if (rc == -EBUSY)
        worker->source_shut = true;
    return false;
}

static void take_more(VvWorker *worker)
{
    for (unsigned n = 0; n < TAKES_MAX && worker->source_ready && !worker->source_shut; n++)
        worker->source_ready = take_one(worker, worker->nonblocking_fd) || worker->source_shut;
    do_inline(worker);
}

/* Sleep for a request, and take those that have come with it. Where they come singly, looking for more costs a system call each
 * time: then it is done ever more seldom. */
static void take_first(VvWorker *worker)
{
    worker->waited = false;
    worker->reading = worker->roster != NULL;
    if (worker->reading)
        vv_roster_read_begins(worker->roster);
    worker->source_ready = take_one(worker, worker->blocking_fd) || worker->source_shut;
    read_ends(worker);
    g_assert(!worker->source_shut || is_busy(worker));
    bool probe = worker->source_ready && !worker->source_shut && worker->probes_left_out == 0;
    if (probe && take_one(worker, worker->nonblocking_fd)) {
        worker->probes_empty = 0;
        take_more(worker);
        return;
    }
    if (worker->probes_left_out == 0) {
        worker->probes_empty = MIN(worker->probes_empty + 1, PROBES_EMPTY_MAX);
        worker->probes_left_out = (1u << worker->probes_empty) - 1;
    } else {
        worker->probes_left_out--;
    }
    do_inline(worker);
}

static bool is_stopping(const VvWorker *worker)
{
    return atomic_load_explicit(&worker->stopping, memory_order_acquire);
}

/* W9. False: it may not. */
static bool rest(VvWorker *worker)
{
    if (!worker->roster || !worker->waited || !vv_roster_rest(worker->roster, worker->index))
        return false;
    struct io_uring_sqe *sqe = worker->poll_armed ? get_sqe(worker) : NULL;
    if (sqe) { /* else the next request wakes both */
        io_uring_prep_cancel64(sqe, TAG_SOURCE, 0);
        io_uring_sqe_set_data64(sqe, TAG_NONE);
    }
    while (vv_roster_has(worker->roster, worker->index) && mailbox_is_empty(worker) && !is_stopping(worker)) {
        arm_mailbox(worker);
        enter_ring(worker, true);
        reap(worker);
    }
    vv_roster_rise(worker->roster, worker->index);
    return true;
}

/* One round. False: it is over. */
static bool run_once(VvWorker *worker)
{
    run_tasks(worker);
    bool ending = is_stopping(worker) || worker->source_ended;
    bool busy = is_busy(worker) || !mailbox_is_empty(worker);
    if (ending && !busy && worker->commands == 0)
        return false;

    bool taking = worker->take && !ending;
    worker->source_shut = false;
    if (taking && !busy && rest(worker))
        return true;
    if (taking && !busy) { /* W1 */
        take_first(worker);
        if (!is_busy(worker))
            return true;
    }
    if (taking) {
        take_more(worker);
        if (!is_busy(worker)) /* what was taken has been answered already: nothing to sleep for */
            return true;
    }

    bool ready = worker->source_ready && !worker->source_shut;
    bool more = (taking && (ready || worker->source_ended)) || !mailbox_is_empty(worker);

    arm_mailbox(worker);
    bool other_reads = worker->roster && vv_roster_reads(worker->roster); /* W8 */
    if (taking && !worker->source_ready && !other_reads) /* who may not read it does not ask whether it could: W7 */
        arm_source(worker);
    worker->waited |= !more;
    enter_ring(worker, !more);
    reap(worker);
    return true;
}

/* W6 */
static void disarm(VvWorker *worker)
{
    static const uint64_t tags[] = { TAG_SOURCE, TAG_MAILBOX };
    for (size_t i = 0; i < G_N_ELEMENTS(tags); i++) {
        struct io_uring_sqe *sqe = get_sqe(worker);
        if (sqe) {
            io_uring_prep_cancel64(sqe, tags[i], 0);
            io_uring_sqe_set_data64(sqe, TAG_NONE);
        }
    }
    while (worker->poll_armed || worker->event_armed) {
        enter_ring(worker, true);
        reap(worker);
    }
}

void vv_worker_run(VvWorker *worker)
{
    g_assert(current_worker == NULL);
    if (!worker->ran) {
        int rc = enable_ring(&worker->ring);
        g_assert(rc == 0);
        worker->thread = pthread_self();
        worker->ran = true;
    }
    g_assert(pthread_equal(worker->thread, pthread_self())); /* the ring has one user */
    current_worker = worker;
    bool registered = io_uring_register_ring_fd(&worker->ring) == 1; /* saves a look-up per entry; 5.18 */
    while (run_once(worker))
        ;
    disarm(worker);
    if (registered)
        io_uring_unregister_ring_fd(&worker->ring);
    current_worker = NULL;
}
